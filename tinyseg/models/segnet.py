"""SegNet: Badrinarayanan, Kendall & Cipolla, "SegNet: A deep convolutional encoder-decoder architecture for image
segmentation", PAMI 2017.

To be read beside the paper's figure 2.  What travels from encoder to decoder is where each maximum was, for which two
bits a window would do, instead of the feature maps themselves.
"""
from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import nn
from ..tensor import Tensor
from .blocks import ConvNormReLU
from .upsampling import SKIPS, UPSAMPLING, Places, check_choice, initialise, join, joined_channels, upsampling_layer

LAYERS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))      # VGG-16's stages: channels and convolutions of each


class SegNet(nn.Module):
    """VGG-16's 13 convolutions, and the same number back; max-unpooling with the encoder's pooling indices.

    SegNet(11) is the paper's.  Its decoder mirrors the encoder: each stage begins by undoing a pooling, and its last
    convolution hands down as many channels as the next finer stage has; the very last one makes the class scores.

    num_classes, in_channels: channels of the output scores and of the input image.
    width: channels of the first stage, 64 in the paper; all others go with it.
    norm: "batch", "group", or None.
    upsampling: one of UPSAMPLING; "max_unpool" is the paper's.
    skip: one of SKIPS; "none" is the paper's.

    Any size will do, and the scores have it too: poolings keep a partial last window (ceil_mode), and what comes up is
    cut to the size of what was pooled.  ValueError for impossible arguments and inputs.

    >>> import numpy as np
    >>> SegNet(num_classes=11, width=2)(Tensor(np.zeros((1, 3, 45, 60), np.float32))).shape
    (1, 11, 45, 60)
    """

    def __init__(self, num_classes: int, in_channels: int = 3, width: int = 64, norm: str | None = "batch",
                 upsampling: str = "max_unpool", skip: str = "none"):
        if min(num_classes, in_channels, width) < 1:
            raise ValueError(f"SegNet: num_classes={num_classes}, in_channels={in_channels}, width={width}; "
                             f"expected at least 1 of each")
        check_choice("SegNet: upsampling", upsampling, UPSAMPLING)
        check_choice("SegNet: skip", skip, SKIPS)
        self.num_classes, self.in_channels, self.width, self.norm = num_classes, in_channels, width, norm
        self.upsampling, self.skip = upsampling, skip
        stages = [(c * width // 64, count) for c, count in LAYERS]
        inputs = [in_channels, *(c for c, _ in stages)]
        ends = [[], *([c] for c, _ in stages)]

        def convolutions(*channels: int) -> nn.Sequential:
            return nn.Sequential(*(ConvNormReLU(a, b, norm=norm) for a, b in zip(channels, channels[1:])))

        self.encoder = nn.ModuleList(convolutions(a, *[c] * count) for a, (c, count) in zip(inputs, stages))
        self.max_pool = nn.MaxPool2d(2, return_indices=True, ceil_mode=True)
        self.upsample = nn.ModuleList(upsampling_layer(upsampling, c, c) for c, _ in stages)
        self.decoder = nn.ModuleList(convolutions(joined_channels(skip, c), *[c] * (count - 1), *end)
                                     for end, (c, count) in zip(ends, stages))
        self.score = nn.Conv2d(width, num_classes, 3, padding=1)      # the decoder's last convolution: only scores
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of every class at every pixel, (N, num_classes, H, W), of images (N, in_channels, H, W).

        A stage has c channels of h x w pixels, pooled h2 x w2, half as many, rounded up.  It hands b channels up to the
        stage that is finer by one.
        """
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise ValueError(f"SegNet: input has shape {x.shape}; expected (N, {self.in_channels}, H, W)")
        copies: list[Tensor | None] = []
        places: list[Places] = []
        for stage in range(5):
            x = self.encoder[stage](x)                                # (N, c, h, w)
            copies.append(None if self.skip == "none" else x)         # SegNet keeps no feature maps, only places
            x = self._pool(x, places)                                 # (N, c, h2, w2)
        for stage in reversed(range(5)):
            size = places[stage][1]
            x = self.upsample[stage](x, size, [places[stage]])        # (N, c, h, w)
            x = join(self.skip, x, copies[stage])                     # (N, c, h, w)
            x = self.decoder[stage](x)                                # (N, b, h, w)
        return self.score(x)                                          # (N, num_classes, H, W)

    def _pool(self, x: Tensor, places: list[Places]) -> Tensor:
        """Max pooling that adds to `places` where the maxima were, and in an image of which size."""
        maxima, indices = self.max_pool(x)
        places.append((indices, x.shape[2:]))
        return maxima

    def load_encoder(self, state: Mapping[str, Any]) -> None:
        """Take over the 13 convolutions of a VGG-16, and its batch normalisation if there is any.

        state: the state dict of `VGG(depth=16)` or torchvision's vgg16 or vgg16_bn, of the same width.  A bias in front
        of a normalisation has no effect but on its running mean, so it is subtracted there, or left out.
        ValueError if these are not 13 convolutions of the right shapes, or they need batch normalisation and norm is
        not "batch".
        """
        kernels = sorted(int(name.split(".")[1]) for name, value in state.items()
                         if re.fullmatch(r"features\.\d+\.weight", name) and np.ndim(value) == 4)
        blocks = [path for path, module in self.encoder.named_modules() if isinstance(module, ConvNormReLU)]
        if len(kernels) != len(blocks):
            raise ValueError(f"SegNet: load_encoder: {len(kernels)} convolutions named features.N.weight, expected the "
                             f"{len(blocks)} of VGG-16")
        own = {}
        for path, n in zip(blocks, kernels):
            weight, bias = (np.asarray(state[f"features.{n}.{name}"]) for name in ("weight", "bias"))
            own[f"{path}.conv.weight"], own[f"{path}.conv.bias"] = weight, bias
            names = ("weight", "bias", "running_mean", "running_var")
            norm = {name: np.asarray(state[f"features.{n + 1}.{name}"]) for name in names
                    if f"features.{n + 1}.{name}" in state}
            if norm and self.norm != "batch":
                raise ValueError(f"SegNet: load_encoder: these weights need batch normalisation, but "
                                 f"norm={self.norm!r}; use norm='batch', or the weights of a VGG-16 without it")
            if norm:
                norm["running_mean"] = norm["running_mean"] - bias
            own |= {f"{path}.norm.{name}": value for name, value in norm.items()}
        self.encoder.load_state_dict(own, strict=False)
