"""The Gaussian filter at work on the lattice of `lattice.py`, all channels in one pass.

The steps work on rows: (point, channel) and (vertex, channel), so that all channels of a point move through the
processor together.  The image is the other way round, (channel, point), and is turned where it is read and written.
"""
from __future__ import annotations

import numpy as np

from .inner import inner
from .tasks import each_task

BLOCK = 128          # points or vertices of a task: their values fit the first-level cache
POINTS = 512         # of a task that writes to the image: 2 KB to each channel


@inner
def rows_of_block(task, rows, values, scale):
    for i in range(task * BLOCK, min((task + 1) * BLOCK, len(rows))):
        row = rows[i]
        for c in range(len(values)):
            row[c] = scale[i] * values[c, i]


def rows_of(rows, values, scale):
    """rows[i, c] = scale[i] · values[c, i];  the columns beyond stay as they are."""
    each_task(rows_of_block, -(-len(rows) // BLOCK), (rows, values, scale))


@inner
def splat_of_remainder(task, grid, rows, vertices, weights, starts):
    grid[starts[task]:starts[task + 1]] = 0
    for i in range(len(rows)):
        share, total, row = weights[task, i], grid[vertices[task, i]], rows[i]
        for c in range(row.size):
            total[c] += share * row[c]


def splat(grid, rows, vertices, weights, starts):
    """grid[v] = Σ weights[k, i] · rows[i] over all k, i with vertices[k, i] = v.

    A task owns the vertices of one remainder, from starts[k] to starts[k + 1]: each point has one of them.
    """
    each_task(splat_of_remainder, len(vertices), (grid, rows, vertices, weights, starts))


@inner
def blur_of_block(task, out, grid, below, above, share):
    own = 1 - 2 * share
    for v in range(task * BLOCK, min((task + 1) * BLOCK, below.size)):
        total, here, low, high = out[v], grid[v], grid[below[v]], grid[above[v]]
        for c in range(total.size):
            total[c] = own * here[c] + share * (low[c] + high[c])


def blur(out, grid, below, above, share):
    """out[v] = (1 - 2·share)·grid[v] + share·(grid[below[v]] + grid[above[v]]).

    The last row of the grid is 0 and stands for all vertices that are not in it.
    """
    each_task(blur_of_block, -(-below.size // BLOCK), (out, grid, below, above, share))


@inner
def column_to(out, scale, rows, c):
    """out[i] = scale[i] · rows[i, c]"""
    for i in range(out.size):
        out[i] = scale[i] * rows[i, c]


@inner
def slice_of_points(task, values, grid, vertices, weights, scale):
    n, start, end = len(vertices), task * POINTS, min((task + 1) * POINTS, values.shape[1])
    rows = np.zeros((end - start, grid.shape[1]), grid.dtype)
    for i in range(start, end):
        total = rows[i - start]
        for k in range(0, n - 2, 3):                                   # three at a time: a third of the loads and stores
            p, q, r = weights[k, i], weights[k + 1, i], weights[k + 2, i]
            x, y, z = grid[vertices[k, i]], grid[vertices[k + 1, i]], grid[vertices[k + 2, i]]
            for c in range(total.size):
                total[c] += p * x[c] + q * y[c] + r * z[c]
        for k in range(n - n % 3, n):
            weight, vertex = weights[k, i], grid[vertices[k, i]]
            for c in range(total.size):
                total[c] += weight * vertex[c]
    for c in range(len(values)):
        column_to(values[c, start:end], scale[start:end], rows, c)


def slice_lattice(values, grid, vertices, weights, scale):
    """values[c, i] = scale[i] · Σ_k weights[k, i] · grid[vertices[k, i], c]."""
    each_task(slice_of_points, -(-values.shape[1] // POINTS), (values, grid, vertices, weights, scale))
