"""A Gaussian blur of planes, along the columns and then along the rows.

A task owns a band of rows of one channel, which it copies with its zeros around it: then no tap has to ask where the image
ends.  `band_in_vectors` is made of the tiles of `simd.py`; `band_row_by_row` is the same without vectors.
"""
from __future__ import annotations

import numpy as np

from . import simd
from .inner import inner
from .simd import COLS, ROWS, TILE
from .tasks import each_task

BAND = 64            # image rows of a task: with those around them they fit the second-level cache


@inner
def multiply(out, x, factors):
    """out[j] = factors[j] · x[j]"""
    for j in range(x.size):
        out[j] = factors[j] * x[j]


@inner
def add_row(total, tap, x):
    """total[j] += tap · x[j]"""
    for j in range(total.size):
        total[j] += tap * x[j]


@inner
def copied(band, x, first, before):
    """band[k, j] = (before · x)[first + k, j] as far as there are such rows; the rest stays 0."""
    height, width = x.shape
    for i in range(max(0, first), min(height, first + len(band))):
        multiply(band[i - first, :width], x[i], before[i])


@inner
def band_row_by_row(task, y, x, taps, columns, before, after):
    height, width = before.shape
    bands, radius = (height + BAND - 1) // BAND, taps.size // 2
    c, first = task // bands, task % bands * BAND
    last = min(height, first + BAND)
    band, padded = np.zeros((last - first + 2 * radius, width), x.dtype), np.zeros(width + 2 * radius, x.dtype)
    total, column = np.empty(width, x.dtype), padded[radius:radius + width]
    copied(band, x[c], first - radius, before)
    for i in range(last - first):
        column[:] = 0
        for u in range(taps.size):
            add_row(column, taps[u], band[i + u])
        total[:] = 0
        for v in range(taps.size):
            add_row(total, taps[v], padded[v:])
        multiply(y[c, first + i], total, after[first + i])


@inner
def band_in_vectors(task, y, x, taps, columns, before, after):
    """columns[n]: where the n-th vector of a row stands; a whole number of tiles, beyond the image's width."""
    height, width = before.shape
    bands, reach = (height + BAND - 1) // BAND, taps.size - 1
    c, first = task // bands, task % bands * BAND
    last, lanes = min(height, first + BAND), simd.lanes(x)
    rows, whole = (last - first + ROWS - 1) // ROWS * ROWS, columns.size * lanes
    pitch, zero = whole + reach, np.zeros(ROWS, x.dtype)
    band, middle, total = np.zeros((rows + reach, whole), x.dtype), np.zeros(rows * pitch, x.dtype), np.empty(whole, x.dtype)
    copied(band, x[c], first - reach // 2, before)
    flat, around = band.ravel(), np.zeros(taps.size + 2 * (ROWS - 1), x.dtype)
    around[ROWS - 1:ROWS - 1 + taps.size] = taps
    for n in range(0, columns.size, COLS):
        for i in range(0, rows, ROWS):
            tile = simd.zero_tile(x, TILE)
            for u in range(reach + ROWS):                              # input row i + u, whose tap for row i + r is u - r
                tile = simd.add_products(tile, ROWS, around, reach + ROWS - 1 - u, flat, columns, n, (i + u) * whole)
            simd.store_rows(tile, ROWS, middle, i * pitch + reach // 2, pitch, columns, n, zero, 0, ROWS)
    for i in range(last - first):
        for n in range(0, columns.size, COLS):
            tile = simd.zero_tile(x, COLS)
            for v in range(taps.size):
                tile = simd.add_outer(tile, 1, taps, v, 0, middle, i * pitch + columns[n] + v, lanes)
            simd.store_rows(tile, 1, total, 0, 0, columns, n, zero, 0, 1)
        multiply(y[c, first + i], total[:width], after[first + i])


def separable_blur(y, x, taps, before, after):
    """y[c, i, j] = after[i, j] · Σ_uv taps[u] · taps[v] · (before · x)[c, i + u - r, j + v - r];  x is 0 outside the image.

    2r + 1 taps, the same forth and back.
    """
    lanes = simd.lanes_of(x)
    columns = np.arange(0, -(-x.shape[2] // (COLS * lanes)) * COLS * lanes, lanes)
    each_task(band_in_vectors if simd.COMPILED else band_row_by_row, len(x) * -(-x.shape[1] // BAND),
              (y, x, taps, columns, before, after))
