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
from tinyseg.inference import predict
from tinyseg.metrics import boundary_band
from tinyseg.models.summary import layer_rows
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
# With and without
# ----------------
# Three small U-Nets learn one image, in as many steps: one without copies, one that adds them, and the paper's, which
# puts them beside what comes up from below ("concat"), so that the next convolution can choose.
STEPS = 80
scenes = ts.data.Scenes(length=30, size=64, num_classes=6)
image, mask = scenes.read(5)
losses, predictions = {}, {}
for skip in ("none", "sum", "concat"):
    ts.manual_seed(0)
    model = ts.models.UNet(6, width=8, depth=3, skip=skip)
    optimizer = ts.optim.Adam(model.parameters(), lr=0.01)
    losses[skip] = [train_step(model, optimizer, normalize(image)[None], mask[None])[0] for _ in range(STEPS)]
    predictions[skip] = predict(model, image)

# %%
# **See:** what is right in all three is what the bottom of the U knows: that there is a disc, and where.  Its outline
# had to pass through a map of 8 x 8 pixels, unless it was copied.
fine = boundary_band(np.where(mask == VOID, 0, mask)) & (mask != VOID)
pictures, errors = [("image", image), ("ground truth", colorize(mask, OKABE_ITO))], {}
for skip, prediction in predictions.items():
    errors[skip] = (prediction != mask)[fine].mean()
    pictures.append((f"skip={skip!r}\n{errors[skip]:.0%} wrong at outlines", colorize(prediction, OKABE_ITO)))
plots.slide(f"U-Nets after {STEPS} steps on one image", [pictures], plots.class_legend(scenes.classes, OKABE_ITO))
plt.show()
assert errors["none"] > 2 * max(errors["sum"], errors["concat"])

# %%
# **See:** and it is learnt faster, too.
figure, ax = plt.subplots(figsize=(12, 5))
for skip, values in losses.items():
    ax.semilogy(range(1, STEPS + 1), values, label=f"skip={skip!r}")
ax.set(title="Learning one image by heart", xlabel="step", ylabel="loss (cross-entropy)")
ax.grid()
ax.legend()
plt.show()
assert min(losses["none"]) > max(losses["sum"][-1], losses["concat"][-1])

# %%
# **Try:** ``depth=1`` and ``depth=4``: what does the network without copies make of them?  And one of the upsamplings of
# ``ts.models.upsampling.UPSAMPLING`` in place of the up-convolution.
