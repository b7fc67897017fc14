"""Upsampling, all the ways of it, and skips: what every decoder lets one choose by an argument.

An upsampling layer is called as layer(x, output_size, pooling): (N, C, h, w) -> (N, C', s·h, s·w), s its stride, or
what of that `output_size` leaves, counted from the top left.  pooling: for "max_unpool" alone, see `MaxUnpooling`.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import nn
from ..functional import bed_of_nails, cat, max_pool2d
from ..nn.layers import Layer
from ..tensor import Tensor
from .blocks import he_initialise

UPSAMPLING = ("nearest", "bed_of_nails", "max_unpool", "bilinear", "transposed", "transposed_bilinear", "sub_pixel")
SKIPS = ("none", "sum", "concat")
Size = tuple[int, ...]                       # (H, W)
Places = tuple[Tensor, Size]                 # where a max pooling found its maxima, and the size of what it pooled


def upsampling_layer(method: str, in_channels: int, out_channels: int, stride: int = 2, kernel_size: int | None = None,
                     padding: int | None = None, bias: bool = True, pooled: Sequence[int] = ()) -> nn.Module:
    """The layer for one of UPSAMPLING.

    "nearest", "bilinear", "bed_of_nails": a rule, nothing to learn.  Where the channels change, a 1x1 convolution maps
        them first.
    "max_unpool": every value goes back to where max pooling found it; also behind a 1x1 convolution (`MaxUnpooling`).
    "transposed": transposed convolution, with a kernel as large as the stride (no two overlap: no checkerboard).
    "transposed_bilinear": the same, with a kernel of twice the stride that starts as bilinear interpolation.
    "sub_pixel": a 3x3 convolution to stride² as many channels, which are then laid out as pixels (Shi et al. 2016).

    kernel_size, padding: of the transposed convolution, if not those that make s·h of h pixels.
    bias: of the convolution, whichever.  pooled: for "max_unpool", the channels of what was pooled, the last pooling
    first; one pooling of out_channels if empty.  ValueError for an unknown method.

    >>> for method in UPSAMPLING:
    ...     print(f"{method:20}", sum(p.size for p in upsampling_layer(method, 8, 8).parameters()))
    nearest              0
    bed_of_nails         0
    max_unpool           0
    bilinear             0
    transposed           264
    transposed_bilinear  1032
    sub_pixel            2336
    """
    check_choice("upsampling", method, UPSAMPLING)
    if method == "max_unpool":
        return MaxUnpooling(in_channels, out_channels, pooled or [out_channels], bias)
    if method not in ("transposed", "transposed_bilinear"):
        return Upsampling(method, in_channels, out_channels, stride, bias)
    bilinear = method == "transposed_bilinear"
    kernel_size = kernel_size or (2 * stride - stride % 2 if bilinear else stride)
    padding = (kernel_size - stride) // 2 if padding is None else padding
    return ConvTransposeUpsampling(in_channels, out_channels, kernel_size, stride, padding, bias, bilinear)


class Upsampling(nn.Module):
    """A rule ("nearest", "bilinear", "bed_of_nails", "sub_pixel") behind a convolution that makes the channels.

    >>> Upsampling("sub_pixel", 8, 3, stride=2)(Tensor(np.zeros((1, 8, 4, 5), np.float32)), output_size=(7, 10)).shape
    (1, 3, 7, 10)
    """

    def __init__(self, method: str, in_channels: int, out_channels: int, stride: int = 2, bias: bool = True):
        self.method, self.in_channels, self.out_channels, self.stride = method, in_channels, out_channels, stride
        if method == "sub_pixel":
            self.conv: nn.Module = nn.Conv2d(in_channels, out_channels * stride**2, 3, padding=1, bias=bias)
        else:
            self.conv = conv_1x1(in_channels, out_channels, bias)
        self.enlarge = _rule(method, stride)

    def forward(self, x: Tensor, output_size: Size | None = None, pooling: Sequence[Places] = ()) -> Tensor:
        x = self.conv(x)               # (N, out_channels, h, w), for "sub_pixel" (N, s²·out_channels, h, w)
        x = self.enlarge(x)            # (N, out_channels, s·h, s·w)
        return _top_left(x, output_size)


class BedOfNails(Layer):
    """Each pixel in the top left of a block of zeros, scale_factor on a side."""

    def __init__(self, scale_factor: int):
        self.scale_factor = scale_factor

    def forward(self, input: Tensor) -> Tensor:
        return bed_of_nails(input, self.scale_factor)


class MaxUnpooling(nn.Module):
    """Undoes 2x2 max poolings, the last one first: every value goes back to where the maximum was found, all else is 0.

    pooled: the channels of what each of them pooled.  Indices are of one channel each, so where the channels of x are
    others, a 1x1 convolution maps them first; another one, at the end, to out_channels.
    The output has the size of what was pooled.  ValueError if `pooling` does not hold the places of as many poolings.

    >>> x = Tensor(np.array([[[[1.0, 5.0], [7.0, 3.0]]]]))
    >>> MaxUnpooling(1, 1, pooled=[1])(Tensor(np.array([[[[9.0]]]])), pooling=[max_places(x)]).numpy()[0, 0]
    array([[0., 0.],
           [9., 0.]])
    """

    def __init__(self, in_channels: int, out_channels: int, pooled: Sequence[int], bias: bool = True):
        self.in_channels, self.out_channels, self.pooled = in_channels, out_channels, list(pooled)
        self.conv = nn.ModuleList(conv_1x1(a, b, bias) for a, b in zip([in_channels, *pooled], [*pooled, out_channels]))
        self.unpool = nn.ModuleList(nn.MaxUnpool2d(2) for _ in pooled)

    def forward(self, x: Tensor, output_size: Size | None = None, pooling: Sequence[Places] = ()) -> Tensor:
        if len(pooling) != len(self.pooled):
            raise ValueError(f"max_unpool: {len(pooling)} max poolings given to undo, expected {len(self.pooled)}; "
                             f"an encoder without 2x2 max poolings needs another upsampling")
        *convs, last = self.conv
        for conv, unpool, (indices, size) in zip(convs, self.unpool, pooling):
            x = unpool(conv(x), indices, size)
        return _top_left(last(x), output_size)


class ConvTransposeUpsampling(nn.ConvTranspose2d):
    """Transposed convolution; if `bilinear`, `initialise` makes it interpolate, each channel by itself.

    Where there are more channels than come out, output channel c gets the sum of those that are c modulo out_channels.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: int = 0,
                 bias: bool = True, bilinear: bool = False):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, bias=bias)
        self.bilinear = bilinear
        if bilinear:
            self.interpolate()

    def forward(self, input: Tensor, output_size: Any = None, pooling: Sequence[Places] = ()) -> Tensor:
        return _top_left(super().forward(input), output_size)

    def interpolate(self) -> None:
        """Make the weights those of bilinear interpolation, and the bias 0."""
        kernel = nn.init.bilinear_(Tensor(np.empty((1, 1, *self.kernel_size), self.weight.dtype))).numpy()
        same = np.arange(self.in_channels)[:, None] % self.out_channels == np.arange(self.out_channels)
        self.weight.writable()[...] = same[:, :, None, None] * kernel
        if self.bias is not None:
            nn.init.zeros_(self.bias)


def initialise(model: nn.Module) -> None:
    """`he_initialise` for all layers but the transposed convolutions that start as bilinear interpolation."""
    he_initialise(model)
    for layer in model.modules():
        if isinstance(layer, ConvTransposeUpsampling) and layer.bilinear:
            layer.interpolate()


def max_places(x: Tensor) -> Places:
    """Where 2x2 max pooling finds the maxima of x, ceil_mode included, and the size of x: for `MaxUnpooling`."""
    return max_pool2d(x, 2, ceil_mode=True, return_indices=True)[1], x.shape[2:]


def join(skip: str, x: Tensor, copy: Tensor | None) -> Tensor:
    """A skip: what comes up from below and what the encoder's level made, as one of SKIPS.

    x, copy: (N, C, H, W).  Returns x for "none", x + copy for "sum", (N, 2C, H, W) for "concat", the copy in front.
    ValueError if their sizes differ, or to be summed their channels.
    """
    if copy is None or skip == "none":
        return x
    if x.shape[2:] != copy.shape[2:] or (skip == "sum" and x.shape != copy.shape):
        raise ValueError(f"skip={skip!r}: the copy is {copy.shape} but what comes up from below is {x.shape}; "
                         f"crop or pad one, or use skip='none'")
    return x + copy if skip == "sum" else cat([copy, x], dim=1)


def joined_channels(skip: str, channels: int) -> int:
    """How many channels `join` makes of twice so many."""
    return 2 * channels if skip == "concat" else channels


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """ValueError that lists the choices, if `value` is none of them."""
    if value not in choices:
        raise ValueError(f"{name}={value!r}; expected one of {', '.join(map(repr, choices))}")


def conv_1x1(in_channels: int, out_channels: int, bias: bool = True) -> nn.Module:
    """A 1x1 convolution, or nothing where the channels are the same."""
    return nn.Identity() if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1, bias=bias)


def _rule(method: str, stride: int) -> nn.Module:
    if method == "sub_pixel":
        return nn.PixelShuffle(stride)
    return BedOfNails(stride) if method == "bed_of_nails" else nn.Upsample(scale_factor=stride, mode=method)


def _top_left(x: Tensor, size: Size | None) -> Tensor:
    """The top left of x; x itself if it has that size, or none is asked for."""
    if size is None or tuple(size) == x.shape[2:]:
        return x
    if size[0] > x.shape[2] or size[1] > x.shape[3]:
        raise ValueError(f"upsampling: output_size={tuple(size)} is larger than what comes out, {x.shape[2:]}; pool "
                         f"with ceil_mode on the way down")
    return x[:, :, :size[0], :size[1]]
