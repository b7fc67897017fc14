"""Large arrays, out of memory that is used again.

A training step needs the same arrays as the step before.  Yet NumPy gives each of them back to the C library, and that gives
large blocks back to the system.  Then every page of a new array has to be found and cleared, in every step.  So what ops and
kernels make comes from here:

    y = buffers.empty((8, 16, 128, 128), np.float32)          # as np.empty

The block of memory behind an array is lent.  It comes back when the array and all its views are gone: views hold on to the
array, of whose death we are told.
"""
from __future__ import annotations

import bisect
import ctypes
import math
import threading
import weakref
from collections import deque

import numpy as np

SMALL = 1 << 17              # bytes; smaller blocks never leave the C library
LINE = 64                    # bytes of a cache line, at which every array begins
SPARE = 1.75                 # all blocks, lent and idle, may be this many times as large as the most that was ever lent at once


class Loan(weakref.ref):
    """A reference to an array, and the block of memory behind it."""

    __slots__ = ("block",)
    block: ctypes.Array
    __hash__ = object.__hash__                           # each is one of its own


class Pool:
    """Blocks of memory that are lent and come back.

    >>> pool = Pool()
    >>> first = pool.lend((1000,), np.uint8, 1000)
    >>> address = first.ctypes.data
    >>> del first
    >>> pool.lend((300, 3), np.uint8, 900).ctypes.data == address
    True
    """

    def __init__(self) -> None:
        self.lock, self.lent, self.most = threading.Lock(), 0, 0
        self.loans: set[Loan] = set()                    # of arrays that live: a reference that is gone itself tells nobody
        self.returned: deque[ctypes.Array] = deque()     # blocks of those that do not, until the next one
        self.idle: list[ctypes.Array] = []               # by size, and of one size the last to come back first

    def lend(self, shape: tuple[int, ...], dtype: np.typing.DTypeLike, size: int) -> np.ndarray:
        """An array of `size` bytes."""
        with self.lock:
            self.collect()
            i = bisect.bisect_left(self.idle, size, key=len)
            fits = i < len(self.idle) and len(self.idle[i]) <= 2 * size
            block = self.idle.pop(i) if fits else self.new(size)
            array = np.ndarray(shape, dtype, memoryview(block))          # the first of its kind: what all views hold on to
            self.lent += len(block)
            self.most = max(self.most, self.lent)
        loan = Loan(array, self.end)
        loan.block = block
        self.loans.add(loan)
        return array

    def end(self, loan: Loan) -> None:
        """The array is gone.  This may happen at any moment, even under the lock."""
        self.loans.remove(loan)
        self.returned.append(loan.block)

    def collect(self) -> None:
        """Take in what has come back."""
        while self.returned:
            block = self.returned.popleft()
            bisect.insort_left(self.idle, block, key=len)
            self.lent -= len(block)

    def new(self, size: int) -> ctypes.Array:
        """A block that did not exist before, in place of idle ones if there are too many, the largest first."""
        while self.idle and self.lent + size + sum(map(len, self.idle)) > SPARE * max(self.most, self.lent + size):
            self.idle.pop()
        memory = np.empty(size + LINE, np.uint8)
        return (ctypes.c_uint8 * size).from_buffer(memory.data, -memory.ctypes.data % LINE)


POOL = Pool()


def empty(shape: tuple[int, ...], dtype: np.typing.DTypeLike) -> np.ndarray:
    """An array of any values, as np.empty makes it."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return np.empty(shape, dtype) if size < SMALL else POOL.lend(shape, dtype, size)


def empty_like(array: np.ndarray) -> np.ndarray:
    """An array of any values with the shape and dtype of another one, row by row."""
    return empty(array.shape, array.dtype)
