"""
Pixels and labels
=================

What is it that a segmentation network learns to predict, and how is it stored?  For every pixel the class of the object
that it shows: an image of small whole numbers, the *mask*, in which one number, 255, says "do not ask me".
"""
import tempfile

import matplotlib.pyplot as plt
import numpy as np

import tinyseg as ts
from tinyseg import plots
from tinyseg.data.palette import VOC_CLASSES, VOID, colorize, from_colors, overlay, read_mask, voc_colormap, write_mask

plt.style.use(plots.SLIDE)

# %%
# Tags and labels
# ---------------
# Image classification knows *tags*: somewhere in this image there is a disc.  Segmentation knows *labels*: which pixels
# are disc.  Tags follow from labels, but not the other way round, and labels are dear: somebody has to draw them.  Ours
# are drawn by the library, image and mask alike.
scenes = ts.data.Scenes(length=8, size=(96, 128), num_classes=6, seed=0)
image, mask = scenes.read(3)
print("image:", image.shape, image.dtype, "  mask:", mask.shape, mask.dtype)

present = [int(label) for label in np.unique(mask) if label not in (0, VOID)]
tags = [scenes.classes[label] for label in present]
print("tags of the image:", ", ".join(tags))
assert image.shape[:2] == mask.shape                       # a label for each pixel

# %%
# **See:** the mask in the colours of its classes, with their numbers.  The thin cream line around every object
# is *void*, label 255: pixels that are a bit of both, where not even people agree.
figure, axes = plt.subplots(1, 3, figsize=(13, 4.4))
titles = ["image", "mask: a class for every pixel", "one over the other"]
for ax, picture, title in zip(axes, [image, colorize(mask), overlay(image, mask)], titles):
    ax.imshow(picture)
    ax.set(title=title, xticks=[], yticks=[])
for label in present:                                      # written where the class is thickest
    depth = ts.data.distance_transform(np.pad(mask != label, 1, constant_values=True))
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    axes[1].text(column - 1, row - 1, str(label), ha="center", va="center", fontsize=20, fontweight="bold",
                 color="white")
figure.supxlabel(",   ".join(f"{label} {scenes.classes[label]}" for label in [0, *present]))
plt.show()

# %%
# A mask is numbers
# -----------------
# The colours are for the eye alone.  What the network is trained on are the numbers.
#
# **See:** a corner of the mask, 0 the background and 1 the disc, and between them a line of void, two to three pixels
# wide, measured across it.
top, left = 36, 66
patch = mask[top:top + 10, left:left + 14]
assert set(np.unique(patch)) == {0, 1, VOID}

figure, (picture_ax, number_ax) = plt.subplots(1, 2, figsize=(13, 4.8))
picture_ax.imshow(image[top:top + 10, left:left + 14])
number_ax.imshow(colorize(patch))
for (row, column), label in np.ndenumerate(patch):
    number_ax.text(column, row, str(label), ha="center", va="center", fontsize=13,
                   color="black" if label == VOID else "white")
for ax, title in [(picture_ax, "14 x 10 pixels"), (number_ax, "their labels")]:
    ax.set(title=title, xticks=[], yticks=[])
plt.show()

# %%
# The palette
# -----------
# Pascal VOC has 20 classes and the background, and gives each a colour in a simple way: bits 0, 1 and 2 of the label
# are the highest bits of red, green and blue, bits 3, 4 and 5 the next lower ones, and so on.  Neighbouring labels so
# get colours far apart.
#
# **See:** the 21 classes with their numbers; 255 comes out cream.


def colour_of(label):
    """Red, green and blue, bit by bit."""
    return [sum(((label >> (3 * level + channel)) & 1) << (7 - level) for level in range(8)) for channel in range(3)]


palette = voc_colormap()                                   # (256, 3)
assert all(palette[label].tolist() == colour_of(label) for label in range(256))

figure, ax = plt.subplots(figsize=(13, 4.8))
for place, (label, name) in enumerate([*enumerate(VOC_CLASSES), (VOID, "void")]):
    column, row = divmod(place, 6)
    ax.add_patch(plt.Rectangle((4 * column, row + 0.1), 0.8, 0.8, facecolor=palette[label] / 255, edgecolor="0.4"))
    ax.text(4 * column + 1, row + 0.5, f"{label}  {name}", va="center", fontsize=16)
ax.set(xlim=(-0.2, 16), ylim=(6, 0), title="the labels of Pascal VOC")
ax.set_axis_off()
plt.show()

# %%
# On disk a mask is a PNG whose pixels are the labels, with the palette beside them.  An image reader that turns it into
# colours, as most do unless told not to, makes three numbers of each one; they can be looked up, but only exactly.
with tempfile.TemporaryDirectory() as folder:
    write_mask(f"{folder}/mask.png", mask)
    np.testing.assert_array_equal(read_mask(f"{folder}/mask.png"), mask)
np.testing.assert_array_equal(from_colors(colorize(mask)), mask)

# %%
# What void does
# --------------
# Void pixels count neither in the loss, the number that training makes small, nor in the counts that a network is
# judged by: whatever it says there is not held against it.
rng = np.random.default_rng(0)
classes = len(scenes.classes)
scores = rng.standard_normal((1, classes, 96, 128))        # of each class at each pixel; this network guesses
loss = ts.functional.cross_entropy(scores, mask[None]).item()
elsewhere = np.where(mask == VOID, rng.standard_normal(scores.shape), scores)          # other scores, where it is void
same = ts.functional.cross_entropy(elsewhere, mask[None]).item()
np.testing.assert_allclose(same, loss, rtol=1e-12)
print(f"loss {loss:.3f}; with other scores at the void pixels, still {same:.3f}")

confusion = ts.metrics.ConfusionMatrix(classes)
confusion.update(scores.argmax(axis=1), mask[None])
assert confusion.matrix.sum() == (mask != VOID).sum()
print(f"{(mask == VOID).sum()} of {mask.size} pixels are void; {confusion.matrix.sum()} count")

# %%
# **Try:** another scene, ``scenes.read(5)``, or all 21 classes, ``num_classes=21``: either needs another corner, or its own
# labels in the assertion on the corner.  How many pixels are void?  How would you store a mask with 300 classes?
