"""The exact squared Euclidean distance transform, one axis after the other.  One task owns one column, then one row.

Felzenszwalb & Huttenlocher 2012, "Distance transforms of sampled functions".
"""
from __future__ import annotations

import numpy as np
from numba import njit, prange


@njit(cache=True, parallel=True, nogil=True)
def along_columns(squared, mask):
    """squared[i, j] = min (i - u)² over the rows u with mask[u, j];  ∞ where there is none.  Once down, once up."""
    height, width = mask.shape
    for j in prange(width):
        nearest = -1
        for i in range(height):
            if mask[i, j]:
                nearest = i
            squared[i, j] = (i - nearest) ** 2 if nearest >= 0 else np.inf
        nearest = -1
        for i in range(height - 1, -1, -1):
            if mask[i, j]:
                nearest = i
            if nearest >= 0:
                squared[i, j] = min(squared[i, j], (nearest - i) ** 2)


@njit(cache=True, parallel=True, nogil=True)
def along_rows(squared, columns):
    """squared[i, j] = min over v of columns[i, v] + (j - v)²: the lower envelope of parabolas, one for each v.

    Algorithm 1: parabola vertex[n] is the lowest from start[n] on, up to start[n + 1].  Those that are ∞ are left out.
    """
    height, width = columns.shape
    for i in prange(height):
        f, vertex, start, last = columns[i], np.empty(width, np.int64), np.empty(width), -1
        for q in range(width):
            if f[q] < np.inf:
                crossing = -np.inf
                while last >= 0:
                    v = vertex[last]
                    crossing = (f[q] + q * q - f[v] - v * v) / (2 * (q - v))
                    if crossing > start[last]:
                        break
                    last -= 1                              # the parabola of v is nowhere the lowest
                last += 1
                vertex[last], start[last] = q, crossing
        n = 0
        for j in range(width):
            while n < last and start[n + 1] <= j:
                n += 1
            squared[i, j] = f[vertex[n]] + (j - vertex[n]) ** 2 if last >= 0 else np.inf
