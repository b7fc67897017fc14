"""U-Net: Ronneberger, Fischer & Brox, "U-Net: Convolutional networks for biomedical image segmentation", MICCAI 2015.

To be read beside the paper's figure 1; one line of `forward` is one arrow of it.
"""
from __future__ import annotations

import itertools

from .. import nn
from ..tensor import Tensor
from .blocks import ConvNormReLU
from .upsampling import (SKIPS, UPSAMPLING, Places, check_choice, initialise, join, joined_channels, max_places,
                         upsampling_layer)


class UNet(nn.Module):
    """A contracting path, an expansive path, and at every level a copy from the one to the other.

    The paper's network is UNet(2, in_channels=1, padding="valid", norm=None): convolutions without padding, so that
    572x572 pixels become 388x388, and dropout at the end of the contracting path.  The common one, the default, has
    padding and batch normalisation, and its output is as large as its input.

    num_classes, in_channels: channels of the output scores and of the input image.
    width: channels of the first level; each level below has twice as many.
    depth: how many times the image is halved.
    padding: "same" (height and width must be multiples of 2^depth) or "valid" (see `legal_size`).
    norm: "batch", "group", or None.
    upsampling: one of UPSAMPLING; "transposed" is the paper's 2x2 up-convolution.
    skip: one of SKIPS; "concat" is the paper's.

    >>> import numpy as np
    >>> UNet(num_classes=21, width=4, depth=2)(Tensor(np.zeros((1, 3, 32, 48), np.float32))).shape
    (1, 21, 32, 48)
    """

    def __init__(self, num_classes: int, in_channels: int = 3, width: int = 64, depth: int = 4, padding: str = "same",
                 norm: str | None = "batch", upsampling: str = "transposed", skip: str = "concat"):
        if padding not in ("same", "valid"):
            raise ValueError(f"UNet: padding={padding!r}; expected 'same' or 'valid'")
        if min(num_classes, in_channels, width, depth) < 1:
            raise ValueError(f"UNet: num_classes={num_classes}, in_channels={in_channels}, width={width}, "
                             f"depth={depth}; expected at least 1 of each")
        check_choice("UNet: upsampling", upsampling, UPSAMPLING)
        check_choice("UNet: skip", skip, SKIPS)
        if upsampling == "max_unpool" and padding == "valid":
            raise ValueError("UNet: upsampling='max_unpool' puts values back to where they came from, but with "
                             "padding='valid' fewer come back; use padding='same'")
        self.num_classes, self.in_channels, self.width, self.depth = num_classes, in_channels, width, depth
        self.padding, self.norm, self.upsampling, self.skip = padding, norm, upsampling, skip
        channels = [width * 2**level for level in range(depth + 1)]           # 64, 128, 256, 512, 1024

        def convolutions(c_in: int, c_out: int) -> nn.Sequential:
            return nn.Sequential(ConvNormReLU(c_in, c_out, 3, padding=padding, norm=norm),
                                 ConvNormReLU(c_out, c_out, 3, padding=padding, norm=norm))

        contracting = [convolutions(c_in, c) for c_in, c in zip([in_channels, *channels], channels)]
        if norm is None:                                                      # at the end of the contracting path, two
            contracting[-2].append(nn.Dropout(0.5))
            contracting[-1].append(nn.Dropout(0.5))
        self.contracting = nn.ModuleList(contracting)
        self.max_pool = nn.MaxPool2d(2)
        self.up_convolution = nn.ModuleList(upsampling_layer(upsampling, 2 * c, c) for c in channels[:-1])
        self.expansive = nn.ModuleList(convolutions(joined_channels(skip, c), c) for c in channels[:-1])
        self.conv_1x1 = nn.Conv2d(width, num_classes, 1)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of every class at every pixel, (N, num_classes, H', W'), of images (N, in_channels, H, W).

        Level l has c = 2ˡ·width channels of h x w = H/2ˡ x W/2ˡ pixels, and a few pixels less if padding="valid".
        """
        self._check_input(x)
        copies = []
        for level in range(self.depth):
            x = self.contracting[level](x)                     # (N, c, h, w)        blue: 3x3 convolution, ReLU, twice
            copies.append(x)
            x = self.max_pool(x)                               # (N, c, h/2, w/2)    red: 2x2 max pooling
        x = self.contracting[self.depth](x)                    # (N, 2c, h/2, w/2)   blue, at the bottom
        for level in reversed(range(self.depth)):
            places = self._places(copies[level])
            x = self.up_convolution[level](x, pooling=places)  # (N, c, h, w)        green: 2x2 up-convolution
            both = copy_and_crop(copies[level], x, self.skip)  # 2 x (N, c, h, w)    grey: 2c channels side by side
            x = self.expansive[level](both)                    # (N, c, h, w)        blue
        return self.conv_1x1(x)                                # (N, num_classes, H, W)

    def _places(self, pooled: Tensor) -> list[Places]:
        """Where the max pooling of a level found its maxima, if the upsampling is to know."""
        return [max_places(pooled)] if self.upsampling == "max_unpool" else []

    # Which sizes fit --------------------------------------------------------------------------------------------------

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Size of the scores for an image of this size; ValueError, with the nearest legal sizes, if it does not fit.

        >>> UNet(2, in_channels=1, width=1, padding="valid", norm=None).output_size(572, 572)
        (388, 388)
        """
        (rows, out_height), (cols, out_width) = self._skips(height), self._skips(width)
        misfits = [f"the skip at level {level} copies {h}x{w} but what comes up from below is {h_below}x{w_below}"
                   for level, ((h, h_below), (w, w_below)) in enumerate(zip(rows, cols)) if h % 2 or w % 2]
        if min(out_height, out_width) < 1:
            misfits = ["its convolutions leave nothing of it"]
        if misfits:
            smaller, larger = zip(self._nearest(height), self._nearest(width))
            sizes = [f"{h}x{w}" for h, w in (smaller, larger) if h and w]
            raise ValueError(f"UNet: an image of {height}x{width} does not fit: {misfits[0]}; "
                             f"nearest legal sizes: {' and '.join(sizes)}")
        return out_height, out_width

    def legal_size(self, height: int, width: int) -> tuple[int, int]:
        """The smallest size that fits and is not smaller than height x width: to pad an image to.

        >>> UNet(2, width=1).legal_size(100, 128), UNet(2, width=1, padding="valid").legal_size(190, 1)
        ((112, 128), (204, 188))
        """
        return self._nearest(height)[1], self._nearest(width)[1]

    def _skips(self, n: int) -> tuple[list[tuple[int, int]], int]:
        """Along an axis of n pixels: (copied, coming up from below) at each level, and what is left at the end."""
        trimmed = 4 if self.padding == "valid" else 0                     # by two 3x3 convolutions
        copied, from_below = [], []
        for _ in range(self.depth):
            n -= trimmed
            copied.append(n)
            n //= 2
        n -= trimmed
        for _ in range(self.depth):
            n *= 2
            from_below.append(n)
            n -= trimmed
        return list(zip(copied, reversed(from_below))), n

    def _nearest(self, n: int) -> tuple[int | None, int]:
        """The largest legal size up to n, if there is one, and the smallest from n on."""
        def legal(n: int) -> bool:
            skips, output = self._skips(n)
            return output >= 1 and all(copied % 2 == 0 for copied, _ in skips)

        return next(filter(legal, range(n, 0, -1)), None), next(filter(legal, itertools.count(max(n, 1))))

    def _check_input(self, x: Tensor) -> None:
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise ValueError(f"UNet: input has shape {x.shape}; expected (N, {self.in_channels}, H, W)")
        self.output_size(*x.shape[2:])


def copy_and_crop(copy: Tensor, x: Tensor, skip: str = "concat") -> Tensor | tuple[Tensor, Tensor]:
    """The grey arrow: the middle of `copy`, as large as x, in front of the channels of x (or as `skip` says).

    A concatenation stays a pair: the convolution behind it reads the two as one, which is never written.
    """
    (height, width), (h, w) = copy.shape[2:], x.shape[2:]
    if (height, width) != (h, w):
        top, left = (height - h) // 2, (width - w) // 2
        copy = copy[:, :, top:top + h, left:left + w]
    return (copy, x) if skip == "concat" else join(skip, x, copy)
