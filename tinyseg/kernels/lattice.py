"""The permutohedral lattice: where the points of a filter in many dimensions meet (Adams, Baek & Davis, "Fast
high-dimensional filtering using the permutohedral lattice", 2010).

The lattice holds all integer points v of d + 1 coordinates that sum to 0 and leave one remainder modulo d + 1.  Its cells are
simplices of d + 1 vertices, one of each remainder.  A point of d features, embedded in that hyperplane, is filtered in three
steps:

    splat    each point adds its value to the d + 1 vertices around it, by its barycentric coordinates
    blur     each vertex is mixed with its two neighbours v ± (1, …, 1, -d, 1, …, 1) along each of the d + 1 axes
    slice    each point reads the d + 1 vertices around it, with the same weights

A vertex is one integer, its key: a number whose digits are its first d coordinates, so that a step to a neighbour adds a
constant.  Only vertices near to a point are kept: a hash table finds those that have points, and then they stand in the order
of their keys.  In that order all that is one step away along an axis stands in order too, so that neighbours are found by
walking along both lists at once, without a search, and a blur reads the memory from the beginning to the end.

A task owns the vertices of one remainder, or a run of vertices, or some points: no two threads write to the same cell.
"""
from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

BLOCK = 128          # points of a task


@njit(cache=True, parallel=True, nogil=True)
def simplices(keys, weights, elevated, steps):
    """The simplex around every point: keys[k, i] of its vertex of remainder k, weights[k, i] the barycentric coordinate.

    elevated (d + 1, N): the points in the hyperplane Σ_j y[j] = 0.  With v the vertex of remainder 0 nearest to y, and rank[j]
    the place of y[j] - v[j] among these differences in descending order, the vertices are

        v_0 = v,    v_{k+1} = v_k + (1, …, 1, -d, 1, …, 1)    with -d where the rank is d - k

    steps[j]: what a step along axis j adds to a key.  The last coordinate has no digit of its own.
    """
    n, points = elevated.shape                                         # n = d + 1
    for block in prange((points + BLOCK - 1) // BLOCK):
        y, b = np.empty(n), np.empty(n + 1)
        nearest, rank, axis = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
        for i in range(block * BLOCK, min(points, (block + 1) * BLOCK)):
            surplus = 0
            for j in range(n):
                y[j] = elevated[j, i] / n
                nearest[j] = math.floor(y[j] + 0.5)                    # v = n·nearest
                y[j] -= nearest[j]
                surplus += nearest[j]
            rank[:] = surplus                                          # move the coordinates that were rounded worst, so
            for j in range(n):                                         # that they sum to 0
                for m in range(j):
                    larger = 1 if y[j] > y[m] else 0                   # no branch: the processor could not predict it
                    rank[m] += larger
                    rank[j] += 1 - larger
            b[:] = 0
            key = 0
            for j in range(n):
                shift = 1 if rank[j] < 0 else -1 if rank[j] >= n else 0
                rank[j] += shift * n
                axis[rank[j]] = j
                key += (nearest[j] + shift) * (steps[n - 1] - steps[j])
                b[n - 1 - rank[j]] += y[j] - shift
                b[n - rank[j]] -= y[j] - shift
            b[0] += 1 + b[n]
            for k in range(n):
                weights[k, i], keys[k, i] = b[k], key
                key += steps[axis[n - 1 - k]]


@njit(cache=True)
def place(table, found, key):
    """Where in the hash table the number m of this key stands, found[m] = key; or where it belongs, a free place (-1).

    The table has a power of two of places.  Where a place is taken by another key, the next one is tried.
    """
    folded = (key ^ key >> 32) & 0xFFFFFFFF                            # so that the product stays below 2^63
    at = (folded * 0x61C88647 >> 16) & (table.size - 1)
    while table[at] >= 0 and found[table[at]] != key:
        at = (at + 1) & (table.size - 1)
    return at


@njit(cache=True, parallel=True, nogil=True)
def distinct(found, numbers, counts, keys):
    """found[k, numbers[k, i]] = keys[k, i]: the counts[k] different keys of each row, in the order of their first points."""
    rows, points = keys.shape
    for k in prange(rows):
        table, count, own = np.full(1 << 12, -1, np.int32), 0, found[k]
        for i in range(points):
            key = keys[k, i]
            if i > 0 and key == keys[k, i - 1]:                        # as so often in an image
                numbers[k, i] = numbers[k, i - 1]
                continue
            at = place(table, own, key)
            if table[at] < 0:
                own[count] = key
                table[at] = count
                count += 1
            numbers[k, i] = table[at]
            if 2 * count > table.size:                                 # half full: a larger one
                table = np.full(4 * table.size, -1, np.int32)
                for m in range(count):
                    table[place(table, own, own[m])] = m
        counts[k] = count


@njit(cache=True, nogil=True)
def with_neighbours(out, keys, steps, fewest):
    """out: the keys, and all others that are one step from at least `fewest` of them, in ascending order.  Returns how many.

    2n + 1 lists are merged: the keys, and the keys moved by each of the n steps to either side.
    """
    shifts = np.concatenate((np.zeros(1, np.int64), steps, -steps))
    heads = np.zeros(shifts.size, np.int64)
    count, end = 0, np.iinfo(np.int64).max
    while True:
        smallest = end
        for s in range(shifts.size):
            if heads[s] < keys.size:
                smallest = min(smallest, keys[heads[s]] + shifts[s])
        if smallest == end:
            return count
        near = 0
        for s in range(shifts.size):
            if heads[s] < keys.size and keys[heads[s]] + shifts[s] == smallest:
                heads[s] += 1
                near += fewest if s == 0 else 1
        if near >= fewest:
            out[count] = smallest
            count += 1


@njit(cache=True, parallel=True, nogil=True)
def neighbours(below, above, keys, steps):
    """keys[below[a, v]] = keys[v] - steps[a],  keys[above[a, v]] = keys[v] + steps[a];  keys.size where there is none."""
    for a in prange(steps.size):
        below[a] = keys.size
        above[a] = keys.size
        w = 0
        for v in range(keys.size):
            wanted = keys[v] + steps[a]
            while w < keys.size and keys[w] < wanted:
                w += 1
            if w < keys.size and keys[w] == wanted:
                above[a, v], below[a, w] = w, v


@njit(cache=True, parallel=True, nogil=True)
def members(starts, points, shares, vertices, weights):
    """The inverse of `vertices`: vertex v has points[e] with weight shares[e], for e from starts[v] to starts[v + 1].

    vertices, weights (d + 1, N).  The points of a vertex are in ascending order.  A task owns the vertices of one remainder.
    """
    starts[:] = 0
    for k in prange(vertices.shape[0]):
        for v in vertices[k]:
            starts[v + 1] += 1
    for v in range(starts.size - 1):
        starts[v + 1] += starts[v]
    end = starts[:-1].copy()
    for k in prange(vertices.shape[0]):
        for i in range(vertices.shape[1]):
            v = vertices[k, i]
            points[end[v]], shares[end[v]] = i, weights[k, i]
            end[v] += 1
