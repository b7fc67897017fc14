"""What steppers take: planes of a size that a page can show, and settings that fit."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..op import Array
from ..sizes import IntPair, dilated, pair

LARGEST = 32             # rows and columns of a plane; more is not legible, and takes thousands of frames
LARGEST_MATRIX = 64


def plane(name: str, values: Any) -> Array:
    """The numbers as a float64 array (H, W).  ValueError, TypeError if they are not a small plane of finite numbers.

    >>> plane("input", [1, 2])
    array([[1., 2.]])
    """
    try:
        array = np.array(values, float, ndmin=2)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: expected rows of as many numbers each, such as [[0, 1], [2, 3]]") from None
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name}: has shape {array.shape}; expected one plane (H, W)")
    if max(array.shape) > LARGEST:
        raise ValueError(f"{name}: {array.shape[0]}x{array.shape[1]} is too large to step through; expected at most "
                         f"{LARGEST}x{LARGEST}, so cut out a part")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: holds numbers that are not finite; give others")
    return array


def settings(name: str, stride: IntPair, padding: IntPair, dilation: IntPair) -> dict[str, tuple[int, int]]:
    """Each setting as a pair (height, width)."""
    return {"stride": pair(f"{name}: stride", stride), "padding": pair(f"{name}: padding", padding, minimum=0),
            "dilation": pair(f"{name}: dilation", dilation)}


def kernel_fits(name: str, x: Array, kernel: tuple[int, int], padding: tuple[int, int],
                dilation: tuple[int, int]) -> None:
    """Refuse a kernel that exceeds the padded input, and an input that padding makes too large."""
    for axis, side in enumerate(("height", "width")):
        padded, extent = x.shape[axis] + 2 * padding[axis], dilated(kernel[axis], dilation[axis])
        if extent > padded:
            raise ValueError(f"{name}: kernel {side} {extent} (dilation included) exceeds the padded input's {padded}; "
                             f"enlarge the input or the padding")
        if padded > LARGEST:
            raise ValueError(f"{name}: the padded input's {side} is {padded}; expected at most {LARGEST}, so use less "
                             f"padding")


def canvas_fits(name: str, size: tuple[int, int]) -> None:
    """Refuse an output that has no pixels, or too many to show."""
    if min(size) < 1 or max(size) > LARGEST:
        raise ValueError(f"{name}: the output would be {size[0]}x{size[1]}; expected 1x1 to {LARGEST}x{LARGEST}, so "
                         f"change the padding, the stride or the input")


def matrix_fits(name: str, rows: int, columns: int) -> None:
    """Refuse a matrix that is too large to show."""
    if max(rows, columns) > LARGEST_MATRIX:
        raise ValueError(f"{name}: the matrix would be {rows}x{columns}; expected at most "
                         f"{LARGEST_MATRIX}x{LARGEST_MATRIX}, so give a smaller input or a larger stride")
