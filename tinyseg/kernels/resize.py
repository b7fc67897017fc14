"""Resampling a plane along both axes, across and down.  One task owns one plane (n, c).

An axis is given as (first, second, fraction): output i lies at the part `fraction[i]` of the way from input first[i] to
input second[i].
"""
from __future__ import annotations

import numpy as np
from numba import njit, prange


@njit(cache=True, parallel=True, nogil=True)
def bilinear(y, x, top, bottom, down, left, right, across):
    """y[n, i, j] = (1-b)·row(top[i]) + b·row(bottom[i]),  row(h) = (1-a)·x[n, h, left[j]] + a·x[n, h, right[j]]

    b = down[i], a = across[j].  The two rows stay until others are needed; bottom[i] is top[i] or the next.
    """
    one = x.dtype.type(1)
    for n in prange(y.shape[0]):
        rows, held = np.empty((2, y.shape[2]), x.dtype), np.full(2, -1)
        for i in range(y.shape[1]):
            for h in (top[i], bottom[i]):
                if held[h % 2] != h:
                    held[h % 2] = h
                    for j in range(y.shape[2]):
                        rows[h % 2, j] = (one - across[j]) * x[n, h, left[j]] + across[j] * x[n, h, right[j]]
            upper, lower, b = rows[top[i] % 2], rows[bottom[i] % 2], down[i]
            for j in range(y.shape[2]):
                y[n, i, j] = (one - b) * upper[j] + b * lower[j]


@njit(cache=True, parallel=True, nogil=True)
def bilinear_grad(dx, dy, top, bottom, down, left, right, across):
    """The transpose: every output pixel gives its gradient to the four that it came from, by the same weights."""
    one = dy.dtype.type(1)
    for n in prange(dy.shape[0]):
        row = np.empty(dx.shape[2], dx.dtype)
        dx[n] = 0
        for i in range(dy.shape[1]):
            upper, lower, b = dx[n, top[i]], dx[n, bottom[i]], down[i]
            row[:] = 0
            for j in range(dy.shape[2]):
                row[left[j]] += (one - across[j]) * dy[n, i, j]
                row[right[j]] += across[j] * dy[n, i, j]
            for w in range(row.size):
                upper[w] += (one - b) * row[w]
                lower[w] += b * row[w]


@njit(cache=True, parallel=True, nogil=True)
def nearest(y, x, rows, cols):
    """y[n, i, j] = x[n, rows[i], cols[j]]."""
    for n in prange(y.shape[0]):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                y[n, i, j] = x[n, rows[i], cols[j]]


@njit(cache=True, parallel=True, nogil=True)
def nearest_grad(dx, dy, rows, cols):
    """dx[n, rows[i], cols[j]] += dy[n, i, j]."""
    for n in prange(dy.shape[0]):
        dx[n] = 0
        for i in range(dy.shape[1]):
            for j in range(dy.shape[2]):
                dx[n, rows[i], cols[j]] += dy[n, i, j]
