"""Layers with parameters: each keeps them and its settings, and calls the function of its name in `functional`.

Settings, state-dict names and shapes are those of torch.nn; sizes may be one integer or a pair (height, width).  Images
are (N, C, H, W).  The layers without parameters are in `plain.py`.
"""
from __future__ import annotations

import inspect
from typing import Any, Union

import numpy as np

from .. import functional as F
from ..sizes import IntPair, pair, same_padding
from ..tensor import Tensor
from . import init
from .module import Module, Parameter

Padding = Union[IntPair, str]
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class Layer(Module):
    """A module with no modules inside; its representation is the call that makes it, defaults left out."""

    def extra_repr(self) -> str:
        shown = []
        for name, parameter in inspect.signature(type(self)).parameters.items():
            value, default = getattr(self, name), parameter.default
            if default is True and value is None:
                value = False                                  # the layer was made with bias=False
            if default is parameter.empty:
                shown.append(repr(value))
            elif not isinstance(value, Tensor) and value not in (default, (default, default)):
                shown.append(f"{name}={value!r}")
        return ", ".join(shown)


class Conv2d(Layer):
    """Convolution of images with `out_channels` kernels; weight (out_channels, in_channels/groups, KH, KW).

    padding: an integer, a pair, "valid" (none) or "same" (the output is as large as the input; stride 1 only).
    padding_mode: what the padding holds: "zeros", "reflect", "replicate" or "circular".
    Weight and bias start uniform in ±1/√fan_in, as in PyTorch.
    The input may be a pair of images, whose channels stand side by side, as if `cat` had joined them.

    >>> conv = Conv2d(3, 16, 3, padding="same", bias=False)
    >>> conv, conv(Tensor(np.zeros((1, 3, 8, 8), np.float32))).shape
    (Conv2d(3, 16, (3, 3), padding='same', bias=False), (1, 16, 8, 8))
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: IntPair, stride: IntPair = 1,
                 padding: Padding = 0, dilation: IntPair = 1, groups: int = 1, bias: bool = True,
                 padding_mode: str = "zeros"):
        if padding_mode not in PADDING_MODES:
            raise ValueError(f"Conv2d: padding_mode={padding_mode!r}; expected one of {', '.join(PADDING_MODES)}")
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ValueError(f"Conv2d: padding={padding!r}; expected an integer, a pair, 'same' or 'valid'")
        _check_channels(self, in_channels, out_channels, groups)
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.padding_mode = padding_mode
        self.kernel_size, self.stride = pair("Conv2d: kernel_size", kernel_size), pair("Conv2d: stride", stride)
        self.padding = padding if isinstance(padding, str) else pair("Conv2d: padding", padding, minimum=0)
        self.dilation = pair("Conv2d: dilation", dilation)
        if padding == "same" and self.stride != (1, 1):
            raise ValueError(f"Conv2d: padding='same' needs stride 1, not {stride}; give the padding in pixels")
        kernel_shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight, self.bias = _weights(*kernel_shape, bias=out_channels * bias)

    def forward(self, input: Any) -> Tensor:
        x, *beside = input if isinstance(input, tuple) else (input,)
        if len(beside) > 1:
            raise ValueError(f"Conv2d: a tuple of {len(input)} images; expected one image or a pair; join others with cat")
        if self.padding_mode == "zeros":
            return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups, *beside)
        x, *beside = (F.pad(images, self._border(), mode=self.padding_mode) for images in (x, *beside))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups, *beside)

    def _border(self) -> tuple[int, int, int, int]:
        """Pixels (left, right, top, bottom) to pad with."""
        if self.padding == "same":
            vertical, horizontal = (same_padding(k, d) for k, d in zip(self.kernel_size, self.dilation))
            return (*horizontal, *vertical)
        height, width = (0, 0) if isinstance(self.padding, str) else self.padding
        return width, width, height, height


class ConvTranspose2d(Layer):
    """Transposed convolution: the layer that upsamples; weight (in_channels, out_channels/groups, KH, KW).

    Called with `output_size=(H, W)` it finds the output padding that leads there (one of `stride` sizes is possible).
    Weight and bias start as PyTorch's: uniform in ±1/√fan_in, where fan_in is counted on the weight's second axis.

    >>> ConvTranspose2d(8, 4, 2, stride=2)(Tensor(np.zeros((1, 8, 5, 5), np.float32))).shape
    (1, 4, 10, 10)
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: IntPair, stride: IntPair = 1,
                 padding: IntPair = 0, output_padding: IntPair = 0, groups: int = 1, bias: bool = True,
                 dilation: IntPair = 1):
        _check_channels(self, in_channels, out_channels, groups)
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = pair("ConvTranspose2d: kernel_size", kernel_size)
        self.stride = pair("ConvTranspose2d: stride", stride)
        self.dilation = pair("ConvTranspose2d: dilation", dilation)
        self.padding = pair("ConvTranspose2d: padding", padding, minimum=0)
        self.output_padding = pair("ConvTranspose2d: output_padding", output_padding, minimum=0)
        kernel_shape = (in_channels, out_channels // groups, *self.kernel_size)
        self.weight, self.bias = _weights(*kernel_shape, bias=out_channels * bias)

    def forward(self, input: Tensor, output_size: IntPair | None = None) -> Tensor:
        return F.conv_transpose2d(input, self.weight, self.bias, self.stride, self.padding, self.output_padding,
                                  self.groups, self.dilation, output_size)


class Linear(Layer):
    """y = x Wᵀ + b over the last axis; weight (out_features, in_features).  It starts as `Conv2d` does."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True):
        if in_features < 1 or out_features < 1:
            raise ValueError(f"Linear: {in_features} to {out_features} features; expected at least 1 of each")
        self.in_features, self.out_features = in_features, out_features
        self.weight, self.bias = _weights(out_features, in_features, bias=out_features * bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)


class BatchNorm2d(Layer):
    """Normalise each channel over the batch and the plane, then scale by `weight` and shift by `bias` (if affine).

    In evaluation mode the running mean and variance stand in for the batch's, if they are tracked: a call in training
    moves them by `momentum` towards the batch's mean and unbiased variance; momentum=None averages over all calls.
    A call may name the activation to apply in the same pass, as `chain` does.  Ioffe & Szegedy 2015.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
                 track_running_stats: bool = True):
        if num_features < 1:
            raise ValueError(f"BatchNorm2d: num_features={num_features}; expected at least 1")
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.weight, self.bias = _scale_and_shift(num_features, affine)
        self.running_mean: Tensor | None
        self.running_var: Tensor | None
        self.num_batches_tracked: Tensor | None
        tracked = track_running_stats
        self.register_buffer("running_mean", Tensor(np.zeros(num_features, np.float32)) if tracked else None)
        self.register_buffer("running_var", Tensor(np.ones(num_features, np.float32)) if tracked else None)
        self.register_buffer("num_batches_tracked", Tensor(np.array(0)) if tracked else None)

    def forward(self, input: Tensor, activation: str | None = None) -> Tensor:
        momentum, tracked = self.momentum, self.num_batches_tracked
        if momentum is None:
            momentum = 1 / (1 + tracked.item()) if tracked is not None else 0.0
        output = F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias,
                              self.training or self.running_mean is None, momentum, self.eps, activation)
        if self.training and tracked is not None:
            count = tracked.writable()
            count += 1
        return output


class GroupNorm(Layer):
    """Normalise each image by itself, over groups of channels and the plane, then scale and shift (if affine).

    It needs no running statistics, so it is the same in training and evaluation, and works on a batch of one.
    Wu & He 2018.
    """

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True):
        if num_groups < 1 or num_channels < 1 or num_channels % num_groups:
            raise ValueError(f"GroupNorm: {num_channels} channels cannot be divided into {num_groups} groups")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        self.weight, self.bias = _scale_and_shift(num_channels, affine)

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


def _weights(*shape: int, bias: int) -> tuple[Parameter, Parameter | None]:
    """PyTorch's initial weight and bias (of that many elements): both uniform in ±1/√fan_in."""
    weight = init.kaiming_uniform_(Parameter(np.empty(shape, np.float32)), a=5**0.5)
    bound = init.fans(weight)[0]**-0.5
    return weight, init.uniform_(Parameter(np.empty(bias, np.float32)), -bound, bound) if bias else None


def _check_channels(layer: Layer, in_channels: int, out_channels: int, groups: int) -> None:
    name = type(layer).__name__
    if min(in_channels, out_channels, groups) < 1:
        raise ValueError(f"{name}: {in_channels} to {out_channels} channels in {groups} groups; expected at least 1 "
                         f"of each")
    if in_channels % groups or out_channels % groups:
        raise ValueError(f"{name}: {in_channels} to {out_channels} channels cannot be divided into {groups} groups")


def _scale_and_shift(channels: int, affine: bool) -> tuple[Parameter | None, Parameter | None]:
    if not affine:
        return None, None
    return Parameter(np.ones(channels, np.float32)), Parameter(np.zeros(channels, np.float32))
