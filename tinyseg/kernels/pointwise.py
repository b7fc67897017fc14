"""Rectifiers and sums, on flat arrays.  NaN stays NaN."""
from __future__ import annotations

from numba import njit, prange


@njit(cache=True, parallel=True, nogil=True)
def add_to(total, x):
    """total[i] += x[i]"""
    for i in prange(x.size):
        total[i] += x[i]


@njit(cache=True, parallel=True, nogil=True)
def relu(y, x):
    """y[i] = max(x[i], 0)"""
    zero = x.dtype.type(0)
    for i in prange(x.size):
        y[i] = zero if x[i] < zero else x[i]


@njit(cache=True, parallel=True, nogil=True)
def relu_grad(dx, dy, y):
    """dx[i] = dy[i] where y[i] > 0, else 0"""
    zero = dy.dtype.type(0)
    for i in prange(dx.size):
        dx[i] = dy[i] if y[i] > 0 else zero


@njit(cache=True, parallel=True, nogil=True)
def clip(y, x, low, high):
    """y[i] = min(max(x[i], low), high)"""
    for i in prange(x.size):
        y[i] = low if x[i] < low else high if x[i] > high else x[i]


@njit(cache=True, parallel=True, nogil=True)
def clip_grad(dx, dy, y, low, high):
    """dx[i] = dy[i] where low < y[i] < high, else 0"""
    zero = dy.dtype.type(0)
    for i in prange(dx.size):
        dx[i] = dy[i] if low < y[i] < high else zero
