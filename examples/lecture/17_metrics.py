"""
mIoU and pixel accuracy, and how conventions change them
========================================================

How good is a segmentation?  Two numbers are in use, and they answer different questions; and each of them depends on
conventions that papers do not always state.  Here all are computed from one and the same set of predictions.
"""
import matplotlib.pyplot as plt
import numpy as np

import tinyseg as ts
from tinyseg import plots
from tinyseg.data.palette import OKABE_ITO, VOID, colorize

plt.style.use(plots.SLIDE)

# %%
# Three predictions
# -----------------
# We need no network to learn about metrics.  Of the true masks of some scenes we make three predictions: nothing but
# background; every object three pixels too thin; and everything three pixels too far to the right.
scenes = ts.data.Scenes(length=60, size=96, num_classes=6)
truth = np.stack([scenes.mask(index) for index in range(len(scenes))])     # (60, 96, 96), void 255


def filled(masks):
    """The masks with the label of a neighbour where they are void: a prediction has no void."""
    masks = masks.copy()
    while (masks == VOID).any():
        for axis, by in [(1, 1), (1, -1), (2, 1), (2, -1)]:
            masks = np.where(masks == VOID, np.roll(masks, by, axis), masks)
    return masks


def thinner(masks, pixels):
    """Background wherever it is so near."""
    for _ in range(pixels):
        neighbours = [np.roll(masks, by, axis) for axis, by in [(1, 1), (1, -1), (2, 1), (2, -1)]]
        masks = np.where(np.min(neighbours, axis=0) == 0, 0, masks)
    return masks


predictions = {"only background": np.zeros_like(truth), "3 pixels too thin": thinner(filled(truth), 3),
               "3 pixels to the right": np.roll(filled(truth), 3, axis=2)}


def confusion(prediction, target=truth, ignore_index=VOID):
    matrix = ts.metrics.ConfusionMatrix(scenes.num_classes, ignore_index, scenes.classes)
    matrix.update(prediction, target)
    return matrix


scores = {name: confusion(prediction) for name, prediction in predictions.items()}
for name, matrix in scores.items():
    print(f"{name:22} pixel accuracy {matrix.pixel_accuracy:.3f}   mean accuracy {matrix.mean_accuracy:.3f}   "
          f"mIoU {matrix.mean_iou:.3f}   frequency-weighted IoU {matrix.frequency_weighted_iou:.3f}")

# %%
# **See:** a network that has learnt nothing gets more than half of the pixels right, since so many are background; its
# mIoU says 1/6 of that, as it finds one class of six.
row = [("ground truth\nof one of the 60 scenes", colorize(truth[5], OKABE_ITO))]
row += [(f"{name}\naccuracy {scores[name].pixel_accuracy:.2f}, mIoU {scores[name].mean_iou:.2f}",
         colorize(prediction[5], OKABE_ITO)) for name, prediction in predictions.items()]
plots.slide("The same pixels, two verdicts", [row], plots.class_legend(scenes.classes, OKABE_ITO))
plt.show()
nothing = scores["only background"]
assert nothing.pixel_accuracy > 0.5 and np.isclose(nothing.mean_iou, nothing.iou[0] / 6)

# %%
# What the size of an object does
# -------------------------------
# Intersection over union asks of every *class* how well its region is met, whatever its size; pixel accuracy asks of
# every pixel.  So the same error, one pixel all round, costs a small object dearly in the one and hardly in the other.
#
# **See:** a disc in an image of 200 x 200 pixels that is predicted one pixel too thin.
radii = np.array([2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64])
y, x = np.indices((200, 200)) - 99.5
accuracies, ious = [], []
for radius in radii:
    disc, thin = (x**2 + y**2 < radius**2).astype(int), (x**2 + y**2 < (radius - 1) ** 2).astype(int)
    matrix = ts.metrics.ConfusionMatrix(num_classes=2)
    matrix.update(thin, disc)
    accuracies.append(matrix.pixel_accuracy)
    ious.append(matrix.iou[1])
figure, ax = plt.subplots()
ax.semilogx(radii, accuracies, "o-", label="pixel accuracy")
ax.semilogx(radii, ious, "s-", label="IoU of the disc")
ax.set(title="One pixel too thin", xlabel="radius of the disc in pixels", ylim=(0, 1.05), xticks=[2, 4, 8, 16, 32, 64])
ax.set_xticklabels([2, 4, 8, 16, 32, 64])
ax.minorticks_off()
ax.grid()
ax.legend()
plt.show()
assert min(accuracies) > 0.98 and ious[0] < 0.35 and np.all(np.diff(ious) > 0)

# %%
# One prediction, six numbers
# ---------------------------
# The convention of Pascal VOC, and of ``ConfusionMatrix``: one matrix over the whole data set; void does not count; the
# mean is over all classes, background included.  Each other convention changes one of these.
shifted = predictions["3 pixels to the right"]
images = [confusion(p, t).iou for p, t in zip(shifted, truth)]              # (6,) each, NaN for a class that is absent
without_void = np.where(truth == VOID, 0, truth)
conventions = {
    "one matrix over all images (VOC)": scores["3 pixels to the right"].mean_iou,
    "… without the background": np.mean(scores["3 pixels to the right"].iou[1:]),
    "… void taken for background": confusion(shifted, without_void).mean_iou,
    "mean over images, absent classes left out": np.mean([np.nanmean(iou) for iou in images]),
    "… absent classes count as 1": np.mean([np.nan_to_num(iou, nan=1) for iou in images]),
    "… absent classes count as 0": np.mean([np.nan_to_num(iou, nan=0) for iou in images]),
}

# %%
# **See:** the same predictions, six values of "mIoU".  A comparison of two papers is one only if they share all of this.
figure, ax = plt.subplots(figsize=(13, 5))
bars = ax.barh(list(conventions), list(conventions.values()), color=[plots.VERMILION, *[plots.BLUE] * 5])
ax.bar_label(bars, fmt="%.3f", padding=5)
ax.set(title="mIoU of one and the same set of predictions", xlim=(0, 1))
ax.invert_yaxis()
plt.show()
print(scores["3 pixels to the right"])
assert len({f"{value:.3f}" for value in conventions.values()}) == 6
assert max(conventions.values()) - min(conventions.values()) > 0.2

# %%
# **Try:** 21 classes (``num_classes=21`` in the scenes): which of the conventions changes most, and why?  Then let the
# prediction invent one pixel of a class that no image shows; what does it do to the mean over the classes?
