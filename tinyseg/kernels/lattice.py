"""The permutohedral lattice: where the points of a filter in many dimensions meet (Adams, Baek & Davis, "Fast
high-dimensional filtering using the permutohedral lattice", 2010).

The lattice holds all integer points v of d + 1 coordinates that sum to 0 and leave one remainder modulo d + 1.  Its cells are
simplices of d + 1 vertices, one of each remainder.  A point of d features, embedded in that hyperplane, is filtered in three
steps:

    splat    each point adds its value to the d + 1 vertices around it, by its barycentric coordinates
    blur     each vertex is mixed with its two neighbours v ± (1, …, 1, -d, 1, …, 1) along each of the d + 1 axes
    slice    each point reads the d + 1 vertices around it, with the same weights

A vertex is one integer, its key: a number whose digits are its first d coordinates, so that a step to a neighbour adds a
constant.  Only vertices near to a point are kept: a hash table finds those that have points, and then those of one remainder
stand together, in the order of their keys.  A step along any axis leads from each remainder to the next one, and all that is
one step away along an axis stands in order too: neighbours are found by walking along two lists at once, without a search, a
blur reads three stretches of memory from beginning to end, and each remainder has its own vertices to splat on.

A task owns the vertices of one remainder, or a run of vertices, or some points: no two threads write to the same cell.
"""
from __future__ import annotations

import math

import numpy as np

from .inner import inner
from .tasks import each_task

BLOCK = 128          # points of a task


@inner
def add_to(total, factor, x):
    """total[i] += factor · x[i]"""
    for i in range(total.size):
        total[i] += factor * x[i]


@inner
def embed_block(task, elevated, features, matrix, shift):
    start, end = task * BLOCK, min((task + 1) * BLOCK, elevated.shape[1])
    for j in range(len(elevated)):
        elevated[j, start:end] = shift[j]
        for d in range(len(features)):
            add_to(elevated[j, start:end], matrix[d, j], features[d, start:end])


def embed(elevated, features, matrix, shift):
    """elevated[j, i] = shift[j] + Σ_d matrix[d, j] · features[d, i].

    No product of NumPy's, whose threads would go on spinning after it, in the way of Numba's.
    """
    each_task(embed_block, -(-elevated.shape[1] // BLOCK), (elevated, features, matrix, shift))


@inner
def forms_of_block(task, forms, weights, matrix):
    start, end = task * BLOCK, min((task + 1) * BLOCK, forms.size)
    forms[start:end] = 0
    mixed = np.empty(end - start, weights.dtype)
    for k in range(len(weights)):
        mixed[:] = 0
        for m in range(len(weights)):
            add_to(mixed, matrix[k, m], weights[m, start:end])
        for i in range(start, end):
            forms[i] += weights[k, i] * mixed[i - start]


def quadratic_forms(forms, weights, matrix):
    """forms[i] = Σ_km weights[k, i] · matrix[k, m] · weights[m, i]."""
    each_task(forms_of_block, -(-forms.size // BLOCK), (forms, weights, matrix))


@inner
def put_in_order(y, step, k):
    """The larger of y[k, i] and y[k + 1, i] first, and its step with it.  No branch: the processor could not predict it."""
    for i in range(y.shape[1]):
        a, b, first, second = y[k, i], y[k + 1, i], step[k, i], step[k + 1, i]
        change = b > a
        y[k, i], y[k + 1, i] = b if change else a, a if change else b
        step[k, i], step[k + 1, i] = second if change else first, first if change else second


@inner
def simplices_of_block(task, keys, weights, elevated, steps):
    n, start, end = len(elevated), task * BLOCK, min((task + 1) * BLOCK, elevated.shape[1])
    size = end - start
    y, ranked = np.empty((2, n, size))
    step, ranked_step = np.empty((2, n, size), np.int64)
    key, surplus = np.zeros((2, size), np.int64)
    for j in range(n):
        for i in range(size):
            nearest = math.floor(elevated[j, start + i] / n + 0.5)     # v = n·nearest
            y[j, i] = elevated[j, start + i] / n - nearest
            step[j, i] = steps[j]
            surplus[i] += nearest
            key[i] += nearest * (steps[n - 1] - steps[j])
    for last in range(n - 1, 0, -1):
        for k in range(last):
            put_in_order(y, step, k)
    for rank in range(n):                                              # move the coordinates that were rounded worst, so
        for i in range(size):                                          # that they sum to 0
            place = rank - surplus[i]
            shift = (1 if place >= n else 0) - (1 if place < 0 else 0)
            ranked[rank, i] = y[place - shift * n, i] - shift
            ranked_step[rank, i] = step[place - shift * n, i]
            key[i] += shift * (steps[n - 1] - ranked_step[rank, i])
    for i in range(size):
        weights[0, start + i] = ranked[n - 1, i] + (1 - ranked[0, i])
        keys[0, start + i] = key[i]
    for k in range(1, n):
        for i in range(size):
            weights[k, start + i] = ranked[n - 1 - k, i] - ranked[n - k, i]
            keys[k, start + i] = keys[k - 1, start + i] + ranked_step[n - k, i]


def simplices(keys, weights, elevated, steps):
    """The simplex around every point: keys[k, i] of its vertex of remainder k, weights[k, i] the barycentric coordinate.

    elevated (d + 1, N): the points in the hyperplane Σ_j y[j] = 0.  With v the vertex of remainder 0 nearest to y, and rank[j]
    the place of y[j] - v[j] among these differences in descending order, the vertices are

        v_0 = v,    v_{k+1} = v_k + (1, …, 1, -d, 1, …, 1)    with -d where the rank is d - k

    steps[j]: what a step along axis j adds to a key.  The last coordinate has no digit of its own.
    """
    each_task(simplices_of_block, -(-elevated.shape[1] // BLOCK), (keys, weights, elevated, steps))


@inner
def place(table, found, key):
    """Where in the hash table the number m of this key stands, found[m] = key; or where it belongs, a free place (-1).

    The table has a power of two of places.  Where a place is taken by another key, the next one is tried.
    """
    folded = (key ^ key >> 32) & 0xFFFFFFFF                            # so that the product stays below 2^63
    at = (folded * 0x61C88647 >> 16) & (table.size - 1)
    while table[at] >= 0 and found[table[at]] != key:
        at = (at + 1) & (table.size - 1)
    return at


@inner
def distinct_of_remainder(task, found, numbers, counts, keys):
    table, count, own = np.full(1 << 12, -1, np.int32), 0, found[task]
    for i in range(keys.shape[1]):
        key = keys[task, i]
        if i > 0 and key == keys[task, i - 1]:                         # as so often in an image
            numbers[task, i] = numbers[task, i - 1]
            continue
        at = place(table, own, key)
        if table[at] < 0:
            own[count] = key
            table[at] = count
            count += 1
        numbers[task, i] = table[at]
        if 2 * count > table.size:                                     # half full: a larger one
            table = np.full(4 * table.size, -1, np.int32)
            for m in range(count):
                table[place(table, own, own[m])] = m
    counts[task] = count


def distinct(found, numbers, counts, keys):
    """found[k, numbers[k, i]] = keys[k, i]: the counts[k] different keys of each row, in the order of their first points."""
    each_task(distinct_of_remainder, len(keys), (found, numbers, counts, keys))


@inner
def ring_of_remainder(task, found, counts, keys, starts, steps, fewest):
    """2n + 1 lists are merged: the keys of this remainder, those of the one before it moved by each of the n steps, and those
    of the one after it moved back."""
    n = steps.size
    shifts = np.concatenate((np.zeros(1, np.int64), steps, -steps))
    heads, ends = np.empty(2 * n + 1, np.int64), np.empty(2 * n + 1, np.int64)
    for s in range(2 * n + 1):
        remainder = (task if s == 0 else task - 1 if s <= n else task + 1) % n
        heads[s], ends[s] = starts[remainder], starts[remainder + 1]
    none = np.iinfo(np.int64).max
    nearest = np.full(2 * n + 1, none)                                 # the head of each list, moved
    for s in range(2 * n + 1):
        if heads[s] < ends[s]:
            nearest[s] = keys[heads[s]] + shifts[s]
    count = 0
    while True:
        smallest = nearest.min()
        if smallest == none:
            break
        near = 0
        for s in range(2 * n + 1):
            if nearest[s] == smallest:
                heads[s] += 1
                nearest[s] = keys[heads[s]] + shifts[s] if heads[s] < ends[s] else none
                near += fewest if s == 0 else 1
        if near >= fewest:
            found[task, count] = smallest
            count += 1
    counts[task] = count


def ring(found, counts, keys, starts, steps, fewest):
    """found[k, :counts[k]]: the keys of remainder k, and all others that are one step from at least `fewest` keys.

    keys: those of remainder 0 in ascending order, then those of remainder 1, from starts[k] to starts[k + 1].
    """
    each_task(ring_of_remainder, steps.size, (found, counts, keys, starts, steps, fewest))


@inner
def vertices_of_remainder(task, vertices, numbers, found, counts, keys, starts):
    place = starts[task] + np.searchsorted(keys[starts[task]:starts[task + 1]], found[task, :counts[task]])
    for i in range(numbers.shape[1]):
        vertices[task, i] = place[numbers[task, i]]


def number_vertices(vertices, numbers, found, counts, keys, starts):
    """keys[vertices[k, i]] = found[k, numbers[k, i]]"""
    each_task(vertices_of_remainder, len(numbers), (vertices, numbers, found, counts, keys, starts))


@inner
def neighbours_of_remainder(task, below, above, keys, starts, steps):
    axis, k = task // steps.size, task % steps.size
    w, last = starts[(k + 1) % steps.size], starts[(k + 1) % steps.size + 1]
    above[axis, starts[k]:starts[k + 1]] = keys.size
    below[axis, w:last] = keys.size
    for v in range(starts[k], starts[k + 1]):
        wanted = keys[v] + steps[axis]
        while w < last and keys[w] < wanted:
            w += 1
        if w < last and keys[w] == wanted:
            above[axis, v], below[axis, w] = w, v


def neighbours(below, above, keys, starts, steps):
    """keys[below[a, v]] = keys[v] - steps[a],  keys[above[a, v]] = keys[v] + steps[a];  keys.size where there is none.

    A step leads from each remainder to the next one.
    """
    each_task(neighbours_of_remainder, steps.size**2, (below, above, keys, starts, steps))
