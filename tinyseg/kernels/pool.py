"""Pooling over windows.  One task owns one plane (n, c), so overlapping windows are added by one thread."""
from __future__ import annotations

import numpy as np
from numba import njit, prange

from .inner import inner
from .tasks import each_task


@inner
def halve_row(y, indices, upper, lower, start):
    """The largest of each 2x2 pixels of two rows, the first of equal ones; `start` is where `upper` stands in its plane."""
    width = upper.size
    for j in range(y.size):
        best, where = upper[2 * j], 2 * j
        for value, at in ((upper[2 * j + 1], 2 * j + 1), (lower[2 * j], width + 2 * j), (lower[2 * j + 1], width + 2 * j + 1)):
            if value > best or np.isnan(value):
                best, where = value, at
        y[j], indices[j] = best, start + where


@inner
def max_pool_plane(n, y, indices, x, kernel, geometry):
    sh, sw, ph, pw, dh, dw = geometry
    height, width = x.shape[1:]
    halves = kernel == (2, 2) and geometry == (2, 2, 0, 0, 1, 1) and 2 * y.shape[1] <= height and 2 * y.shape[2] <= width
    for i in range(y.shape[1]):
        if halves:                           # the usual case, in which no window reaches beyond the image
            halve_row(y[n, i], indices[n, i], x[n, 2 * i], x[n, 2 * i + 1], 2 * i * width)
            continue
        for j in range(y.shape[2]):
            best, where = -np.inf, -1
            for u in range(kernel[0]):
                h = i * sh + u * dh - ph
                if 0 <= h < height:
                    for v in range(kernel[1]):
                        w = j * sw + v * dw - pw
                        if 0 <= w < width:
                            value = x[n, h, w]
                            if value > best or where < 0 or np.isnan(value):
                                best, where = value, h * width + w
            y[n, i, j], indices[n, i, j] = best, where


def max_pool2d(y, indices, x, kernel, geometry):
    """y[n, i, j] = max_uv x[n, i·s + u·d - p, j·s + v·d - p];  indices: where it stands in the plane, row by row.

    Of equal maxima the first in the window counts; NaN wins.  A window that lies in the padding alone gives -inf, index -1.
    geometry = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w).
    """
    each_task(max_pool_plane, len(x), (y, indices, x, kernel, geometry))


@inner
def scatter_plane(n, dx, dy, indices):
    dx[n] = 0
    for q in range(dy.shape[1]):
        if indices[n, q] >= 0:
            dx[n, indices[n, q]] += dy[n, q]


def scatter_planes(dx, dy, indices):
    """dx[n, indices[n, q]] += dy[n, q];  an index of -1 is nowhere."""
    each_task(scatter_plane, len(dx), (dx, dy, indices))


@njit(cache=True, parallel=True, nogil=True)
def unpool_planes(y, x, indices):
    """y[n, indices[n, q]] = x[n, q], all else 0;  where an index comes twice, the later value stays."""
    for n in prange(y.shape[0]):
        y[n] = 0
        for q in range(x.shape[1]):
            y[n, indices[n, q]] = x[n, q]


@njit(cache=True, parallel=True, nogil=True)
def gather_planes(dx, dy, indices):
    """dx[n, q] = dy[n, indices[n, q]]."""
    for n in prange(dx.shape[0]):
        for q in range(dx.shape[1]):
            dx[n, q] = dy[n, indices[n, q]]


@njit(cache=True, parallel=True, nogil=True)
def window_means(y, x, rows, cols, divisor):
    """y[n, i, j] = Σ x[n, rows[i, 0]:rows[i, 1], cols[j, 0]:cols[j, 1]] / divisor[i, j]."""
    for n in prange(y.shape[0]):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                total = 0.0
                for h in range(rows[i, 0], rows[i, 1]):
                    for w in range(cols[j, 0], cols[j, 1]):
                        total += x[n, h, w]
                y[n, i, j] = total / divisor[i, j]


@njit(cache=True, parallel=True, nogil=True)
def window_means_grad(dx, dy, rows, cols, divisor):
    """dx[n, h, w] = Σ dy[n, i, j] / divisor[i, j] over the windows (i, j) that (h, w) lies in."""
    for n in prange(dx.shape[0]):
        dx[n] = 0
        for i in range(dy.shape[1]):
            for j in range(dy.shape[2]):
                share = dy[n, i, j] / divisor[i, j]
                for h in range(rows[i, 0], rows[i, 1]):
                    for w in range(cols[j, 0], cols[j, 1]):
                        dx[n, h, w] += share
