"""What the public functions have in common: arguments become tensors, and misfits get a message that names the fix."""
from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, Union

import numpy as np

from ..op import Array
from ..tensor import Tensor

TensorLike = Union[Tensor, Array]
Function = TypeVar("Function", bound=Callable[..., Any])


def tensor(value: Any) -> Tensor:
    """The value itself if it is a tensor, else a tensor that shares its memory."""
    return value if isinstance(value, Tensor) else Tensor(value)


def on_images(function: Function) -> Function:
    """Let a function of images (N, C, H, W) take one image (C, H, W) too, and refuse every other rank and dtype."""

    @functools.wraps(function)
    def accepting_one(input: TensorLike, *args: Any, **kwargs: Any) -> Any:
        x = tensor(input)
        if x.ndim not in (3, 4):
            raise ValueError(f"{function.__name__}: input has shape {x.shape}; expected (N, C, H, W), or (C, H, W) for one "
                             f"image")
        require_float(function.__name__, input=x)
        if 0 in x.shape[-3:]:
            raise ValueError(f"{function.__name__}: input {x.shape} has no pixels; only the batch may be empty")
        if x.ndim == 4:
            return function(x, *args, **kwargs)
        out = function(x[None], *args, **kwargs)
        return tuple(part[0] for part in out) if isinstance(out, tuple) else out[0]

    return accepting_one  # type: ignore[return-value]


def require_float(name: str, **tensors: Tensor | None) -> None:
    """Refuse integers, and float32 beside float64 (kernels compute in one precision)."""
    for label, t in tensors.items():
        if t is not None and t._array.dtype.kind != "f":
            raise TypeError(f"{name}: {label} is {t.dtype}, expected float32 or float64; convert it with "
                            f".astype(np.float32)")
    if len({t._array.dtype for t in tensors.values() if t is not None}) > 1:
        given = ", ".join(f"{label} is {t.dtype}" for label, t in tensors.items() if t is not None)
        raise TypeError(f"{name}: {given}; convert them to one dtype")


def require_shape(name: str, label: str, value: Tensor | None, shape: tuple[int, ...]) -> None:
    """Refuse an argument of another shape; None passes."""
    if value is not None and value.shape != shape:
        raise ValueError(f"{name}: {label} has shape {value.shape}, expected {shape}")


def require_labels(name: str, target: Tensor, num_classes: int, ignore_index: int) -> None:
    """Refuse labels outside 0 … num_classes - 1 other than the void."""
    if target.dtype.kind not in "iu":
        raise TypeError(f"{name}: target is {target.dtype}, expected integer labels; give one class index a pixel, e.g. "
                        f"mask.astype(np.uint8)")
    labels = target._array
    if labels.size and labels.min() >= 0 and labels.max() < num_classes:
        return
    wrong = (labels != ignore_index) & ((labels < 0) | (labels >= num_classes))
    if wrong.any():
        values = np.unique(labels[wrong])
        raise ValueError(f"{name}: target has label {', '.join(map(str, values[:5]))}{' …' * (len(values) > 5)} in "
                         f"{wrong.sum()} pixels, but the input has {num_classes} classes (0 … {num_classes - 1}; "
                         f"{ignore_index} is void)")
