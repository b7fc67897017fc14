"""From classification to segmentation: classify the window around every pixel, then do it all at once.

Run it as a script, or cell by cell in an editor that knows `# %%`.
"""
# %% A small classification network: convolutions, pooling, two fully connected layers
import time

import numpy as np

import tinyseg as ts
from tinyseg import nn
from tinyseg.data import Scenes
from tinyseg.data.transforms import normalize
from tinyseg.models.patch_classifier import sliding_window
from tinyseg.models.summary import layer_rows

ts.manual_seed(0)
classifier = nn.Sequential(
    nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2),                        # 30 x 30 -> 14 x 14 pixels
    nn.Conv2d(8, 16, 3), nn.ReLU(), nn.MaxPool2d(2),                       # -> 6 x 6
    nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2),                      # -> 2 x 2
    nn.Flatten(), nn.Linear(32 * 2 * 2, 64), nn.ReLU(), nn.Linear(64, 6))  # -> scores of 6 classes


def work(network, shape):
    """How many multiply-adds it takes."""
    return sum(row.multiply_adds for row in layer_rows(network, shape))


def timed(function, *arguments):
    """The result, and how many seconds it took; the first call, which compiles, does not count."""
    function(*arguments)
    start = time.perf_counter()
    return function(*arguments), time.perf_counter() - start


# %% The first idea: run it on every window of the image, and each pixel gets the scores of the window around it
image, _ = Scenes(length=1, size=77, num_classes=6).read(0)
x = ts.Tensor(normalize(image)[None])                                      # (1, 3, 77, 77)
by_windows, seconds = timed(sliding_window, classifier, x, 30)             # (1, 6, 48, 48)
windows = by_windows.shape[2] * by_windows.shape[3]
print(f"{windows} windows:        {windows * work(classifier, (1, 3, 30, 30)) / 1e6:8.1f} million multiply-adds, "
      f"{1000 * seconds:7.1f} ms")

# %% Neighbours share most of their windows.  Convolve once; the fully connected layers are convolutions, too
with ts.no_grad():
    dense = nn.convolutionalize(classifier, (3, 30, 30), dense=True)
    at_once, seconds = timed(dense, x)
print(f"all at once:         {work(dense, x.shape) / 1e6:8.1f} million multiply-adds, {1000 * seconds:7.1f} ms")
print("largest difference of a score:", np.abs(at_once.numpy() - by_windows.numpy()).max())
assert np.allclose(at_once.numpy(), by_windows.numpy(), atol=1e-5)
print("\nWhat became of strides and fully connected layers:", dense, sep="\n")

# %% With its strides it is cheaper still, and its output coarse: what FCN, SegNet, U-Net and DeepLab start from
with ts.no_grad():
    strided = nn.convolutionalize(classifier, (3, 30, 30))
    coarse, seconds = timed(strided, x)
print(f"\nevery 8th pixel:     {work(strided, x.shape) / 1e6:8.1f} million multiply-adds, {1000 * seconds:7.1f} ms; "
      f"scores {coarse.shape}")
assert np.allclose(coarse.numpy(), by_windows.numpy()[:, :, ::8, ::8], atol=1e-5)

# %% As a model to be trained on masks: `classify` works on windows, `forward` on images, with the very same weights
model = ts.models.PatchClassifier(num_classes=6, width=8, window=30).eval()
small = x[:, :, :24, :32]
assert np.allclose(model(small).numpy(), model.sliding_window(small).numpy(), atol=1e-5)
print(f"\nPatchClassifier: {tuple(small.shape)} -> {model(small).shape}")
