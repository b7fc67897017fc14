"""The first idea: classify every pixel by the window around it, and the network that does so without doing it.

The lecture's "sliding window": a classification network sees one patch and names the class of its centre.  So did
Ciresan et al. 2012, "Deep neural networks segment neuronal membranes in electron microscopy images", to whom U-Net
compares itself.
"""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .. import nn
from ..functional import pad
from ..graph import no_grad
from ..nn.convolutionalize import convolutional_view
from ..op import Array
from ..sizes import same_padding
from ..tensor import Tensor
from .blocks import he_initialise, norm_layer


class PatchClassifier(nn.Module):
    """A classification network for the centre of a window: convolutions and pooling, then fully connected layers.

    `classify(patches)` is that network.  `forward(images)` has the same weights and gives the same scores, of the
    windows around all pixels at once: the fully connected layers become convolutions, and strides become dilation
    (`nn.convolutionalize`), so it trains on masks as any segmentation model does.  `sliding_window(images)` gives them
    one window after the other.  Around the image lies zero, which is the mean colour of a normalised image.

    num_classes, in_channels: channels of the output scores and of the input image.
    width: channels of the first convolution; 2·width and 4·width of the next two, 8·width of the fully connected layer.
    window: height and width of the windows, one of 22, 30, 38, …; the centre is pixel (window - 1) // 2.
    norm: "batch" or None; group normalisation would mix the pixels of a window.

    >>> model = PatchClassifier(num_classes=21, width=4, window=22)
    >>> model.classify(Tensor(np.zeros((5, 3, 22, 22), np.float32))).shape
    (5, 21)
    >>> model(Tensor(np.zeros((1, 3, 20, 33), np.float32))).shape
    (1, 21, 20, 33)
    """

    def __init__(self, num_classes: int, in_channels: int = 3, width: int = 64, window: int = 38,
                 norm: str | None = "batch"):
        if min(num_classes, in_channels, width) < 1:
            raise ValueError(f"PatchClassifier: num_classes={num_classes}, in_channels={in_channels}, width={width}; "
                             f"expected at least 1 of each")
        if norm not in ("batch", None):
            raise ValueError(f"PatchClassifier: norm={norm!r}; expected 'batch' or None")
        if window < 22 or (window + 2) % 8:
            smaller = max(22, (window + 2) // 8 * 8 - 2)
            raise ValueError(f"PatchClassifier: window={window} does not leave whole pixels after three times 3x3 "
                             f"convolution and halving; nearest legal sizes: {smaller} and {smaller + 8}")
        self.num_classes, self.in_channels, self.width, self.window, self.norm = (
            num_classes, in_channels, width, window, norm)
        side = (window + 2) // 8 - 2                      # of the map left of a window: 2·(2·(2·side + 2) + 2) + 2
        layers: list[nn.Module] = []
        for c_in, c in [(in_channels, width), (width, 2 * width), (2 * width, 4 * width)]:
            layers += [nn.Conv2d(c_in, c, 3, bias=norm is None), norm_layer(norm, c), nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(4 * width * side**2, 8 * width), nn.ReLU(),
                                        nn.Linear(8 * width, num_classes))
        he_initialise(self)

    def classify(self, patches: Tensor) -> Tensor:
        """Scores of every class for the centre pixel, (N, num_classes), of patches (N, in_channels, window, window)."""
        if patches.shape[1:] != (self.in_channels, self.window, self.window):
            raise ValueError(f"PatchClassifier: patches have shape {patches.shape}; expected "
                             f"(N, {self.in_channels}, {self.window}, {self.window})")
        return self.classifier(self.features(patches))

    def forward(self, x: Tensor) -> Tensor:
        """Scores of every class at every pixel, (N, num_classes, H, W), of images (N, in_channels, H, W) of any size.

        Padded by p = window - 1 pixels, there is a window for each.
        """
        x = self._padded(x)                             # (N, in_channels, H+p, W+p)
        return self._dense()(x)                         # (N, num_classes, H, W)

    def sliding_window(self, x: Tensor) -> Tensor:
        """As `forward`, without gradients: every window by itself, through `classify`."""
        return sliding_window(self.classify, self._padded(x), self.window)

    def _dense(self) -> nn.Sequential:
        """`classify` as convolutions without stride, with the very same weights."""
        return convolutional_view(nn.Sequential(self.features, self.classifier),
                                  (self.in_channels, self.window, self.window), dense=True)

    def _padded(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise ValueError(f"PatchClassifier: input has shape {x.shape}; expected (N, {self.in_channels}, H, W)")
        before, after = same_padding(self.window)
        return pad(x, (before, after, before, after))


@no_grad()
def sliding_window(classify: Callable[[Tensor], Tensor], images: Tensor, window: int) -> Tensor:
    """What a classifier says to every window of the images; a row of windows is one batch.

    classify: makes scores (B, num_classes) of patches (B, C, window, window); images (N, C, H, W).
    Returns (N, num_classes, H - window + 1, W - window + 1), without a graph.  ValueError if the window is larger,
    or if the scores have another shape: a network of convolutions alone does not flatten.

    >>> sliding_window(lambda patches: patches.sum(dim=(2, 3)), Tensor(np.ones((1, 2, 4, 5))), window=3).numpy()[0, 0]
    array([[9., 9., 9.], [9., 9., 9.]])
    """
    if images.ndim != 4 or min(images.shape[2:]) < window:
        raise ValueError(f"sliding_window: images have shape {images.shape}; expected (N, C, H, W) of at least "
                         f"{window}x{window} pixels")
    windows = np.lib.stride_tricks.sliding_window_view(images.numpy(), (window, window), axis=(2, 3))
    scores = [[_row(classify, row) for row in image] for image in windows.transpose(0, 2, 3, 1, 4, 5)]
    return Tensor(np.array(scores).transpose(0, 3, 1, 2))                    # (N, H', W', K) -> (N, K, H', W')


def _row(classify: Callable[[Tensor], Tensor], patches: Array) -> Array:
    """Scores (W', K) of patches (W', C, window, window)."""
    scores = classify(Tensor(np.ascontiguousarray(patches))).numpy()
    if scores.ndim != 2 or len(scores) != len(patches):
        raise ValueError(f"sliding_window: of patches {patches.shape} classify made scores of shape {scores.shape}; expected "
                         f"({len(patches)}, num_classes), so end the network with nn.Flatten() and nn.Linear; one without "
                         f"them takes the whole images at once, without windows")
    return scores
