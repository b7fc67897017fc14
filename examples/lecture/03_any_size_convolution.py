"""
The better idea: convolve an image of any size
==============================================

Must every window be classified by itself?  No: a convolution takes images of any size, a fully connected layer can be
written as a convolution, and so one pass over the image gives the scores of all its windows.
"""
import time

import matplotlib.pyplot as plt
import numpy as np

import tinyseg as ts
from tinyseg import nn, plots
from tinyseg.data.transforms import normalize
from tinyseg.models.patch_classifier import sliding_window
from tinyseg.models.summary import layer_rows

F = ts.functional
plt.style.use(plots.SLIDE)

# %%
# The same kernel, any image
# --------------------------
# The number of weights of a convolution has nothing to do with the size of the image.
ts.manual_seed(0)
conv = nn.Conv2d(3, 8, kernel_size=3)
for height, width in (5, 5), (22, 22), (48, 64):
    print(f"{height} x {width} pixels ->", conv(ts.Tensor(np.zeros((1, 3, height, width), np.float32))).shape)

# %%
# The last layers
# ---------------
# A fully connected layer has a weight for every number that comes in, so its input has one size only.  But a kernel
# that is as large as that input does the same: it fits in one place, where it multiplies each number with a weight.
rng = np.random.default_rng(0)
features = rng.standard_normal((1, 8, 4, 4))                               # (N, C, h, w)
weight = rng.standard_normal((5, 8 * 4 * 4))                               # (O, C·h·w)
connected = F.linear(features.reshape(1, -1), weight)                      # (1, 5)
convolved = F.conv2d(features, weight.reshape(5, 8, 4, 4))                 # (1, 5, 1, 1)
np.testing.assert_allclose(convolved.numpy()[:, :, 0, 0], connected.numpy(), atol=1e-12)

# on a larger input it has room to move, and gives a score for each place
larger = rng.standard_normal((1, 8, 6, 9))
print("fully connected, on a larger input:", F.conv2d(larger, weight.reshape(5, 8, 4, 4)).shape)

# %%
# A whole classifier, made convolutional
# --------------------------------------
# ``nn.convolutionalize`` does that to a network: one without pooling and *stride*, steps of several pixels, for now.
WINDOW = 14
plain = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(),       # 14 -> 12 -> 10 pixels
                      nn.Flatten(), nn.Linear(16 * 10 * 10, 5))
network = nn.convolutionalize(plain, (3, WINDOW, WINDOW))
print(network)

image, _ = ts.data.Scenes(length=8, size=(48, 64), num_classes=6, seed=0).read(3)
x = ts.Tensor(normalize(image)[None])                                      # (1, 3, 48, 64)
with ts.no_grad():                                                         # no gradients wanted
    scores = network(x)                                                    # (1, 5, 35, 51); untrained, they mean nothing yet
by_windows = sliding_window(plain, x, WINDOW)                              # each window by itself: the same
np.testing.assert_allclose(scores.numpy(), by_windows.numpy(), atol=1e-5)

# %%
# **See:** the output has pixels of its own now.  Each is the answer to one window, its *receptive field*; two are marked.
figure, axes = plt.subplots(1, 2, figsize=(12, 5.2))
axes[0].imshow(image)
axes[1].imshow(scores.numpy()[0, 1], cmap="gray")
for (row, column), colour in [((3, 5), "#F0E442"), ((20, 32), "#E69F00")]:
    axes[0].add_patch(plt.Rectangle((column - 0.5, row - 0.5), WINDOW, WINDOW, fill=False, edgecolor=colour, linewidth=5))
    axes[1].add_patch(plt.Rectangle((column - 0.5, row - 0.5), 1, 1, color=colour))
    axes[1].annotate("its answer", (column + 0.5, row + 0.5), (column + 3, row + 7), fontsize=16, fontweight="bold",
                     bbox={"facecolor": colour}, arrowprops={"color": colour, "arrowstyle": "-", "linewidth": 4})
axes[0].set_title(f"image: {x.shape[2]} x {x.shape[3]} pixels, windows of {WINDOW} x {WINDOW}")
axes[1].set_title(f"scores of one class, untrained: {scores.shape[2]} x {scores.shape[3]}")
plt.setp(axes, xticks=[], yticks=[])
plt.show()

# %%
# With pooling
# ------------
# Two poolings, of stride 2, halve the image twice, so the network answers for every fourth window only.  To have them all,
# leave the stride out and let what follows skip pixels instead, by *dilation*: ``dense=True``.
classifier = nn.Sequential(
    nn.Conv2d(3, 16, 3), nn.ReLU(), nn.MaxPool2d(2),                       # 22 x 22 -> 10 x 10 pixels
    nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2),                      # -> 4 x 4
    nn.Flatten(), nn.Linear(32 * 4 * 4, 64), nn.ReLU(), nn.Linear(64, 6))
strided, dense = (nn.convolutionalize(classifier, (3, 22, 22), dense) for dense in (False, True))
print(dense)


def timed(function, *arguments):
    """The result, and how many seconds it took; the first call, which may compile, does not count."""
    function(*arguments)
    start = time.perf_counter()
    return function(*arguments).numpy(), time.perf_counter() - start


with ts.no_grad():
    all_windows, slow = timed(sliding_window, classifier, x, 22)           # (1, 6, 27, 43)
    at_once, fast = timed(dense, x)                                        # (1, 6, 27, 43)
    coarse = strided(x).numpy()                                            # (1, 6, 7, 11)
np.testing.assert_allclose(at_once, all_windows, atol=1e-5)
np.testing.assert_allclose(coarse, all_windows[:, :, ::4, ::4], atol=1e-5)

# %%
# **See:** what this image's windows cost; the axis is logarithmic.  At once, convolutions are shared by all windows that a
# pixel lies in.  The fully connected layer is not, each window needs its own; it is most of what is left.  With stride, there
# are scores for every fourth window only, down and across, but the first layer still sees every pixel.


def work(model, shape):
    """How many multiply-adds a model takes."""
    return sum(row.multiply_adds for row in layer_rows(model, shape))


costs = {"every window\nby itself": all_windows[0, 0].size * work(classifier, (1, 3, 22, 22)),
         "every window\nat once": work(dense, x.shape), "every 4th window\nat once": work(strided, x.shape)}
assert costs["every window\nby itself"] > 10 * costs["every window\nat once"] > 10 * costs["every 4th window\nat once"]
figure, ax = plt.subplots(figsize=(11, 4.5))
bars = ax.barh(list(costs), [cost / 1e6 for cost in costs.values()], color=plots.BLUE)
ax.bar_label(bars, [f"{cost / 1e6:,.0f}" for cost in costs.values()], padding=6)
ax.set(xscale="log", xlim=(1, 2e3), xlabel="million multiply-adds", title="what the windows of one image cost")
ax.invert_yaxis()
ax.spines[["top", "right"]].set_visible(False)
plt.show()
alone, shared, _ = costs.values()
print(f"at once: {alone / shared:.0f} times fewer multiply-adds, and {slow / fast:.0f} times faster")
assert all_windows[0, 0].size * 32 * 4 * 4 * 64 > shared / 2               # the fully connected layer

# %%
# Trained on whole masks
# ----------------------
# Since the output has pixels, the loss can be the mean over all of them: the network is trained on whole masks.  That is the
# same as a batch of all windows, as ``ts.models.PatchClassifier`` shows: ``classify`` works on windows, calling it on images.
image, mask = ts.data.Scenes(length=1, size=(20, 28), num_classes=6).read(0)
model = ts.models.PatchClassifier(num_classes=6, width=4, window=22, norm=None).double()  # rounding moves an exact 0 past ReLU
x = ts.Tensor(normalize(image)[None].astype(np.float64))
F.cross_entropy(model(x), mask[None]).backward()                           # scores (1, 6, 20, 28)
by_mask = [parameter.grad for parameter in model.parameters()]
model.zero_grad()
padded = F.pad(x, (10, 11, 10, 11)).numpy()                                # a window around each pixel
windows = np.lib.stride_tricks.sliding_window_view(padded, (22, 22), axis=(2, 3)).transpose(0, 2, 3, 1, 4, 5)
F.cross_entropy(model.classify(ts.Tensor(windows.reshape(-1, 3, 22, 22))), mask.ravel()).backward()
for parameter, grad in zip(model.parameters(), by_mask):
    np.testing.assert_allclose(parameter.grad, grad, rtol=1e-9, atol=1e-12)

# %%
# **Try:** replace the 10 x 10 kernel of ``plain`` by four more convolutions of 3 x 3 pixels and one of 2 x 2 (and keep
# the ``nn.Flatten()`` behind them): more weights or fewer?  Which images are too small for a convolutional network?
