"""Initial weights.  Each function fills a tensor in place and returns it; the names are PyTorch's.

>>> from tinyseg import Tensor, manual_seed
>>> manual_seed(0)
>>> kernel = kaiming_normal_(Tensor(np.empty((64, 32, 3, 3), np.float32)))
>>> f"{kernel.numpy().std():.3f} = √(2 / (32·9))"
'0.083 = √(2 / (32·9))'
"""
from __future__ import annotations

import math
from typing import TypeVar

import numpy as np

from ..op import Array
from ..rng import generator
from ..tensor import Tensor

T = TypeVar("T", bound=Tensor)


def fans(tensor: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out): how many numbers meet in one output, and come from one input, of a (out, in, …) kernel.

    A transposed convolution's kernel is (in, out, KH, KW), so the two are exchanged for it, as in PyTorch.
    """
    if tensor.ndim < 2:
        raise ValueError(f"init: a tensor of shape {tensor.shape} has no fan-in; give a kernel (out, in, …), "
                         f"and use zeros_ for a bias")
    taps = math.prod(tensor.shape[2:])
    return tensor.shape[1] * taps, tensor.shape[0] * taps


def constant_(tensor: T, value: float) -> T:
    """Every element is `value`."""
    return _fill(tensor, np.float64(value))


def zeros_(tensor: T) -> T:
    """Every element is 0."""
    return constant_(tensor, 0.0)


def ones_(tensor: T) -> T:
    """Every element is 1."""
    return constant_(tensor, 1.0)


def uniform_(tensor: T, low: float = 0.0, high: float = 1.0) -> T:
    """Uniform in [low, high)."""
    return _fill(tensor, generator().uniform(low, high, tensor.shape))


def normal_(tensor: T, mean: float = 0.0, std: float = 1.0) -> T:
    """Normal with this mean and standard deviation."""
    return _fill(tensor, generator().normal(mean, std, tensor.shape))


def kaiming_normal_(tensor: T, a: float = 0.0, mode: str = "fan_in") -> T:
    """Normal with variance 2 / ((1 + a²) fan): He et al. 2015, "Delving deep into rectifiers", equations 10 and 15.

    It keeps the variance of values (mode "fan_in") or gradients ("fan_out") from layer to layer, where a leaky ReLU
    of negative slope a follows each; a = 0 is the ReLU.
    """
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode))


def kaiming_uniform_(tensor: T, a: float = 0.0, mode: str = "fan_in") -> T:
    """Uniform with the mean 0 and the variance of `kaiming_normal_`."""
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode)
    return uniform_(tensor, -bound, bound)


def xavier_uniform_(tensor: T, gain: float = 1.0) -> T:
    """Uniform with variance 2 gain² / (fan_in + fan_out): Glorot & Bengio 2010, equation 16."""
    bound = gain * math.sqrt(6.0 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound)


def bilinear_(tensor: T) -> T:
    """The kernel with which a transposed convolution interpolates bilinearly, each channel by itself.

    tensor: (C, C, K, K), or (C, 1, K, K) for groups=C.  Along one axis the kernel is 1 - |i - c| / f, with
    f = ⌊(K + 1) / 2⌋ and c = (K - 1) / 2, the middle: FCN's `upsample_filt` (Long et al. 2015, section 3.3).

    >>> bilinear_(Tensor(np.empty((1, 1, 3, 3), np.float32))).numpy()[0, 0].tolist()
    [[0.25, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 0.25]]
    """
    inputs, outputs, height, width = tensor.shape if tensor.ndim == 4 else (0, 0, 0, 0)
    if height != width or height == 0 or outputs not in (1, inputs):
        raise ValueError(f"bilinear_: a kernel of shape {tensor.shape}; expected (C, C, K, K), or (C, 1, K, K) "
                         f"for groups=C")
    axis = 1 - abs(np.arange(width) - (width - 1) / 2) / ((width + 1) // 2)
    channels = np.eye(inputs) if outputs == inputs else np.ones((inputs, 1))
    return _fill(tensor, channels[:, :, None, None] * np.outer(axis, axis))


def _kaiming_std(tensor: Tensor, a: float, mode: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"init: mode={mode!r}; expected 'fan_in' or 'fan_out'")
    fan = fans(tensor)[mode == "fan_out"]
    if fan == 0:
        raise ValueError(f"init: a kernel of shape {tensor.shape} has no {mode}; every size must be at least 1")
    return math.sqrt(2.0 / ((1 + a**2) * fan))


def _fill(tensor: T, values: Array | np.float64) -> T:
    tensor.writable()[...] = values
    return tensor
