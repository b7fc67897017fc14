"""The lattice's lists of vertices against NumPy's own searches, on keys that a large hash table would get by accident only."""
import numpy as np
import pytest

from tinyseg.kernels import lattice

STEPS = np.array([1, -7, 40, -34])


def test_a_point_is_the_mean_of_its_simplexs_vertices_by_their_weights(rng):
    n, digits = 4, np.array([1, 1000, 10**6])
    elevated = rng.uniform(-50, 50, (n, 300))
    elevated -= elevated.mean(axis=0)
    weights, keys = np.empty(elevated.shape), np.empty(elevated.shape, np.int64)
    lattice.simplices(keys, weights, elevated, digits.sum() - n * np.append(digits, 0))
    np.testing.assert_allclose(weights.sum(axis=0), 1)
    assert weights.min() > -1e-12
    vertices, rest = np.empty((3, *keys.shape)), keys + 500 * digits.sum()          # digits from 0 on
    for place in range(3):
        vertices[place], rest = rest % 1000 - 500, rest // 1000
    last = -vertices.sum(axis=0)
    for coordinate in (*vertices, last):
        np.testing.assert_array_equal(coordinate % n, np.arange(n)[:, None].repeat(300, axis=1))    # one of each remainder
    np.testing.assert_allclose((weights * vertices).sum(axis=1), elevated[:3], atol=1e-9)
    assert (abs(vertices - elevated[:3, None]) < n).all()


@pytest.mark.parametrize("spread", [5, 40000])                 # few different ones, and more than the first table takes
def test_distinct_keys_are_numbered_in_the_order_of_their_first_points(rng, spread):
    keys = rng.integers(-spread, spread, (2, 6000)) << 20
    keys[:, 1::3] = keys[:, ::3]                               # as neighbouring pixels are
    found, numbers, counts = np.empty_like(keys), np.empty(keys.shape, np.int32), np.empty(2, np.int64)
    lattice.distinct(found, numbers, counts, keys)
    for k in range(2):
        unique, first = np.unique(keys[k], return_index=True)
        np.testing.assert_array_equal(found[k, :counts[k]], unique[np.argsort(first)])
        np.testing.assert_array_equal(found[k, numbers[k]], keys[k])


def keys_by_remainder(rng, sizes, spread):
    """Ascending keys of each remainder, as a list and in one array, and where they start in it."""
    keys = [np.unique(rng.integers(-spread, spread, size)) for size in sizes]
    return keys, np.concatenate(keys), np.cumsum([0, *map(len, keys)])


@pytest.mark.parametrize("fewest", [1, 2, 3])
def test_vertices_with_so_many_neighbours_are_added(rng, fewest):
    n = len(STEPS)
    keys, every_key, starts = keys_by_remainder(rng, [60, 30, 0, 80], 60)
    found, counts = np.empty((n, (2 * n + 1) * 80), np.int64), np.empty(n, np.int64)
    lattice.ring(found, counts, every_key, starts, STEPS, fewest)
    for k in range(n):                                         # a step leads from one remainder to the next
        moved = [keys[k - 1] + s for s in STEPS] + [keys[(k + 1) % n] - s for s in STEPS]
        near, count = np.unique(np.concatenate(moved), return_counts=True)
        np.testing.assert_array_equal(found[k, :counts[k]], np.union1d(keys[k], near[count >= fewest]))


def test_neighbours_are_found_on_both_sides(rng):
    n = len(STEPS)
    keys, every_key, starts = keys_by_remainder(rng, [60, 30, 0, 80], 100)
    below, above = np.empty((2, n, len(every_key)), np.int32)
    lattice.neighbours(below, above, every_key, starts, STEPS)
    place = {(k, key): starts[k] + v for k in range(n) for v, key in enumerate(keys[k])}
    for a, step in enumerate(STEPS):
        assert below[a].tolist() == [place.get(((k - 1) % n, key - step), len(every_key)) for k in range(n) for key in keys[k]]
        assert above[a].tolist() == [place.get(((k + 1) % n, key + step), len(every_key)) for k in range(n) for key in keys[k]]


def test_points_know_their_vertices_by_number(rng):
    keys = rng.integers(-100, 100, (2, 500))
    found, numbers, counts = np.empty_like(keys), np.empty(keys.shape, np.int32), np.empty(2, np.int64)
    lattice.distinct(found, numbers, counts, keys)
    vertices = [np.union1d(row, rng.integers(-100, 100, 40)) for row in keys]              # and some without points
    every_vertex = np.concatenate(vertices)
    lattice.number_vertices(numbers, numbers, found, counts, every_vertex, np.cumsum([0, *map(len, vertices)]))
    np.testing.assert_array_equal(every_vertex[numbers], keys)
    assert (numbers[0] < len(vertices[0])).all() and (numbers[1] >= len(vertices[0])).all()
