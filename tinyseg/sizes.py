"""Every output-size relation, with its number in Dumoulin & Visin, "A guide to convolution arithmetic for deep learning".

Letters as there: i input size, k kernel size, s stride, p padding, o output size; d is the dilation.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Union

IntPair = Union[int, Sequence[int]]


def pair(name: str, value: IntPair, minimum: int = 1) -> tuple[int, int]:
    """One number for both axes, or one for each: (height, width).

    >>> pair("stride", 2), pair("kernel_size", (3, 5))
    ((2, 2), (3, 5))
    """
    if isinstance(value, str) or (isinstance(value, Sequence) and len(value) != 2):
        raise ValueError(f"{name}={value!r}: expected an integer or a pair (height, width)")
    values = (value, value) if not isinstance(value, Sequence) else tuple(value)
    for v in values:
        if int(v) != v:
            raise ValueError(f"{name}={value!r}: expected integers")
        if v < minimum:
            raise ValueError(f"{name}={value!r}: expected at least {minimum}")
    return int(values[0]), int(values[1])


def dilated(k: int, d: int) -> int:
    """Extent of a dilated kernel, k + (k - 1)(d - 1).  Relationship 15.

    >>> dilated(3, 1), dilated(3, 2)
    (3, 5)
    """
    return k + (k - 1) * (d - 1)


def conv_output(i: int, k: int, s: int = 1, p: int = 0, d: int = 1) -> int:
    """⌊(i + 2p - k̂) / s⌋ + 1 with k̂ the dilated kernel.  Relationships 6 (convolution) and 15 (dilation).

    >>> conv_output(5, 3), conv_output(5, 3, s=2, p=1), conv_output(5, 3, d=2)
    (3, 3, 1)
    """
    return (i + 2 * p - dilated(k, d)) // s + 1


def conv_transpose_output(i: int, k: int, s: int = 1, p: int = 0, d: int = 1, output_padding: int = 0) -> int:
    """s(i - 1) + k̂ - 2p + a, where a of the s sizes that a convolution would map to i is meant.  Relationship 14.

    >>> conv_transpose_output(4, 3, s=2), conv_transpose_output(4, 3, s=2, p=1)
    (9, 7)
    """
    return s * (i - 1) + dilated(k, d) - 2 * p + output_padding


def pool_output(i: int, k: int, s: int, p: int = 0, d: int = 1, ceil_mode: bool = False) -> int:
    """As a convolution; with ceil_mode the last, partial window counts too, unless it would start in the padding.

    >>> pool_output(5, 2, 2), pool_output(5, 2, 2, ceil_mode=True), pool_output(3, 2, 2, p=1, ceil_mode=True)
    (2, 3, 2)
    """
    if not ceil_mode:
        return conv_output(i, k, s, p, d)
    o = -((dilated(k, d) - i - 2 * p) // s) + 1
    return o - 1 if (o - 1) * s >= i + p else o


def same_padding(k: int, d: int = 1) -> tuple[int, int]:
    """Zeros (before, after) that keep the size at stride 1: k̂ - 1 in all, the odd one after, as PyTorch.

    >>> same_padding(3), same_padding(4), same_padding(3, d=2)
    ((1, 1), (1, 2), (2, 2))
    """
    total = dilated(k, d) - 1
    return total // 2, total - total // 2
