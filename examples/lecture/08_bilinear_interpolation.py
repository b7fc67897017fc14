"""
It is bilinear interpolation when you want it to be
===================================================

Why should transposed convolution work well for upsampling?  Because with the right kernel it *is* bilinear
interpolation; and from there, training can only find something better.
"""
import matplotlib.pyplot as plt
import numpy as np

import tinyseg as ts
from tinyseg import plots, steps

F = ts.functional
plt.style.use(plots.SLIDE)

# %%
# The lecture's numbers
# ---------------------
# The padding of a transposed convolution takes away, and with padding 1 the border of the lecture's output goes.  What is
# left is what bilinear interpolation makes of the same image, from 4 x 4 to 7 x 7 pixels, the corners staying where
# they are.
image = np.arange(16.0).reshape(1, 1, 4, 4)
kernel = np.array([[0.25, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 0.25]])
transposed = F.conv_transpose2d(image, kernel[None, None], stride=2, padding=1).numpy()
bilinear = F.interpolate(image, size=(7, 7), mode="bilinear", align_corners=True).numpy()
np.testing.assert_allclose(transposed, bilinear, atol=1e-12)
print(transposed[0, 0])

# %%
# **See:** output (1, 1) lies in the middle of four pixels, and is a quarter of each: (0 + 1 + 4 + 5) / 4 = 2.5.
run = steps.bilinear(image[0, 0])
run.choose([9]).plot()
plt.show()
np.testing.assert_allclose(run[8]["Output"].values[1, 1], transposed[0, 0, 1, 1])      # frame 9: an index counts from 0

# %%
# In a notebook, all 49 outputs to click through:
run

# %%
# Why
# ---
# Along one axis the kernel is a triangle.  Each pixel stamps one as high as itself; between two pixels one triangle
# falls as the other rises, and the sum is the straight line from pixel to pixel.
#
# **See:** four pixels, their triangles, and the sum, at stride 8.  Outside the outermost pixels one triangle is alone, and
# falls to zero: these 7 places at either end are what padding 7 takes away.
stride, pixels = 8, np.array([1.0, 3.0, 2.0, 2.5])
triangle = 1 - abs(np.arange(-stride + 1, stride)) / stride                # 2·8 - 1 weights
stamped = F.conv_transpose2d(pixels[None, None, None], triangle[None, None, None], stride=(1, stride)).numpy().ravel()
places = stride * np.arange(4)

figure, ax = plt.subplots(figsize=(12, 4.8))
along = np.arange(-stride + 1, 4 * stride)                                 # where the canvas lies, pixel 0 at 0
for place, pixel in zip(places, pixels):
    ax.fill_between(place + np.arange(-stride, stride + 1), pixel * np.pad(triangle, 1), alpha=0.25, color=plots.BLUE)
ax.plot(along, stamped, "o-", color=plots.VERMILION, markersize=5, label="sum: the transposed convolution")
ax.plot(places, pixels, "s", color="black", markersize=12, label="pixels")
ax.set(xlabel="output pixel", title="triangles add up to straight lines", xlim=(-8, 32), ylim=(0, 4))
ax.legend(loc="upper left")
ax.spines[["top", "right"]].set_visible(False)
plt.show()
np.testing.assert_allclose(stamped[stride - 1:1 - stride], np.interp(np.arange(3 * stride + 1), places, pixels))

# %%
# For any stride
# --------------
# In two dimensions the kernel is a triangle times a triangle, and it exists for every stride: 2s - 1 pixels wide, with
# padding s - 1.  ``nn.init.bilinear_`` makes it, and for the lecture's stride of 2 it makes the lecture's kernel.


def bilinear_kernel(size):
    return ts.nn.init.bilinear_(ts.Tensor(np.empty((1, 1, size, size)))).numpy()


np.testing.assert_array_equal(bilinear_kernel(3)[0, 0], kernel)
x = np.random.default_rng(0).standard_normal((1, 1, 5, 7))
for s in range(2, 9):
    ours = F.conv_transpose2d(x, bilinear_kernel(2 * s - 1), stride=s, padding=s - 1)
    theirs = F.interpolate(x, size=(4 * s + 1, 6 * s + 1), mode="bilinear", align_corners=True)
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-12)
    print(f"stride {s}: kernel {2 * s - 1} x {2 * s - 1}, the same")

# %%
# A better kernel, learned
# ------------------------
# Start there, and train.  Images are shrunk to a quarter of their size, each pixel the mean of 4 x 4, and are to be
# enlarged again, with one kernel of 8 x 8 weights for the three colours.  8 is 2s, and the padding s/2: this even kernel
# is bilinear interpolation as script 06 has it, from 24 pixels to exactly 96.  The loss is the mean squared error.


def pictures(split, count):
    """Colour planes of scenes, (3·count, 1, 96, 96), and what is left of them: (3·count, 1, 24, 24)."""
    scenes = ts.data.Scenes(count, size=96, split=split)
    planes = np.concatenate([scenes.read(k)[0].transpose(2, 0, 1) for k in range(count)])[:, None] / np.float32(255)
    return planes, F.avg_pool2d(planes, 4).numpy()


def squared_error(weight, large, small):
    upsampled = F.conv_transpose2d(small, weight, stride=4, padding=2)      # from 24 to exactly 96: 4·23 + 8 - 2·2
    error = (upsampled - large)[:, :, 4:-4, 4:-4]                          # at the border stamps are missing
    return (error * error).mean()


train, test = pictures("train", 6), pictures("test", 6)
interpolated = F.interpolate(test[1], scale_factor=4, mode="bilinear").numpy()
stamped = F.conv_transpose2d(test[1], bilinear_kernel(8).astype(np.float32), stride=4, padding=2).numpy()
np.testing.assert_allclose(stamped[:, :, 4:-4, 4:-4], interpolated[:, :, 4:-4, 4:-4], atol=1e-5)

weight = ts.Tensor(bilinear_kernel(8).astype(np.float32), requires_grad=True)
start, before = weight.numpy().copy(), squared_error(weight, *test).item()
optimizer = ts.optim.Adam([weight], lr=0.01)
for step in range(120):
    optimizer.zero_grad()
    loss = squared_error(weight, *train)
    loss.backward()
    optimizer.step()
after = squared_error(weight, *test).item()
print(f"squared error on images it was not trained on: bilinear {before:.5f}, learned {after:.5f}")
assert after < 0.98 * before

# %%
# **See:** the learned kernel is higher in the middle, and slightly negative in places around: it sharpens, to make up
# for what the mean has blurred.
figure, axes = plt.subplots(1, 3, figsize=(13, 4.6))
for ax, values, title in [(axes[0], start, "bilinear"), (axes[1], weight.numpy(), "learned")]:
    shown = ax.imshow(values[0, 0], cmap="RdBu_r", vmin=-1, vmax=1)
    ax.set(title=f"{title} kernel", xticks=[], yticks=[])
figure.colorbar(shown, ax=axes[:2], shrink=0.8)
axes[2].plot(start[0, 0, 3], "o-", label="bilinear")
axes[2].plot(weight.numpy()[0, 0, 3], "s-", label="learned")
axes[2].axhline(0, color="0.6", linewidth=1)
axes[2].set(title="row 3 of both", xlabel="column", xticks=range(8))
axes[2].legend(fontsize=13)
plt.show()
assert weight.numpy().min() < -0.01 and weight.numpy()[0, 0, 3, 3] > start[0, 0, 3, 3]

# %%
# **Try:** shrink by taking every fourth pixel in place of the mean: what does the kernel look like now?  Start from a
# random kernel in place of the bilinear one, without the assertions, and print the test error every hundred steps: when
# has it caught up with bilinear interpolation's, which is 0.0050?
