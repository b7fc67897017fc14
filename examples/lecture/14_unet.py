"""
U-Net: copies across the U
==========================

What is lost on the way down, and why not simply copy it across?  U-Net is as deep on its way up as on its way down, and
at every level hands the features of the one over to the other.
"""
import matplotlib.pyplot as plt
import numpy as np

import tinyseg as ts
from tinyseg import plots
from tinyseg.data.palette import OKABE_ITO, VOID, colorize
from tinyseg.data.transforms import normalize
from tinyseg.inference import predict, scores
from tinyseg.models.summary import layer_rows
from tinyseg.tiling import tiled_scores
from tinyseg.training import train_step

plt.style.use(plots.SLIDE)

# %%
# The U
# -----
# The network of the paper, in one channel 572 x 572 pixels, and no padding: every 3x3 convolution takes a pixel from
# each side, and what comes out is 388 x 388.  ``layer_rows`` tells what each layer makes, without computing it.
paper = ts.models.UNet(num_classes=2, in_channels=1, padding="valid", norm=None)
shape = {row.path: row.output_shape[1:3] for row in layer_rows(paper, (1, 1, 572, 572))}       # path: (channels, rows)
down = [shape[f"contracting.{level}.1.conv"] for level in range(5)]
up = [shape[f"expansive.{level}.1.conv"] for level in range(4)]
assert down == [(64, 568), (128, 280), (256, 136), (512, 64), (1024, 28)]      # figure 1 of the paper
assert up == [(64, 388), (128, 196), (256, 100), (512, 52)] and paper.output_size(572, 572) == (388, 388)

# %%
# **See:** the network's own numbers, drawn: a box is as high as its map has rows, and as wide as it has channels (on a
# scale of roots).  On the way down rows become channels; on the way up they come back; along the grey arrows the middle
# of each map is copied over.
figure, ax = plt.subplots(figsize=(13, 6.8))


def box(x, level, channels, rows):
    """Returns where its top and its bottom are."""
    width, height = 0.022 * channels**0.5, 0.034 * rows**0.5
    ax.add_patch(plt.Rectangle((x - width / 2, -level - height / 2), width, height, facecolor=plots.BLUE))
    ax.text(x + (width / 2 + 0.1) * (1 if x > 4 else -1), -level, f"{channels} channels\n{rows} x {rows}",
            ha="left" if x > 4 else "right", va="center", fontsize=13)
    return (x, -level + height / 2 + 0.05), (x, -level - height / 2 - 0.05)


def arrow(start, end, colour):
    ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "linewidth": 4, "color": colour, "shrinkA": 0, "shrinkB": 0})


left = [box(level, level, *down[level]) for level in range(5)]
right = [*(box(8 - level, level, *up[level]) for level in range(4)), left[4]]
for level in range(4):
    arrow(left[level][1], left[level + 1][0], plots.VERMILION)
    arrow(right[level + 1][0], right[level][1], "#009E73")
    arrow((level + 0.35, -level), (7.65 - level, -level), "0.7")
    size = up[level][1] + 4                                # two 3x3 convolutions take two pixels from each side
    ax.text(4, -level + 0.1, f"{size} x {size}", ha="center", fontsize=13)
ax.set(title="U-Net: max pooling (red), up-convolution (green), copy and crop (grey)", xlim=(-1.2, 9.2), ylim=(-4.4, 0.6))
ax.set_axis_off()
plt.show()

# %%
# What each copy carries
# ----------------------
# A small U-Net learns one image by heart.  Then we mute its copies, one at a time: they stand in front of the channels
# that come up from below, so it takes no more than zeros in half of the weights that look at both.
scenes = ts.data.Scenes(length=6, size=64, num_classes=6)
image, mask = scenes.read(5)


def small_unet():
    return ts.models.UNet(num_classes=6, width=8, depth=3)


ts.manual_seed(0)
model = small_unet()
optimizer = ts.optim.Adam(model.parameters(), lr=0.01)
for step in range(80):
    train_step(model, optimizer, normalize(image)[None], mask[None])


def muted(levels):
    """The trained network, without its copies at these levels."""
    weights = {name: array.copy() for name, array in model.state_dict().items()}
    for level in levels:
        both = weights[f"expansive.{level}.0.conv.weight"]                  # (c, 2c, 3, 3)
        both[:, :both.shape[1] // 2] = 0
    silent = small_unet()
    silent.load_state_dict(weights)
    return silent


# %%
# **See:** the coarsest copy is hardly missed, as what comes up from below knows as much; the finer ones are.  Here,
# outlines fray without the finest, and classes are confused without the next, in which textures are still seen.
right, pictures = {}, [("image", image)]
for title, levels in [("all copies", ()), ("without 64 x 64", (0,)), ("without 32 x 32", (1,)), ("without 16 x 16", (2,))]:
    prediction = predict(muted(levels), image)
    right[levels] = (prediction == mask)[mask != VOID].mean()
    pictures.append((f"{title}:\n{right[levels]:.0%} right", colorize(prediction, OKABE_ITO)))
plots.slide("A trained U-Net, and what it is without one of its copies", [pictures],
            plots.class_legend(scenes.classes[:6], OKABE_ITO))
plt.show()
assert right[()] > 0.95 and right[2,] > max(right[0,], right[1,])

# %%
# Images larger than memory
# -------------------------
# What the paper's network loses at the borders buys something: what it does predict depends on nothing but the pixels
# that it is given.  So a large image can go through it in tiles, each cut out with as much around it as it takes, and
# mirrored where the image ends: the *overlap-tile* strategy.
ts.manual_seed(0)
valid = ts.models.UNet(num_classes=6, width=4, depth=2, padding="valid")
size, out = 92, valid.output_size(92, 92)[0]
margin = (size - out) // 2
large, _ = ts.data.Scenes(length=1, size=156, num_classes=6).read(0)
in_tiles, at_once = tiled_scores(valid, large, tile=out), scores(valid, large)
print(f"{size} x {size} pixels in, {out} x {out} out; largest difference of a score: {abs(in_tiles - at_once).max():.1e}")
np.testing.assert_allclose(in_tiles, at_once, rtol=1e-3, atol=1e-4)

# %%
# **See:** figure 2 of the paper: of the blue square the orange one is predicted, here at the corner of the image, whose
# edge is white.  Tile by tile or all at once, the scores are the same.
mirrored = np.pad(large, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
figure, ax = plt.subplots(figsize=(8, 7))
ax.imshow(mirrored)
for corner, side, colour in [(margin, len(large), "white"), (0, size, "#56B4E9"), (margin, out, "#E69F00")]:
    ax.add_patch(plt.Rectangle((corner - 0.5, corner - 0.5), side, side, fill=False, edgecolor=colour, linewidth=4))
ax.set(title=f"A tile: {size} x {size} pixels in, {out} x {out} out", xticks=[], yticks=[])
plt.show()

# %%
# **Try:** mute two copies at once.  Then ``skip="sum"``: why can its copies not be muted in this way?
