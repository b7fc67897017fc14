"""batch_norm and group_norm."""
from __future__ import annotations

import numpy as np

from ..op import Array
from ..ops.norm import BatchNorm, GroupNorm
from ..tensor import Tensor, apply
from .checks import TensorLike, require_float, require_shape, tensor

BOUNDS: dict[str | None, tuple[float, float]] = {None: (-np.inf, np.inf), "relu": (0.0, np.inf), "relu6": (0.0, 6.0)}


def batch_norm(input: TensorLike, running_mean: Tensor | None, running_var: Tensor | None, weight: TensorLike | None = None,
               bias: TensorLike | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
               activation: str | None = None) -> Tensor:
    """Normalise each channel to mean 0 and variance 1, then scale and shift it: γ (x - μ) / √(σ² + ε) + β.

    input (N, C, …); all others (C,).  In training μ and σ² are the batch's (σ² divided by the number of values M), and the
    running statistics, if given, move towards them by `momentum` (there σ² divided by M - 1); else they are the running ones.
    activation: "relu" or "relu6" to apply it to the result, in the same pass over memory.
    Ioffe & Szegedy 2015.  Raises ValueError for a single value a channel in training, and where shapes do not fit.

    >>> x = np.array([[[[1., 3.]]]])
    >>> batch_norm(x, None, None, training=True, eps=0).numpy()
    array([[[[-1.,  1.]]]])
    """
    x, w, b = _arguments("batch_norm", input, weight, bias)
    for label, running in (("running_mean", running_mean), ("running_var", running_var)):
        require_shape("batch_norm", label, running, (x.shape[1],))
    if activation not in BOUNDS:
        raise ValueError(f'batch_norm: activation={activation!r}; expected "relu", "relu6" or None')
    low, high = BOUNDS[activation]
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm: evaluation needs running_mean and running_var; pass training=True to use the batch's")
        return apply(BatchNorm, x, w, b, running_mean.detach(), running_var.detach(), eps=eps, low=low, high=high)[0]
    count = x.size // x.shape[1]
    if count == 1:
        raise ValueError(f"batch_norm: one value a channel (input {x.shape}) has no variance; train with a larger batch or "
                         f"image, or use group_norm")
    y, mean, var = apply(BatchNorm, x, w, b, eps=eps, low=low, high=high)
    if count and running_mean is not None and running_var is not None:
        _move(running_mean, mean._array, momentum)
        _move(running_var, var._array * (count / (count - 1)), momentum)
    return y


def group_norm(input: TensorLike, num_groups: int, weight: TensorLike | None = None, bias: TensorLike | None = None,
               eps: float = 1e-5) -> Tensor:
    """Normalise each group of channels of each image; works at any batch size, in training as in evaluation.

    input (N, C, …) with C divisible by num_groups; weight and bias (C,).  Wu & He 2018.
    """
    x, w, b = _arguments("group_norm", input, weight, bias)
    if num_groups < 1 or x.shape[1] % num_groups:
        raise ValueError(f"group_norm: num_groups={num_groups} does not divide the input's {x.shape[1]} channels")
    return apply(GroupNorm, x, w, b, num_groups=num_groups, eps=eps)


def _arguments(name: str, input: TensorLike, weight: TensorLike | None, bias: TensorLike | None) -> list[Tensor]:
    x = tensor(input)
    if x.ndim < 2 or x.shape[1] == 0:
        raise ValueError(f"{name}: input has shape {x.shape}; expected (N, C, …)")
    channels = x.shape[1:2]
    w = tensor(np.ones(channels, x.dtype) if weight is None else weight)
    b = tensor(np.zeros(channels, x.dtype) if bias is None else bias)
    require_float(name, input=x, weight=w, bias=b)
    require_shape(name, "weight", w, channels)
    require_shape(name, "bias", b, channels)
    return [x, w, b]


def _move(running: Tensor, new: Array, momentum: float) -> None:
    array = running.writable()
    array += momentum * (new - array)
