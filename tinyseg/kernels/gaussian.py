"""Gaussian filters at work, all channels in one pass: on the lattice of `lattice.py`, and separably in the image plane.

The lattice's steps work on rows: (point, channel) and (vertex, channel), so that all channels of a point move through the
processor together.  The image is the other way round, (channel, point), and is turned where it is read and written.
"""
from __future__ import annotations

import numpy as np
from numba import njit, prange

BLOCK = 128          # points of a task: their values fit the first-level cache
BAND = 64            # image rows of a task: with those around them they fit the second-level cache


@njit(cache=True, parallel=True, nogil=True)
def rows_of(rows, values, scale):
    """rows[i, c] = scale[i] · values[c, i]."""
    channels, count = values.shape
    for i in prange(count):
        row = rows[i]
        for c in range(channels):
            row[c] = scale[i] * values[c, i]


@njit(cache=True, parallel=True, nogil=True)
def splat(grid, rows, starts, points, shares, tasks):
    """grid[v] = Σ_e shares[e] · rows[points[e]], for e from starts[v] to starts[v + 1].

    One task owns the vertices from tasks[t] to tasks[t + 1], so that no two threads add to the same one.
    """
    for t in prange(tasks.size - 1):
        for v in range(tasks[t], tasks[t + 1]):
            total = grid[v]
            total[:] = 0
            for e in range(starts[v], starts[v + 1]):
                share, row = shares[e], rows[points[e]]
                for c in range(total.size):
                    total[c] += share * row[c]


@njit(cache=True, parallel=True, nogil=True)
def blur(out, grid, below, above, share):
    """out[v] = (1 - 2·share)·grid[v] + share·(grid[below[v]] + grid[above[v]]).

    The last row of the grid is 0 and stands for all vertices that are not in it.
    """
    own = 1 - 2 * share
    for v in prange(below.size):
        total, here, low, high = out[v], grid[v], grid[below[v]], grid[above[v]]
        for c in range(total.size):
            total[c] = own * here[c] + share * (low[c] + high[c])


@njit(cache=True, parallel=True, nogil=True)
def slice_lattice(values, grid, vertices, weights, scale):
    """values[c, i] = scale[i] · Σ_k weights[k, i] · grid[vertices[k, i], c]."""
    channels, count = values.shape
    for block in prange((count + BLOCK - 1) // BLOCK):
        start = block * BLOCK
        length = min(BLOCK, count - start)
        rows = np.zeros((length, grid.shape[1]), grid.dtype)
        for i in range(length):
            total = rows[i]
            for k in range(vertices.shape[0]):
                weight, vertex = scale[start + i] * weights[k, start + i], grid[vertices[k, start + i]]
                for c in range(total.size):
                    total[c] += weight * vertex[c]
        for c in range(channels):
            out = values[c, start:start + length]
            for i in range(length):
                out[i] = rows[i, c]


@njit(cache=True)
def add_four(total, taps, k, a, b, c, d):
    """total[j] += taps[k] a[j] + taps[k + 1] b[j] + taps[k + 2] c[j] + taps[k + 3] d[j]: one pass instead of four."""
    p, q, r, s = taps[k], taps[k + 1], taps[k + 2], taps[k + 3]
    for j in range(total.size):
        total[j] += p * a[j] + q * b[j] + r * c[j] + s * d[j]


@njit(cache=True, parallel=True, nogil=True)
def separable_blur(y, x, taps, radius, before, after):
    """y[c, i, j] = after[i, j] · Σ_uv taps[u] · taps[v] · (before · x)[c, i + u - r, j + v - r];  x is 0 outside the image.

    2r + 1 taps, and zeros up to a multiple of four.  A task owns a band of rows, which it copies with its zeros around it:
    then no tap has to ask where the image ends.
    """
    channels, height, width = x.shape
    bands, reach = (height + BAND - 1) // BAND, taps.size - 1
    for task in prange(channels * bands):
        c, first = task // bands, task % bands * BAND
        last = min(height, first + BAND)
        band = np.zeros((last - first + reach, width), x.dtype)
        for i in range(max(0, first - radius), min(height, last + reach - radius)):
            row, values, factors = band[i - first + radius], x[c, i], before[i]
            for j in range(width):
                row[j] = factors[j] * values[j]
        padded, total = np.zeros(width + reach, x.dtype), np.empty(width, x.dtype)
        column = padded[radius:radius + width]
        for i in range(last - first):
            column[:] = 0
            for u in range(0, taps.size, 4):
                add_four(column, taps, u, band[i + u], band[i + u + 1], band[i + u + 2], band[i + u + 3])
            total[:] = 0
            for v in range(0, taps.size, 4):
                add_four(total, taps, v, padded[v:], padded[v + 1:], padded[v + 2:], padded[v + 3:])
            out, factors = y[c, first + i], after[first + i]
            for j in range(width):
                out[j] = factors[j] * total[j]
