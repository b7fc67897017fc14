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
    ((140, 31), (5, 4), (2, 3), (2, 2), (1, 1)),            # more taps than three; rows below the image where others were above
    ((9, 2), (3, 5), (1, 4), (1, 2), (1, 1)),               # a stride beyond the width
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size, kernel, stride, padding, dilation", SHAPES, ids=str)
def test_equals_the_readable_one(size, kernel, stride, padding, dilation, dtype, rng):
    settings = dict(kernel_size=kernel, stride=stride, padding=padding, dilation=dilation, ceil_mode=False,
                    return_indices=True)
    x = rng.integers(0, 9, (1, 1, *size)).astype(dtype)                                  # many are equal
    x[0, 0, :2, :4], x[0, 0, size[0] // 2:] = -np.inf, -np.inf
    expected, places = MaxPool2d.reference(x, **settings)
    shape = (1, *_output_size(x, kernel, stride, padding, dilation, False))
    alone, y, indices = np.empty(shape, dtype), np.empty(shape, dtype), np.empty(shape, np.int64)
    pool.max_pool2d(alone, x[0], kernel, (*stride, *padding, *dilation))
    pool.max_pool2d_with_indices(y, indices, x[0], kernel, (*stride, *padding, *dilation))
    np.testing.assert_array_equal(alone, expected[0])
    np.testing.assert_array_equal(y, expected[0])
    np.testing.assert_array_equal(indices, places[0])


def test_windows_without_a_pixel_have_no_place():
    x, y, indices = np.ones((1, 2, 2)), np.empty((1, 6, 6)), np.empty((1, 6, 6), np.int64)
    pool.max_pool2d_with_indices(y, indices, x, (1, 1), (1, 1, 2, 2, 1, 1))
    assert np.isneginf(y).sum() == (indices == -1).sum() == 32
    np.testing.assert_array_equal(indices[0, 2:4, 2:4], [[0, 1], [2, 3]])


@pytest.mark.parametrize("kernel, stride, padding", [((2, 2), (2, 2), (0, 0)), ((3, 3), (2, 2), (1, 1)),
                                                     ((4, 4), (1, 1), (2, 2))])
def test_with_and_without_places_the_same_bits(kernel, stride, padding, rng):
    """NaN is larger than all, and of 0 and -0 the first counts."""
    x = rng.choice(np.array([-np.inf, -1, -0.0, 0.0, np.nan], np.float32), (1, 20, 40), p=[0.05, 0.25, 0.4, 0.25, 0.05])
    shape = (1, *_output_size(x[None], kernel, stride, padding, (1, 1), False))
    alone, y, indices = np.empty(shape, x.dtype), np.empty(shape, x.dtype), np.empty(shape, np.int64)
    pool.max_pool2d(alone, x, kernel, (*stride, *padding, 1, 1))
    pool.max_pool2d_with_indices(y, indices, x, kernel, (*stride, *padding, 1, 1))
    assert np.isnan(y).any() and (np.signbit(y) & (y == 0)).any() and (~np.signbit(y) & (y == 0)).any()
    np.testing.assert_array_equal(alone.view(np.int32), y.view(np.int32))
    np.testing.assert_array_equal(y.view(np.int32), x.ravel()[indices].view(np.int32))
