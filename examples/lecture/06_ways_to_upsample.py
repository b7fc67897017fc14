"""
Ways to upsample
================

How do few pixels become many again?  There are rules with nothing to learn, which repeat, interpolate, or put zeros
between; SegNet remembers where its maxima were; and convolutions can learn it.
"""
import matplotlib.pyplot as plt
import numpy as np

import tinyseg as ts
from tinyseg import plots, steps
from tinyseg.models.upsampling import UPSAMPLING, upsampling_layer

F = ts.functional
plt.style.use(plots.SLIDE)

# %%
# The rules, in numbers
# ---------------------
# Four pixels are to become sixteen.  *Nearest* repeats each one.  *Bed of nails* puts it in the top left corner of a
# block of zeros.  *Bilinear* interpolation mixes the pixels around each place.
#
# *Max unpooling* needs to know more.  When the encoder pooled, it noted where each maximum stood; the decoder puts its
# values, which need not be those maxima, back to just these places.
x = np.array([[1.0, 2], [3, 4]])[None, None]                               # (N, C, H, W)
pooled_image = np.array([[1.0, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8]])[None, None]
maxima, indices = F.max_pool2d(pooled_image, 2, return_indices=True)

ways = {
    "nearest": F.interpolate(x, scale_factor=2, mode="nearest").numpy(),
    "bed of nails": F.bed_of_nails(x, 2).numpy(),
    "max unpooling": F.max_unpool2d(x, indices, 2).numpy(),
    "bilinear": F.interpolate(x, scale_factor=2, mode="bilinear").numpy(),
}
np.testing.assert_array_equal(ways["nearest"], np.kron(x, np.ones((2, 2))))
np.testing.assert_array_equal(ways["bed of nails"][0, 0, ::2, ::2], x[0, 0])
np.testing.assert_array_equal(ways["max unpooling"] != 0, pooled_image == np.kron(maxima.numpy(), np.ones((2, 2))))
for way in "bed of nails", "max unpooling":
    assert ways[way].sum() == x.sum()                                      # every pixel once, the rest is zero
assert ways["nearest"].mean() == ways["bilinear"].mean() == x.mean()       # as bright as before

# %%
# **See:** what each makes of the same four pixels.
figure, axes = plt.subplots(1, 5, figsize=(13, 3.7), width_ratios=[1, 2, 2, 2, 2])
for ax, (title, values) in zip(axes, [("input", x), *ways.items()]):
    ax.imshow(values[0, 0], cmap="Blues", vmin=0, vmax=7)
    for (i, j), value in np.ndenumerate(values[0, 0]):
        ax.text(j, i, f"{value:.3g}", ha="center", va="center", fontsize=13)
    ax.set(title=title, xticks=[], yticks=[])
figure.suptitle("Four pixels become sixteen")
plt.show()

# %%
# **See:** how the pooling found those places: of the last window the 8 is the largest, pixel 15 counted row by row.  Then
# unpooling, which puts it back there.  (``choose`` counts the frames of a run from 1; ``run[3]`` is the fourth, as in a list.)
run = steps.max_pool(pooled_image[0, 0])
run.choose([4, 8]).plot()
plt.show()
np.testing.assert_array_equal(run[3]["Indices"].values, indices.numpy()[0, 0])

# %%
# In a notebook, all of them to click through, with *transposed convolution*: each pixel stamps a kernel of weights into the
# output, and the stamps are summed.  The next script is about it.
steps.upsampling()

# %%
# On an image
# -----------
# The same four, enlarging a part of a scene four times; the encoder pooled it, so the places of its maxima are known.
#
# **See:** nearest looks like the pooled image itself, only that it has sixteen times the pixels; bilinear is soft.  The other
# two are mostly holes: they are meant for a decoder whose convolutions come next and fill them.  Only max unpooling has its
# pixels, red, green and blue, where the scene had them.
image = ts.data.Scenes(length=8, size=(96, 128), num_classes=6, seed=0).read(3)[0][4:52, 34:98]
planes = image.transpose(2, 0, 1)[None] / 255                              # (1, 3, 48, 64)
small, indices = F.max_pool2d(planes, 4, return_indices=True)              # (1, 3, 12, 16)
enlarged = {
    "pooled: 12 x 16": small,
    "nearest": F.interpolate(small, scale_factor=4),
    "bilinear": F.interpolate(small, scale_factor=4, mode="bilinear"),
    "bed of nails": F.bed_of_nails(small, 4),
    "max unpooling": F.max_unpool2d(small, indices, 4),
}
pictures = [("scene: 48 x 64", image)]
pictures += [(way, picture.numpy()[0].transpose(1, 2, 0)) for way, picture in enlarged.items()]
plots.slide("Enlarged four times", [pictures[:3], pictures[3:]])
plt.show()

unpooled = enlarged["max unpooling"].numpy()
assert (unpooled[unpooled > 0] == planes[unpooled > 0]).all()

# %%
# In one dimension
# ----------------
# **See:** eight numbers, enlarged four times.  Nearest makes steps, bilinear straight lines between the middles of the
# steps.  A middle lies between two output pixels, so no dot of the bilinear ones is in the middle of an input's square.  A
# transposed convolution can make either, or anything else that sums up stamps of one shape.
line = np.array([1.0, 3, 2, 2, 4, 1, 1, 2])
places = np.arange(32)


def along(upsampled):
    return upsampled.numpy()[0, 0, 0]


nearest = along(F.interpolate(line[None, None, None], scale_factor=(1, 4)))
bilinear = along(F.interpolate(line[None, None, None], scale_factor=(1, 4), mode="bilinear"))
box = along(F.conv_transpose2d(line[None, None, None], np.ones((1, 1, 1, 4)), stride=(1, 4)))
np.testing.assert_array_equal(box, nearest)
middles = 4 * np.arange(8) + 1.5
np.testing.assert_allclose(bilinear, np.interp(places, middles, line))

figure, ax = plt.subplots(figsize=(12, 4.5))
ax.step(places, nearest, where="mid", label="nearest = transposed convolution with 1 1 1 1", color=plots.BLUE)
ax.plot([0, *middles, 31], [line[0], *line, line[-1]], color=plots.VERMILION)
ax.plot(places, bilinear, "o", markersize=7, label="bilinear", color=plots.VERMILION)
ax.plot(middles, line, "ks", markersize=11, label="input")
ax.set(title="four times as many pixels", xlabel="output pixel", ylim=(0, 6))
ax.legend(loc="upper left", ncols=3, fontsize=13, frameon=False)
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# What there is to learn
# ----------------------
# In the library every decoder takes any of them, by its argument ``upsampling``.  The rules have no weights; transposed
# convolution has a kernel for every pair of channels, and so has the convolution before a pixel shuffle ("sub-pixel"), which
# lays s·s channels out as the s x s pixels of a block.
weights = {way: sum(parameter.size for parameter in upsampling_layer(way, 32, 32).parameters()) for way in UPSAMPLING}
for way, count in weights.items():
    print(f"{way:20} {count:6} weights")
assert [way for way, count in weights.items() if count] == ["transposed", "transposed_bilinear", "sub_pixel"]

# %%
# **Try:** a bilinear ``scale_factor`` of 1/4 after the one of 4: does the image come back?  ``align_corners=True`` (the
# outermost pixels of output and input coincide) for the last figure, without the assertion on ``middles``: where would the
# squares belong now?
