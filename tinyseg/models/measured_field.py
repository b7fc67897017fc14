"""Where an output pixel looks, asked of the gradient: measured, with nothing to cancel it, and effective, as it is.

Much less of the image matters than can be seen: the gradient's mass falls off like a Gaussian around the middle of the
receptive field, and so does its part of the field with growing depth (Luo et al. 2016, "Understanding the effective
receptive field in deep convolutional neural networks").
"""
from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .. import nn
from ..op import Array
from ..tensor import Tensor
from .receptive_field import Box


class EffectiveField(NamedTuple):
    """Where in the image the gradient of one output pixel lies: heat (H, W), which sums to 1."""

    heat: Array

    @property
    def centre(self) -> tuple[float, float]:
        """Row and column of the middle of the mass."""
        rows, columns = np.indices(self.heat.shape)
        return float((self.heat * rows).sum()), float((self.heat * columns).sum())

    @property
    def deviation(self) -> tuple[float, float]:
        """Standard deviation of the mass along rows and columns, in pixels."""
        rows, columns = ((self.heat * (place - middle) ** 2).sum() ** 0.5
                         for place, middle in zip(np.indices(self.heat.shape), self.centre))
        return float(rows), float(columns)

    def area(self, share: float = 0.95) -> int:
        """How many pixels, the strongest first, hold this share of the mass."""
        return int(np.searchsorted(np.cumsum(np.sort(self.heat, axis=None)[::-1]), share) + 1)


def measured_receptive_field(model: nn.Module, input_shape: Sequence[int], pixel: tuple[int, int] | None = None,
                             samples: int = 12) -> tuple[Box, Array]:
    """Which pixels of an image (N, C, H, W) get a gradient from one output pixel: bounding box, and (H, W) bool.

    pixel: row and column in the output, if not the middle.  A copy of the model has positive weights and sees positive
    images, so that no gradient is lost in a ReLU or a sum.  Max pooling hands it to one pixel of the window alone: four
    images that rise towards one corner each show how far the box reaches, `samples` random ones fill it.
    ValueError if no pixel gets any.

    >>> box, mask = measured_receptive_field(nn.Conv2d(3, 8, 3, dilation=2), (1, 3, 16, 16), pixel=(4, 4))
    >>> box, int(mask.sum())
    (Box(top=4.0, left=4.0, height=5.0, width=5.0), 9)
    """
    twin, (_, channels, height, width) = _frozen_copy(model), input_shape
    for name, tensor in [*twin.named_parameters(), *twin.named_buffers()]:
        tensor.writable()[...] = 0 if name.endswith(("bias", "mean")) else 1 / math.prod(tensor.shape[1:])
    rows, columns = np.indices((height, width))
    ramps = [1 + i * rows / height + j * columns / width for i in (-0.4, 0.4) for j in (-0.4, 0.4)]
    noise = np.random.default_rng(0).uniform(0.1, 1, (samples, height, width))
    images = np.repeat(np.concatenate([ramps, noise])[:, None], channels, axis=1)
    mask: Array = (_gradient(twin, images, pixel) != 0).any(axis=(0, 1))
    if not mask.any():
        raise ValueError(f"measured_receptive_field: no pixel of an image {tuple(input_shape)} has a gradient from "
                         f"output pixel {pixel or 'in the middle'}")
    rows, columns = np.nonzero(mask)
    top, left = rows.min(), columns.min()
    return Box(float(top), float(left), float(rows.max() - top + 1), float(columns.max() - left + 1)), mask


def effective_receptive_field(model: nn.Module, input_shape: Sequence[int], pixel: tuple[int, int] | None = None,
                              samples: int = 16, rng: np.random.Generator | None = None) -> EffectiveField:
    """The mean |gradient| of one output pixel with respect to every pixel of an image (N, C, H, W) of random numbers.

    pixel: as in `measured_receptive_field`.  The model's own weights count, in evaluation mode, and of its output
    channels a random sum.  Luo et al. 2016, section 3.  ValueError if there is no gradient at all.

    >>> deep = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1) for _ in range(16)))      # sees 33 x 33 pixels
    >>> effective_receptive_field(deep, (1, 1, 65, 65)).area(0.95) < 33 ** 2 / 2
    True
    """
    rng = rng or np.random.default_rng(0)
    _, channels, height, width = input_shape
    twin, heat = _frozen_copy(model), np.zeros((height, width))
    for _ in range(samples):
        image = rng.standard_normal((1, channels, height, width))
        heat += abs(_gradient(twin, image, pixel, rng)).sum(axis=(0, 1))
    if not heat.any():
        raise ValueError("effective_receptive_field: the gradient is 0 everywhere; are all units behind a ReLU dead?")
    return EffectiveField(heat / heat.sum())


def _frozen_copy(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode and float64, whose parameters collect no gradient."""
    return copy.deepcopy(model).eval().double().requires_grad_(False)


def _gradient(model: nn.Module, images: Array, pixel: tuple[int, int] | None,
              upstream: np.random.Generator | None = None) -> Array:
    """Gradient of one output pixel with respect to the images, of its channels' sum, or of a random sum of them."""
    x = Tensor(images, requires_grad=True)
    y = model(x)
    if y.ndim != 4:
        raise ValueError(f"receptive field: the model's output has shape {y.shape}; expected (N, C, H, W)")
    i, j = pixel or (y.shape[2] // 2, y.shape[3] // 2)
    if not (0 <= i < y.shape[2] and 0 <= j < y.shape[3]):
        raise ValueError(f"receptive field: pixel {pixel} is not one of the output's {y.shape[2]}x{y.shape[3]}")
    dy = np.zeros(y.shape)
    dy[:, :, i, j] = upstream.standard_normal(y.shape[1]) if upstream else 1
    y.backward(dy)
    assert x.grad is not None
    return x.grad
