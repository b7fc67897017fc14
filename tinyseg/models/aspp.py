"""What DeepLab puts between an encoder and the scores: convolutions that look far, by taps that lie far apart.

Two cures for one ailment: objects are of all sizes, and a kernel sees those of one.  v2 and v3 look at the features at
several rates at once, atrous spatial pyramid pooling (ASPP); `gridding.py` counts what rates cost.
"""
from __future__ import annotations

from collections.abc import Sequence

from .. import nn
from ..functional import cat, interpolate
from ..tensor import Tensor
from .blocks import ConvNormReLU


class LargeFOV(nn.Module):
    """VGG's fully connected layers fc6 and fc7 as convolutions, with a large field of view: fc6 is 3x3 at a rate.

    Chen et al. 2015 (DeepLab v1), section 4.3; of v2's ASPP it is one branch (Chen et al. 2016, figure 7b).

    >>> import numpy as np
    >>> LargeFOV(8, 16, rate=12)(Tensor(np.zeros((1, 8, 5, 7), np.float32))).shape
    (1, 16, 5, 7)
    """

    def __init__(self, in_channels: int, channels: int, rate: int):
        self.fc6 = nn.Conv2d(in_channels, channels, 3, padding=rate, dilation=rate)
        self.fc7 = nn.Conv2d(channels, channels, 1)
        self.relu, self.dropout = nn.ReLU(), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(self.relu(self.fc6(x)))            # (N, channels, h, w)       3x3 at the rate
        return self.dropout(self.relu(self.fc7(x)))         # (N, channels, h, w)       1x1


class ImagePooling(nn.Module):
    """What the image is as a whole, told to every pixel: the mean over the plane, a 1x1 convolution, and back to h x w.

    It has a bias where the paper has batch normalisation: the mean is one value a channel, and the one value of a batch
    of one image has no variance to divide by.
    """

    def __init__(self, in_channels: int, channels: int):
        self.pool, self.convolve = nn.AdaptiveAvgPool2d(1), ConvNormReLU(in_channels, channels, 1, norm=None)

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[2:]
        x = self.pool(x)                                    # (N, in_channels, 1, 1)
        x = self.convolve(x)                                # (N, channels, 1, 1)
        return interpolate(x, (h, w), mode="bilinear")      # (N, channels, h, w)


class ASPP(nn.Module):
    """v3's pyramid: a 1x1 convolution, a 3x3 one for each rate, and image pooling, side by side, then mixed by a 1x1.

    Chen et al. 2017, section 3.3 and figure 5.

    norm: "batch", the paper's, or "group".  In training on a batch of one image, batch normalisation of the mixture
        takes away whatever is the same at all pixels, and with it all that image pooling says: it learns nothing then.

    >>> import numpy as np
    >>> ASPP(8, 4, rates=(6, 12, 18))(Tensor(np.zeros((1, 8, 5, 7), np.float32))).shape
    (1, 4, 5, 7)
    """

    def __init__(self, in_channels: int, channels: int, rates: Sequence[int], norm: str = "batch"):
        self.branches = nn.ModuleList([
            ConvNormReLU(in_channels, channels, 1, norm=norm),
            *(ConvNormReLU(in_channels, channels, 3, dilation=rate, norm=norm) for rate in rates),
            ImagePooling(in_channels, channels)])
        self.project = ConvNormReLU(len(self.branches) * channels, channels, 1, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        x = cat([branch(x) for branch in self.branches], dim=1)     # (N, branches * channels, h, w)
        return self.project(x)                                      # (N, channels, h, w)
