"""
The first idea: classify pixels by a sliding window
===================================================

How does a network that names the class of an *image* become one that names the class of every *pixel*?  The naive way:
cut out the window around each pixel, classify that, and write the answer into the mask.
"""
import matplotlib.pyplot as plt
import numpy as np

import tinyseg as ts
from tinyseg import nn, plots
from tinyseg.data.palette import OKABE_ITO, VOID, colorize
from tinyseg.data.transforms import normalize
from tinyseg.models.patch_classifier import sliding_window
from tinyseg.models.summary import layer_rows

plt.style.use(plots.SLIDE)

# %%
# A classifier of windows
# -----------------------
# Convolutions and pooling, then fully connected layers: an ordinary classification network, only small.  A *convolution*
# lays a small *kernel* of weights on every place of the image and sums the products.  It has several, and each makes a
# *channel* of the output.  (``tinyseg step conv`` shows it number by number.)  ``ReLU`` sets negative numbers to zero; pooling
# keeps the largest of 2 x 2 pixels.  A *fully connected* layer sums up all its numbers, with a weight for each, and the last
# one does so for every class: these sums are the *scores*, and the highest wins.
#
# Its images are windows of 22 x 22 pixels, and the class of a window is the class of the pixel in its middle.
WINDOW, CLASSES = 22, 4
MIDDLE = (WINDOW - 1) // 2

ts.manual_seed(0)
classifier = nn.Sequential(
    nn.Conv2d(3, 10, 3), nn.ReLU(), nn.MaxPool2d(2),                       # 22 x 22 -> 10 x 10 pixels
    nn.Conv2d(10, 20, 3), nn.ReLU(), nn.MaxPool2d(2),                      # -> 4 x 4
    nn.Flatten(), nn.Linear(20 * 4 * 4, 24), nn.ReLU(), nn.Linear(24, CLASSES))


def windows_of(image):
    """All windows that lie within an image: (3, H, W) -> (H - WINDOW + 1, W - WINDOW + 1, 3, WINDOW, WINDOW), a view."""
    return np.lib.stride_tricks.sliding_window_view(image, (WINDOW, WINDOW), axis=(1, 2)).transpose(1, 2, 0, 3, 4)


# %%
# **See:** three windows of an image, each with the one label that it is an example of.  The third is an example of none:
# its middle pixel is void, and it will be left out.
scenes = ts.data.Scenes(length=200, size=(64, 88), num_classes=CLASSES, seed=0)
image, mask = scenes.read(0)
middles = [(20, 24), (36, 50), (40, 20)]                                   # rows and columns
assert [mask[middle] == VOID for middle in middles] == [False, False, True]
figure, axes = plt.subplots(1, 4, figsize=(13, 4), width_ratios=[1.8, 1, 1, 1])
axes[0].imshow(image)
for ax, (row, column), colour in zip(axes[1:], middles, ["white", plots.VERMILION, "#56B4E9"]):
    top, left = row - MIDDLE, column - MIDDLE
    for part in axes[0], ax:
        size, corner = WINDOW, (left - 0.5, top - 0.5) if part is axes[0] else (-0.5, -0.5)
        part.add_patch(plt.Rectangle(corner, size, size, fill=False, edgecolor=colour, linewidth=4))
    ax.imshow(image[top:top + WINDOW, left:left + WINDOW])
    ax.plot(MIDDLE, MIDDLE, "+", color="white", markersize=18, markeredgewidth=3)
    ax.set_title("void" if mask[row, column] == VOID else scenes.classes[mask[row, column]])
axes[0].set_title("an image and three windows")
for ax in axes:
    ax.set_axis_off()
plt.show()

# %%
# Training
# --------
# Each step looks at one *batch*: 32 windows of the next image.  The *loss* is *cross-entropy*, large where the right class
# has a low score (script 16).  ``backward`` computes its *gradient*, how it changes with every weight, and ``step`` moves
# the weights a little against that.  *Adam* is a way of stepping downhill that gives every weight a step length of its own.
#
# Void pixels are left out of the loss.  It jumps from batch to batch, some being easier than others; its mean over a
# hundred steps is what falls.
rng = np.random.default_rng(0)
losses = []
optimizer = ts.optim.Adam(classifier.parameters(), lr=2e-3)
for step in range(500):
    image, mask = scenes.read(step % len(scenes))
    windows = windows_of(normalize(image))
    rows, columns = rng.integers(0, windows.shape[0], 32), rng.integers(0, windows.shape[1], 32)
    labels = mask[rows + MIDDLE, columns + MIDDLE]                         # (32,)
    optimizer.zero_grad()                                                  # forget the gradient of the step before
    loss = ts.functional.cross_entropy(classifier(ts.Tensor(windows[rows, columns])), labels)
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
    if step % 100 == 99:
        print(f"steps {step - 98} to {step + 1}: mean loss {np.mean(losses[-100:]):.2f}")
assert np.mean(losses[-100:]) < 0.7 * np.mean(losses[:100])

# %%
# Segmentation, one pixel at a time
# ---------------------------------
# An image that the network has not seen, mirrored at its border, so that every pixel has a window.
#
# **See:** most of it is right, in smooth blobs, since the windows of neighbours are nearly the same.  But the triangle smears
# into the square.  What a mask looks like as a whole, that a triangle has straight sides, is nothing that this network
# can learn: it classifies each pixel by itself, and is never shown more than one label at a time.
#
# *IoU*, intersection over union, is how many pixels of a class mask and prediction have in common, divided by how many
# either has; *mIoU* is its mean over the classes.
image, mask = ts.data.Scenes(length=9, size=(64, 88), num_classes=CLASSES, split="test").read(7)
x = ts.functional.pad(normalize(image)[None], (MIDDLE, WINDOW - 1 - MIDDLE) * 2, mode="reflect")
scores = sliding_window(classifier, x, WINDOW)                             # (1, 4, 64, 88)
prediction = scores.numpy()[0].argmax(axis=0).astype(np.uint8)             # (64, 88)

confusion = ts.metrics.ConfusionMatrix(CLASSES)
confusion.update(prediction, mask)
legend = {**plots.class_legend(scenes.classes, OKABE_ITO), "right": plots.RIGHT_COLOUR, "wrong": plots.WRONG_COLOUR}
plots.slide(f"Classified window by window: mIoU {confusion.mean_iou:.2f}", [[
    ("an unseen image", image), ("its mask", colorize(mask, OKABE_ITO)), ("prediction", colorize(prediction, OKABE_ITO)),
    ("where it is wrong", plots.error_map(prediction, mask))]], legend)
plt.show()
print(f"mIoU {confusion.mean_iou:.2f}, pixel accuracy {confusion.pixel_accuracy:.2f}")
assert confusion.mean_iou > 0.3 and confusion.pixel_accuracy > 0.7

# %%
# That the pixels are independent is easily seen: shuffle the windows, classify, and put the answers back.
windows = windows_of(x.numpy()[0])[40]                                     # those of row 40: (88, 3, 22, 22)
order = rng.permutation(len(windows))
shuffled = np.empty((len(windows), CLASSES), np.float32)
shuffled[order] = classifier(ts.Tensor(windows[order])).numpy()
np.testing.assert_allclose(shuffled.T, scores.numpy()[0, :, 40], atol=1e-5)

# %%
# And it is wasteful.  Windows of neighbours are nearly the same, and yet each is convolved anew.
per_window = sum(row.multiply_adds for row in layer_rows(classifier, (1, 3, WINDOW, WINDOW)))
print(f"{mask.size} windows of {per_window / 1e6:.2f} million multiply-adds: {mask.size * per_window / 1e9:.1f} billion "
      f"for an image of {mask.shape[0]} x {mask.shape[1]} pixels")
looks = ts.functional.conv_transpose2d(np.ones((1, 1, *mask.shape)), np.ones((1, 1, WINDOW, WINDOW))).numpy()
assert looks.max() == WINDOW**2                                            # so many windows does a pixel lie in
print(f"a pixel lies in up to {looks.max():.0f} windows; the next script computes only once what they have in common")

# %%
# **Try:** train ten times as long, some minutes: what becomes of the outlines?  Then make the window larger, 30 or 38
# pixels, of which 6 x 6 or 8 x 8 reach the first ``nn.Linear``, and train long with it, too (after 500 steps it is
# worse): what is gained, and what does it cost?
