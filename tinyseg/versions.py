"""Noticing that an array has changed between the forward and the backward pass.

NumPy keeps no version counter.  But nobody can have written to an array that was never handed out, and the engine counts
its own writes; so only arrays that were handed out (`Tensor.data`) and that a graph relies on cost a checksum.
"""
from __future__ import annotations

import zlib
from collections.abc import Iterable

import numpy as np

from .kernels import checksum as kernel
from .kernels.simd import COMPILED

LARGE = 1 << 16      # bytes


def checksum(array: np.ndarray) -> int:
    """Of the array's values in row-major order: CRC-32, or for large arrays a kernel's, which is five times as fast.

    >>> checksum(np.zeros(3)) == checksum(np.zeros((3, 1))), checksum(np.zeros(3)) == checksum(np.ones(3))
    (True, False)
    """
    values = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    if COMPILED and values.size >= LARGE and values.size % 8 == 0:
        return int(kernel.checksum(values.view(np.uint64)))
    return zlib.crc32(values.data)


def share_memory(array: np.ndarray, others: Iterable[np.ndarray]) -> bool:
    """May the array have memory in common with one of the others?  Two that own theirs have not, which is known at once.

    >>> x = np.zeros(3)
    >>> share_memory(x, [np.zeros(3)]), share_memory(x[:1], [np.zeros(3), x[::-1]])
    (False, True)
    """
    for other in others:
        if array is other or (array.base is not None or other.base is not None) and np.may_share_memory(array, other):
            return True
    return False


class Memory:
    """The array behind a tensor and behind all views of it.

    `handed_out` says that somebody outside the engine holds the array; `writes` counts what the engine itself wrote.
    """

    __slots__ = ("array", "handed_out", "writes", "relied_on", "checksum")

    def __init__(self, array: np.ndarray, handed_out: bool):
        self.array = array
        self.handed_out = handed_out
        self.writes = 0
        self.relied_on = False
        self.checksum = 0      # of the moment it was handed out, if a graph relied on it by then

    def hand_out(self) -> None:
        """From now on anybody may write to the array."""
        if not self.handed_out:
            self.handed_out = True
            self.checksum = checksum(self.array) if self.relied_on else 0

    def stamp(self) -> tuple[int, int | None]:
        """Remember the state that a graph relies on."""
        self.relied_on = True
        return self.writes, checksum(self.array) if self.handed_out else None

    def changed_since(self, stamp: tuple[int, int | None]) -> bool:
        """Has the array changed since `stamp` was taken?"""
        writes, before = stamp
        if writes != self.writes:
            return True
        return self.handed_out and checksum(self.array) != (self.checksum if before is None else before)
