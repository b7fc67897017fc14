"""The distance transform against the formula, compiled and as plain Python."""
import numpy as np
import pytest

from tinyseg.data.borders import distance_transform
from tinyseg.kernels import distance


def brute_force(mask):
    """The distance to every True pixel, and of them the least."""
    places, (i, j) = np.argwhere(mask), np.indices(mask.shape)
    return np.min([np.hypot(i - u, j - v) for u, v in places], axis=0, initial=np.inf)


def masks(rng):
    yield "empty", np.zeros((4, 5), bool)
    yield "full", np.ones((3, 2), bool)
    yield "one pixel", np.ones((1, 1), bool)
    for shape in [(1, 40), (40, 1), (17, 23), (64, 31)]:
        for share in (0.003, 0.02, 0.3):
            yield f"{shape} {share}", rng.random(shape) < share
    for corner in [(0, 0), (0, -1), (-1, 0), (-1, -1)]:
        mask = np.zeros((9, 14), bool)
        mask[corner] = True
        yield f"corner {corner}", mask
    diagonal = np.eye(30, dtype=bool)
    yield "diagonal", diagonal
    yield "not contiguous", diagonal[::2, ::-1].T


def test_it_is_the_least_distance(rng):
    for name, mask in masks(rng):
        np.testing.assert_allclose(distance_transform(mask), brute_force(mask), rtol=1e-15, err_msg=name)


def test_uncompiled(rng):
    """The plain Python bodies give the same, and NumPy's bounds hold for them."""
    along_columns, along_rows = (getattr(kernel, "py_func", kernel)       # which it is itself with NUMBA_DISABLE_JIT=1
                                 for kernel in (distance.along_columns, distance.along_rows))
    for name, mask in masks(rng):
        columns, squared = np.empty(mask.shape), np.empty(mask.shape)
        along_columns(columns, mask)
        along_rows(squared, columns)
        np.testing.assert_array_equal(np.sqrt(squared), distance_transform(mask), err_msg=name)


def test_large_distances_are_exact():
    mask = np.zeros((1, 40000), bool)
    mask[0, 0] = True
    assert distance_transform(mask)[0, -1] == 39999


@pytest.mark.parametrize("mask", [np.zeros((3, 3), np.uint8), np.zeros(3, bool), np.zeros((0, 3), bool)])
def test_what_is_no_mask(mask):
    with pytest.raises(ValueError, match=r"distance_transform: expects a mask \(H, W\) bool"):
        distance_transform(mask)
