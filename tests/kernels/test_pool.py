"""Max pooling: planes that are pooled in several bands, against the readable formula."""
import numpy as np
import pytest

from tinyseg.kernels import pool
from tinyseg.ops.pool import MaxPool2d, _output_size

SHAPES = [                                                  # (H, W), kernel, stride, padding, dilation
    ((130, 41), (3, 3), (2, 2), (1, 1), (1, 1)),            # three bands
    ((67, 35), (3, 3), (1, 1), (1, 1), (1, 1)),
    ((66, 70), (2, 2), (2, 2), (0, 0), (1, 1)),
    ((70, 50), (2, 3), (1, 3), (1, 1), (4, 3)),             # every axis different
    ((3, 2300), (3, 3), (1, 1), (1, 1), (1, 1)),            # a row longer than a band
    ((5, 1), (3, 3), (2, 2), (1, 1), (1, 1)),               # columns that the first phase alone sees
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size, kernel, stride, padding, dilation", SHAPES, ids=str)
def test_equals_the_readable_one(size, kernel, stride, padding, dilation, dtype, rng):
    settings = dict(kernel_size=kernel, stride=stride, padding=padding, dilation=dilation, ceil_mode=False)
    x = rng.integers(0, 9, (1, 1, *size)).astype(dtype)                                  # many are equal
    x[0, 0, :2, :4], x[0, 0, size[0] // 2:] = -np.inf, -np.inf
    expected, places = MaxPool2d.reference(x, **settings)
    shape = (1, *_output_size(x, kernel, stride, padding, dilation, False))
    y, indices = np.empty(shape, dtype), np.empty(shape, np.int64)
    pool.max_pool2d(y, indices, x[0], kernel, (*stride, *padding, *dilation))
    np.testing.assert_array_equal(y, expected[0])
    np.testing.assert_array_equal(indices, places[0])


def test_windows_without_a_pixel_have_no_place():
    x, y, indices = np.ones((1, 2, 2)), np.empty((1, 6, 6)), np.empty((1, 6, 6), np.int64)
    pool.max_pool2d(y, indices, x, (1, 1), (1, 1, 2, 2, 1, 1))
    assert np.isneginf(y).sum() == (indices == -1).sum() == 32
    np.testing.assert_array_equal(indices[0, 2:4, 2:4], [[0, 1], [2, 3]])
