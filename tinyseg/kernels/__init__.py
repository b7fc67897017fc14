"""Numba kernels on plain arrays: no Tensor, no graph.

Rules of this floor: every output cell has one owner, so that the result has the same bits at any number of threads; a kernel
and the `inner` functions that it alone calls stand in one file; the docstring is the index formula; kernels let go of Python's
lock (nogil), so that images are decoded while they run.  `kernel.py_func` is the plain Python body, to step through with a
debugger.
"""
from __future__ import annotations

import math

import numpy as np


def dense(array: np.ndarray) -> np.ndarray:
    """The array as kernels want it: C-contiguous, aligned, writable; a copy only where it is not so already.

    Numba would compile every kernel anew for each other kind.
    """
    return array if array.flags.carray else np.require(array, requirements=["C", "A", "W"])


def planes(array: np.ndarray) -> np.ndarray:
    """(N, C, H, W) -> (N·C, H, W), also where N is 0."""
    return array.reshape(array.shape[0] * array.shape[1], *array.shape[2:])


def positions(array: np.ndarray) -> np.ndarray:
    """(N, C, …) -> (N, C, Q), also where N is 0."""
    return array.reshape(*array.shape[:2], math.prod(array.shape[2:]))
