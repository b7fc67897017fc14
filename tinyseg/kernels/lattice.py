"""Gaussian filters of many channels: on the permutohedral lattice in any dimension, and separably in the image plane.

The lattice (Adams, Baek & Davis, "Fast high-dimensional filtering using the permutohedral lattice", 2010) holds all integer
points v of d + 1 coordinates that sum to 0 and leave one remainder modulo d + 1.  Its cells are simplices of d + 1 vertices.
A point of d features, embedded in that hyperplane, is filtered in three steps:

    splat    each point adds its value to the d + 1 vertices around it, by its barycentric coordinates
    blur     each vertex is mixed with its two neighbours v ± (1, …, 1, -d, 1, …, 1) along each of the d + 1 axes
    slice    each point reads the d + 1 vertices around it, with the same weights

A vertex is one integer, its key: a number whose digits are its first d coordinates, so that a step to a neighbour adds a
constant.  The vertices stand in the order of their keys, and are found by bisection.
"""
from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

BLOCK = 128          # points of a task: their values fit the first-level cache


@njit(cache=True, parallel=True, nogil=True)
def simplices(keys, weights, elevated, digits):
    """The simplex around every point: keys[i, k] of its vertex of remainder k, weights[i, k] the barycentric coordinate.

    elevated (N, d + 1): the points in the hyperplane Σ_j y[j] = 0.  With v the vertex of remainder 0 nearest to y, and rank[j]
    the place of y[j] - v[j] among these differences in descending order, the vertices are

        v_k[j] = v[j] + k - (d + 1)·[rank[j] > d - k]          keys[i, k] = Σ_{j < d} v_k[j]·digits[j]
    """
    points, n = elevated.shape                                         # n = d + 1
    for i in prange(points):
        y = elevated[i]
        nearest, rank, b = np.empty(n, np.int64), np.zeros(n, np.int64), np.zeros(n + 1)
        for j in range(n):
            nearest[j] = math.floor(y[j] / n + 0.5)                    # v = n·nearest
        surplus = nearest.sum()
        for j in range(n):
            for m in range(j):
                if y[j] - n * nearest[j] > y[m] - n * nearest[m]:
                    rank[m] += 1
                else:
                    rank[j] += 1
        for j in range(n):                                             # move the coordinates that were rounded worst, so that
            rank[j] += surplus                                         # they sum to 0
            if rank[j] < 0:
                rank[j] += n
                nearest[j] += 1
            elif rank[j] >= n:
                rank[j] -= n
                nearest[j] -= 1
        for j in range(n):
            difference = y[j] / n - nearest[j]
            b[n - 1 - rank[j]] += difference
            b[n - rank[j]] -= difference
        b[0] += 1 + b[n]
        for k in range(n):
            weights[i, k] = b[k]
            key = 0
            for j in range(n - 1):
                key += (n * nearest[j] + k - (n if rank[j] > n - 1 - k else 0)) * digits[j]
            keys[i, k] = key


@njit(cache=True, parallel=True, nogil=True)
def find(places, keys, wanted):
    """keys[places[i]] = wanted[i], or places[i] = keys.size where there is none;  keys are in ascending order."""
    for i in prange(wanted.size):
        low, high = 0, keys.size
        while low < high:
            middle = (low + high) // 2
            if keys[middle] < wanted[i]:
                low = middle + 1
            else:
                high = middle
        places[i] = low if low < keys.size and keys[low] == wanted[i] else keys.size


@njit(cache=True, nogil=True)
def members(starts, points, shares, vertices, weights):
    """The inverse of `vertices`: vertex v has points[e] with weight shares[e], for e from starts[v] to starts[v + 1].

    vertices, weights (N, d + 1).  The points of a vertex are in ascending order.
    """
    starts[:] = 0
    for v in vertices.flat:
        starts[v + 1] += 1
    for v in range(starts.size - 1):
        starts[v + 1] += starts[v]
    end = starts[:-1].copy()
    for i in range(vertices.shape[0]):
        for k in range(vertices.shape[1]):
            e = end[vertices[i, k]]
            points[e], shares[e] = i, weights[i, k]
            end[vertices[i, k]] += 1


@njit(cache=True, parallel=True, nogil=True)
def rows_of(rows, values, scale):
    """rows[i, c] = scale[i] · values[c, i]."""
    channels, count = values.shape
    for block in prange((count + BLOCK - 1) // BLOCK):
        for c in range(channels):
            for i in range(block * BLOCK, min(count, (block + 1) * BLOCK)):
                rows[i, c] = scale[i] * values[c, i]


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
def blur(out, grid, neighbours, share):
    """out[v] = (1 - 2·share)·grid[v] + share·(grid[neighbours[v, 0]] + grid[neighbours[v, 1]]).

    The last row of the grid is 0 and stands for all vertices that are not in it.
    """
    own = 1 - 2 * share
    for v in prange(neighbours.shape[0]):
        total, here, below, above = out[v], grid[v], grid[neighbours[v, 0]], grid[neighbours[v, 1]]
        for c in range(total.size):
            total[c] = own * here[c] + share * (below[c] + above[c])


@njit(cache=True, parallel=True, nogil=True)
def slice_lattice(values, grid, vertices, weights, scale):
    """values[c, i] = scale[i] · Σ_k weights[i, k] · grid[vertices[i, k], c]."""
    channels, count = values.shape
    for block in prange((count + BLOCK - 1) // BLOCK):
        start = block * BLOCK
        length = min(BLOCK, count - start)
        rows = np.zeros((length, channels), grid.dtype)
        for i in range(length):
            total = rows[i]
            for k in range(vertices.shape[1]):
                weight, vertex = scale[start + i] * weights[start + i, k], grid[vertices[start + i, k]]
                for c in range(channels):
                    total[c] += weight * vertex[c]
        for c in range(channels):
            for i in range(length):
                values[c, start + i] = rows[i, c]


@njit(cache=True, parallel=True, nogil=True)
def separable_blur(y, x, taps):
    """y[c, i, j] = Σ_uv taps[u] · taps[v] · x[c, i + u - r, j + v - r], with 2r + 1 taps;  x is 0 outside the image."""
    channels, height, width = x.shape
    radius = taps.size // 2
    for task in prange(channels * height):
        c, i = task // height, task % height
        column, out = np.zeros(width, x.dtype), y[c, i]
        for u in range(max(0, radius - i), min(taps.size, height + radius - i)):
            tap, row = taps[u], x[c, i + u - radius]
            for j in range(width):
                column[j] += tap * row[j]
        out[:] = 0
        for v in range(max(0, radius - width + 1), min(taps.size, width + radius)):
            tap, shift = taps[v], v - radius
            first = max(0, -shift)
            source = column[first + shift:]
            target = out[first:width - max(0, shift)]
            for j in range(target.size):
                target[j] += tap * source[j]
