"""Batch normalisation: one pass for the mean, one for the variance, one to write.  One task owns one channel.

Sums run in the array's own precision over one image row block and in float64 across images.
"""
from __future__ import annotations

import numpy as np
from numba import njit, prange

SUM = {"contract", "reassoc"}     # sums in any order, so that they vectorise; the order is the compiler's, always the same


@njit(cache=True, fastmath=SUM)
def total(a):
    """Σ_q a[q]"""
    result = a.dtype.type(0)
    for q in range(a.size):
        result += a[q]
    return np.float64(result)


@njit(cache=True, fastmath=SUM)
def squared_deviation(a, mean):
    """Σ_q (a[q] - mean)²"""
    result = a.dtype.type(0)
    for q in range(a.size):
        result += (a[q] - mean) * (a[q] - mean)
    return np.float64(result)


@njit(cache=True, fastmath=SUM)
def product_sum(a, b, mean):
    """Σ_q a[q] (b[q] - mean)"""
    result = a.dtype.type(0)
    for q in range(a.size):
        result += a[q] * (b[q] - mean)
    return np.float64(result)


@njit(cache=True, parallel=True, nogil=True)
def channel_statistics(mean, var, x):
    """mean[c] = Σ_nq x[n, c, q] / M;  var[c] = Σ_nq (x[n, c, q] - mean[c])² / M, with M = N·Q values a channel."""
    batch, channels, size = x.shape
    count = max(1, batch * size)                 # an empty batch has mean and variance 0
    for c in prange(channels):
        s = 0.0
        for n in range(batch):
            s += total(x[n, c])
        mean[c] = s / count
        s = 0.0
        for n in range(batch):
            s += squared_deviation(x[n, c], mean[c])
        var[c] = s / count


@njit(cache=True, parallel=True, nogil=True)
def scale_and_shift(y, x, scale, shift):
    """y[n, c, q] = scale[c] x[n, c, q] + shift[c]."""
    for c in prange(x.shape[1]):
        a, b = scale[c], shift[c]
        for n in range(x.shape[0]):
            for q in range(x.shape[2]):
                y[n, c, q] = a * x[n, c, q] + b


@njit(cache=True, parallel=True, nogil=True)
def channel_sums(dy_sum, dy_x_sum, dy, x, mean):
    """dy_sum[c] = Σ_nq dy[n, c, q];  dy_x_sum[c] = Σ_nq dy[n, c, q] (x[n, c, q] - mean[c])."""
    for c in prange(x.shape[1]):
        s, t = 0.0, 0.0
        for n in range(x.shape[0]):
            s += total(dy[n, c])
            t += product_sum(dy[n, c], x[n, c], mean[c])
        dy_sum[c], dy_x_sum[c] = s, t


@njit(cache=True, parallel=True, nogil=True)
def combine(dx, dy, x, dy_scale, x_scale, shift):
    """dx[n, c, q] = dy_scale[c] dy[n, c, q] + x_scale[c] x[n, c, q] + shift[c]."""
    for c in prange(x.shape[1]):
        a, b, d = dy_scale[c], x_scale[c], shift[c]
        for n in range(x.shape[0]):
            for q in range(x.shape[2]):
                dx[n, c, q] = a * dy[n, c, q] + b * x[n, c, q] + d
