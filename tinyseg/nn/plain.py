"""Layers without parameters: functions of `functional` with their settings, for Sequential, hooks and `summary`."""
from __future__ import annotations

import math
from typing import Any, Union

from .. import functional as F
from ..sizes import IntPair, pair
from ..tensor import Tensor
from .layers import Layer

Scale = Union[float, tuple[float, float], None]


# Activations ----------------------------------------------------------------------------------------------------------

class ReLU(Layer):
    """max(x, 0)."""

    def forward(self, input: Tensor) -> Tensor:
        return F.relu(input)


class ReLU6(Layer):
    """min(max(x, 0), 6)."""

    def forward(self, input: Tensor) -> Tensor:
        return F.relu6(input)


class LeakyReLU(Layer):
    """x where x > 0, else negative_slope · x."""

    def __init__(self, negative_slope: float = 0.01):
        self.negative_slope = negative_slope

    def forward(self, input: Tensor) -> Tensor:
        return F.leaky_relu(input, self.negative_slope)


class Sigmoid(Layer):
    """1 / (1 + e⁻ˣ)."""

    def forward(self, input: Tensor) -> Tensor:
        return F.sigmoid(input)


class Tanh(Layer):
    """tanh x."""

    def forward(self, input: Tensor) -> Tensor:
        return F.tanh(input)


class Softmax(Layer):
    """Probabilities over dimension `dim`: 1 for the classes of an image."""

    def __init__(self, dim: int):
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        return F.softmax(input, self.dim)


# Pooling and resizing -------------------------------------------------------------------------------------------------

class MaxPool2d(Layer):
    """Largest value of each window; stride None is the window's size.

    With return_indices it returns (maxima, their places in the plane), the second for `MaxUnpool2d`.

    >>> MaxPool2d(2)(Tensor([[[[1.0, 2.0], [3.0, 4.0]]]])).item()
    4.0
    """

    def __init__(self, kernel_size: IntPair, stride: IntPair | None = None, padding: IntPair = 0, dilation: IntPair = 1,
                 return_indices: bool = False, ceil_mode: bool = False):
        self.kernel_size, self.stride, self.padding = _window(self, kernel_size, stride, padding)
        self.dilation = pair("MaxPool2d: dilation", dilation)
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, input: Tensor) -> Any:
        return F.max_pool2d(input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode,
                            self.return_indices)


class MaxUnpool2d(Layer):
    """Put each value back to the place of the maximum that it came from, zeros elsewhere (SegNet's upsampling).

    forward(input, indices, output_size): the size of what was pooled, for sizes that the stride does not divide.
    """

    def __init__(self, kernel_size: IntPair, stride: IntPair | None = None, padding: IntPair = 0):
        self.kernel_size, self.stride, self.padding = _window(self, kernel_size, stride, padding)

    def forward(self, input: Tensor, indices: Tensor, output_size: IntPair | None = None) -> Tensor:
        return F.max_unpool2d(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class AvgPool2d(Layer):
    """Mean of each window; stride None is the window's size.

    The padding's zeros count in the mean unless count_include_pad is False; divisor_override replaces the count.
    """

    def __init__(self, kernel_size: IntPair, stride: IntPair | None = None, padding: IntPair = 0,
                 ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None):
        self.kernel_size, self.stride, self.padding = _window(self, kernel_size, stride, padding)
        self.ceil_mode, self.count_include_pad, self.divisor_override = ceil_mode, count_include_pad, divisor_override

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool2d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad,
                            self.divisor_override)


class AdaptiveAvgPool2d(Layer):
    """Means of as many (possibly overlapping) windows as the output has pixels; 1 is global average pooling."""

    def __init__(self, output_size: IntPair):
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(input, self.output_size)


class Upsample(Layer):
    """Interpolate to `size`, or by `scale_factor`; mode "nearest", "nearest-exact" or "bilinear".

    >>> Upsample(scale_factor=2)(Tensor([[[[1.0, 2.0]]]])).numpy().tolist()
    [[[[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]]]]
    """

    def __init__(self, size: IntPair | None = None, scale_factor: Scale = None, mode: str = "nearest",
                 align_corners: bool | None = None):
        if (size is None) == (scale_factor is None):
            raise ValueError(f"Upsample: size={size}, scale_factor={scale_factor}; give one of the two")
        self.size, self.scale_factor, self.mode, self.align_corners = size, scale_factor, mode, align_corners

    def forward(self, input: Tensor) -> Tensor:
        return F.interpolate(input, self.size, self.scale_factor, self.mode, self.align_corners)


class PixelShuffle(Layer):
    """Lay r² channels side by side as r x r pixels of one: after a convolution, sub-pixel upsampling (Shi et al. 2016).

    >>> import numpy as np
    >>> PixelShuffle(2)(Tensor(np.zeros((1, 12, 5, 6), np.float32))).shape
    (1, 3, 10, 12)
    """

    def __init__(self, upscale_factor: int):
        self.upscale_factor = upscale_factor

    def forward(self, input: Tensor) -> Tensor:
        return F.pixel_shuffle(input, self.upscale_factor)


def _window(layer: Layer, kernel_size: IntPair, stride: IntPair | None,
            padding: IntPair) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """The settings as pairs, checked; without a stride, windows lie side by side."""
    name = type(layer).__name__
    return (pair(f"{name}: kernel_size", kernel_size),
            pair(f"{name}: stride", kernel_size if stride is None else stride),
            pair(f"{name}: padding", padding, minimum=0))


# The rest -------------------------------------------------------------------------------------------------------------

class Dropout(Layer):
    """In training, each element is 0 with probability p, and the others grow by 1 / (1 - p); else the identity."""

    def __init__(self, p: float = 0.5):
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: p={p}; expected a probability, 0 to 1")
        self.p = p

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(input, self.p, self.training)


class Dropout2d(Dropout):
    """As Dropout, for whole channels of an image."""

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout2d(input, self.p, self.training)


class Flatten(Layer):
    """Make one dimension of the dimensions start_dim to end_dim: (N, C, H, W) -> (N, C·H·W)."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        start, end = self.start_dim % input.ndim, self.end_dim % input.ndim + 1
        return input.reshape(*input.shape[:start], math.prod(input.shape[start:end]), *input.shape[end:])


class Identity(Layer):
    """The input itself."""

    def forward(self, input: Any) -> Any:
        return input


class CrossEntropyLoss(Layer):
    """Cross-entropy of (N, C, H, W) scores and (N, H, W) labels; label 255 ("void") does not count.

    weight: (C,) one factor for each class, a buffer.  The other settings are those of `functional.cross_entropy`.
    """

    def __init__(self, weight: Any = None, ignore_index: int = 255, reduction: str = "mean",
                 label_smoothing: float = 0.0):
        self.weight: Tensor | None
        self.register_buffer("weight", None if weight is None else Tensor(weight))
        self.ignore_index, self.reduction, self.label_smoothing = ignore_index, reduction, label_smoothing

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.cross_entropy(input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing)
