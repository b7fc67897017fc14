"""cat and stack."""
from __future__ import annotations

from collections.abc import Sequence

from ..ops.shape import Cat, Stack
from ..tensor import Tensor, apply
from .checks import TensorLike, tensor


def cat(tensors: Sequence[TensorLike], dim: int = 0) -> Tensor:
    """Put tensors one after the other along an existing dimension: U-Net's skip connections, with dim=1.

    Raises ValueError where any other dimension differs.

    >>> import numpy as np
    >>> cat([np.ones((1, 2, 4, 4)), np.ones((1, 3, 4, 4))], dim=1).shape
    (1, 5, 4, 4)
    """
    xs = [tensor(x) for x in tensors]
    _check_dim("cat", xs, dim, extra=0)
    axis = dim % xs[0].ndim
    for x in xs:
        if x.ndim != xs[0].ndim or x.shape[:axis] + x.shape[axis + 1:] != xs[0].shape[:axis] + xs[0].shape[axis + 1:]:
            raise ValueError(f"cat: shapes {xs[0].shape} and {x.shape} differ in another dimension than {dim}; crop or pad one")
    return apply(Cat, *xs, dim=dim)


def stack(tensors: Sequence[TensorLike], dim: int = 0) -> Tensor:
    """Put tensors of one shape one after the other along a new dimension.

    >>> import numpy as np
    >>> stack([np.zeros(3), np.ones(3)]).shape
    (2, 3)
    """
    xs = [tensor(x) for x in tensors]
    _check_dim("stack", xs, dim, extra=1)
    for x in xs:
        if x.shape != xs[0].shape:
            raise ValueError(f"stack: shapes {xs[0].shape} and {x.shape} differ; stack takes tensors of one shape")
    return apply(Stack, *xs, dim=dim)


def _check_dim(name: str, xs: list[Tensor], dim: int, extra: int) -> None:
    if not xs:
        raise ValueError(f"{name}: no tensors given")
    ndim = xs[0].ndim + extra
    if not -ndim <= dim < ndim:
        raise ValueError(f"{name}: dim={dim} for tensors of shape {xs[0].shape}; expected {-ndim} to {ndim - 1}")
