"""Resampling a plane along both axes.  One task owns one plane (n, c).

An axis is given as (first, second, fraction): output i lies at the part `fraction[i]` of the way from input first[i] to
input second[i].
"""
from __future__ import annotations

from numba import njit, prange


@njit(cache=True, parallel=True, nogil=True)
def bilinear(y, x, top, bottom, down, left, right, across):
    """y[n, i, j] = (1-b)·((1-a)·x[n, t, l] + a·x[n, t, r]) + b·((1-a)·x[n, u, l] + a·x[n, u, r]),  b = down, a = across."""
    for n in prange(y.shape[0]):
        for i in range(y.shape[1]):
            upper, lower, b = x[n, top[i]], x[n, bottom[i]], down[i]
            for j in range(y.shape[2]):
                l, r, a = left[j], right[j], across[j]
                y[n, i, j] = (1 - b) * ((1 - a) * upper[l] + a * upper[r]) + b * ((1 - a) * lower[l] + a * lower[r])


@njit(cache=True, parallel=True, nogil=True)
def bilinear_grad(dx, dy, top, bottom, down, left, right, across):
    """The transpose: every output pixel gives its gradient to the four that it came from, by the same weights."""
    for n in prange(dy.shape[0]):
        dx[n] = 0
        for i in range(dy.shape[1]):
            upper, lower, b = dx[n, top[i]], dx[n, bottom[i]], down[i]
            for j in range(dy.shape[2]):
                l, r, a = left[j], right[j], across[j]
                upper[l] += (1 - b) * (1 - a) * dy[n, i, j]
                upper[r] += (1 - b) * a * dy[n, i, j]
                lower[l] += b * (1 - a) * dy[n, i, j]
                lower[r] += b * a * dy[n, i, j]


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
