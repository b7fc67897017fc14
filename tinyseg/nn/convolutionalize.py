"""From a classifier of windows to scores of a whole image: fully connected layers become convolutions.

A fully connected layer sums over all that the window before it holds.  So does a convolution whose kernel is as large
as that window, and a convolution takes inputs of any size (Sermanet et al. 2014, "OverFeat", section 3.5; Long et al.
2015, section 3.1).  Where the classifier has strides, so has its image of scores.  To have scores at every pixel, leave
the strides out and let all that follows skip as many pixels: dilation, the "hole algorithm" (algorithme à trous), which
Long et al. 2015 call filter rarefaction (section 3.2).
"""
from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..graph import no_grad
from ..sizes import pair
from ..tensor import Tensor
from .containers import Sequential
from .layers import BatchNorm2d, Conv2d, Linear
from .module import Module, Parameter
from .plain import (AdaptiveAvgPool2d, AvgPool2d, Dropout, Flatten, Identity, LeakyReLU, MaxPool2d, ReLU, ReLU6,
                    Sigmoid, Softmax, Tanh)

POINTWISE = (BatchNorm2d, Dropout, Identity, LeakyReLU, ReLU, ReLU6, Sigmoid, Softmax, Tanh)   # each pixel by itself
PLANAR = (AdaptiveAvgPool2d, AvgPool2d, Conv2d, MaxPool2d)
Steps = tuple[int, int]


def convolutionalize(model: Module, input_shape: Sequence[int], dense: bool = False) -> Sequential:
    """The fully convolutional network that gives a classifier's scores for all windows of an image at once.

    model: an nn.Sequential (of layers or of such) that makes class scores (N, K) of windows (N, *input_shape), of
    convolutions, pooling, global average pooling, nn.Flatten, fully connected layers and what works on single values.
    input_shape: (C, h, w) of the windows that it was made for.
    dense: False keeps the classifier's strides, S in all: of an image (N, C, H, W) come the scores of every S-th
    window, (N, K, ⌊(H - h) / S⌋ + 1, ⌊(W - w) / S⌋ + 1).  True turns strides into dilation: of every window,
    (N, K, H - h + 1, W - w + 1).  At (i, j) stand the scores of the window with its top left corner in (S·i, S·j).
    (Where strides leave over pixels at the end of a window, no layer looks at them: h and w do not count those.)

    The result has copies of the weights, reshaped: (O, C·h·w) of a fully connected layer to (O, C, h, w).
    Zeros that a convolution pads stand around every window, but only once around an image: a padding classifier's
    scores of windows are the result's only where the image is one window.  So dense=True refuses it.
    In training mode batch norm looks at other pixels too; compare in evaluation mode.
    ValueError names the layer that cannot be converted, and why.

    >>> from tinyseg import nn
    >>> classifier = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2),
    ...                            nn.Flatten(), nn.Linear(8 * 7 * 7, 10))
    >>> convolutionalize(classifier, (3, 16, 16), dense=True)
    Sequential(
      (0): Conv2d(3, 8, (3, 3))
      (1): ReLU()
      (2): MaxPool2d((2, 2), stride=(1, 1))
      (3): Conv2d(8, 10, (7, 7), dilation=(2, 2))
    )
    >>> image = Tensor(np.zeros((1, 3, 64, 48), np.float32))
    >>> [convolutionalize(classifier, (3, 16, 16), dense)(image).shape for dense in (False, True)]
    [(1, 10, 25, 17), (1, 10, 49, 33)]
    """
    return Sequential(*map(_with_own_weights, convolutional_view(model, input_shape, dense)))


def convolutional_view(model: Module, input_shape: Sequence[int], dense: bool = False) -> Sequential:
    """As `convolutionalize`, but the layers hold the model's own weights: gradients of the result go to the model.

    It is made for one forward pass.  Hooks of the model's layers, and their modes, are those of the result's.
    """
    if len(input_shape) != 3:
        raise ValueError(f"convolutionalize: input_shape={tuple(input_shape)}; expected (channels, height, width)")
    window = _Window(input_shape, dense, next((p.dtype for p in model.parameters()), np.dtype(np.float32)))
    layers = []
    for path, layer in _chain(model):
        try:
            layers.append(window.through(layer))
        except ValueError as error:
            raise ValueError(f"convolutionalize: layer {path}, {layer!r}: {error}") from error
    if window.size != (1, 1):
        raise ValueError(f"convolutionalize: a window of {tuple(input_shape)} leaves the model as {window.shape}, but "
                         f"a classifier makes one score for each class; end in nn.Flatten() and nn.Linear")
    return Sequential(*filter(None, layers))


def _chain(model: Module, prefix: str = "") -> Iterator[tuple[str, Module]]:
    """The layers, with their paths, in the order of their calls."""
    if type(model).forward is not Sequential.forward:
        raise ValueError(f"convolutionalize: {prefix.rstrip('.') or 'the model'} is a {type(model).__name__}, whose "
                         f"layers may be called in any order; give an nn.Sequential of them, such as "
                         f"nn.Sequential(model.features, nn.Flatten(), model.classifier)")
    for name, layer in model.named_children():
        if any(layer.children()):
            yield from _chain(layer, f"{prefix}{name}.")
        else:
            yield prefix + name, layer


class _Window:
    """What the layers so far have made of a window: `channels` maps of size `size`, by strides of product `stride`."""

    def __init__(self, input_shape: Sequence[int], dense: bool, dtype: np.dtype):
        self.channels, *size = input_shape
        self.size, self.stride, self.flat = pair("input_shape", size), (1, 1), False
        self.dense, self.dtype = dense, dtype

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, *self.size

    def through(self, layer: Any) -> Module | None:
        """Go through a layer; returns the one that does the same to an image.  ValueError if there is none."""
        if isinstance(layer, Flatten):
            if (layer.start_dim, layer.end_dim) != (1, -1):
                raise ValueError("only nn.Flatten() makes (N, C·h·w) of (N, C, h, w)")
            self.flat = True
            return None
        if isinstance(layer, Linear):
            return self.fully_connected(layer)
        if isinstance(layer, Softmax) and layer.dim != 1:
            raise ValueError("the classes of an image are dimension 1; make it nn.Softmax(1)")
        if isinstance(layer, POINTWISE):
            return copy.copy(layer)
        if not isinstance(layer, PLANAR):
            raise ValueError("does not slide; use convolutions, pooling, Flatten, Linear and pointwise layers")
        if self.flat:
            raise ValueError("works on a plane, but stands behind Flatten")
        return self.global_mean(layer) if isinstance(layer, AdaptiveAvgPool2d) else self.strided(layer)

    def fully_connected(self, linear: Linear) -> Conv2d:
        """It becomes a convolution whose kernel is as large as the map."""
        if not self.flat:
            raise ValueError("works on the last axis; put nn.Flatten() in front of it")
        if linear.in_features != math.prod(self.shape):
            raise ValueError(f"the window comes here as {self.shape}, which are {math.prod(self.shape)} features")
        weight = linear.weight.reshape(linear.out_features, *self.shape)          # (O, C·h·w) -> (O, C, h, w)
        if weight.node is None:                           # reshaped within no_grad
            weight.requires_grad = linear.weight.requires_grad
        conv = self.convolution(weight, linear.bias, training=linear.training, _hooks=linear._hooks)
        self.channels, self.size = linear.out_features, (1, 1)
        return conv

    def global_mean(self, layer: AdaptiveAvgPool2d) -> Module | None:
        """It becomes the mean of a window as large as the map."""
        size = pair("output_size", layer.output_size)
        if size == self.size:
            return None
        if size != (1, 1):
            raise ValueError(f"only the mean of the whole map can slide, not {size} means of {self.size} pixels")
        mean = self.mean(self.size)
        self.size = (1, 1)
        return mean

    def strided(self, layer: Any) -> Module:
        """A convolution or pooling stays as it is; if dense it has stride 1, and dilation for the strides before it."""
        if getattr(layer, "return_indices", False):
            raise ValueError("its indices count through a window, not through an image")
        same = copy.copy(layer)
        if self.dense:
            if _sees_the_border(layer):
                raise ValueError("pads, so its scores depend on where a window ends; use padding=0, or dense=False")
            if isinstance(layer, AvgPool2d):
                same = self.mean(layer.kernel_size, layer.divisor_override)
            else:
                same.stride, same.dilation = (1, 1), _times(layer.dilation, self.stride)
        with no_grad():                                   # a batch of no images tells the size
            _, self.channels, *size = layer.forward(Tensor(np.zeros((0, *self.shape), self.dtype))).shape
        self.size = pair("size", size)
        self.stride = _times(self.stride, layer.stride)
        return same

    def mean(self, kernel_size: Steps, divisor: int | None = None) -> Module:
        """Average pooling at stride 1; if it is dilated, as a convolution of each channel with equal weights."""
        if not self.dense or self.stride == (1, 1):
            return AvgPool2d(kernel_size, stride=1, divisor_override=divisor)
        value = 1 / (divisor or math.prod(kernel_size))
        return self.convolution(Tensor(np.full((self.channels, 1, *kernel_size), value, self.dtype)), None)

    def convolution(self, weight: Tensor, bias: Tensor | None, **attributes: Any) -> Conv2d:
        """A layer with the given weights, and none drawn for it."""
        conv = Conv2d.__new__(Conv2d)
        vars(conv).update(
            in_channels=self.channels, out_channels=weight.shape[0], kernel_size=weight.shape[2:], stride=(1, 1),
            padding=(0, 0), dilation=self.stride if self.dense else (1, 1), groups=self.channels // weight.shape[1],
            padding_mode="zeros", weight=weight, bias=bias, **attributes)
        return conv


def _times(a: Steps, b: Steps) -> Steps:
    return a[0] * b[0], a[1] * b[1]


def _sees_the_border(layer: Any) -> bool:
    if layer.padding == "same":
        return max(layer.kernel_size) > 1
    return (layer.padding != "valid" and any(layer.padding)) or getattr(layer, "ceil_mode", False)


def _with_own_weights(layer: Module) -> Module:
    """The layer itself, its hooks gone and its tensors copied."""
    layer._hooks = ()
    for name, value in list(vars(layer).items()):
        if isinstance(value, Tensor):
            buffer = name in layer._buffers
            setattr(layer, name, Tensor(value.numpy().copy()) if buffer else Parameter(value, value.requires_grad))
    return layer
