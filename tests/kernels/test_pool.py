"""Max pooling: planes that are pooled in several bands, the places and the gradient, against the readable formula."""
import numpy as np
import pytest

from tinyseg.kernels import pool_max, pool_places
from tinyseg.ops.pool import MaxPool2d, _output_size

SHAPES = [                                                  # (H, W), kernel, stride, padding, dilation
    ((130, 41), (3, 3), (2, 2), (1, 1), (1, 1)),            # three bands
    ((67, 35), (3, 3), (1, 1), (1, 1), (1, 1)),
    ((66, 70), (2, 2), (2, 2), (0, 0), (1, 1)),
    ((7, 41), (2, 2), (2, 2), (0, 0), (1, 1)),              # a row and a column that are in no window
    ((70, 50), (2, 3), (1, 3), (1, 1), (4, 3)),             # every axis different
    ((3, 2300), (3, 3), (1, 1), (1, 1), (1, 1)),            # a row longer than a band
    ((5, 1), (3, 3), (2, 2), (1, 1), (1, 1)),               # columns that the first phase alone sees
    ((140, 31), (5, 4), (2, 3), (2, 2), (1, 1)),            # more taps than three; rows below the image where others were above
    ((9, 2), (3, 5), (1, 4), (1, 2), (1, 1)),               # a stride beyond the width
    ((17, 19), (15, 17), (2, 2), (7, 8), (1, 1)),           # as many taps as a byte can number
    ((17, 19), (16, 16), (1, 2), (8, 8), (1, 1)),           # and one more
]


def pooled(x, kernel, stride, padding, dilation=(1, 1)):
    """(values, taps, indices) of x (N, H, W)."""
    geometry = (*stride, *padding, *dilation)
    y = np.empty((len(x), *_output_size(x[None], kernel, stride, padding, dilation, False)), x.dtype)
    taps = np.empty(y.shape, np.uint8 if kernel[0] * kernel[1] <= 255 else np.int32)
    indices, alone = np.empty(y.shape, np.int64), np.empty_like(y)
    pool_max.max_pool2d(y, taps, x, kernel, geometry)
    pool_max.max_pool2d(alone, None, x, kernel, geometry)
    assert alone.tobytes() == y.tobytes()
    pool_places.max_pool2d_indices(indices, taps, x.shape[2], kernel, geometry)
    return y, taps, indices


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size, kernel, stride, padding, dilation", SHAPES, ids=str)
def test_equals_the_readable_one(size, kernel, stride, padding, dilation, dtype, rng, monkeypatch):
    settings = dict(kernel_size=kernel, stride=stride, padding=padding, dilation=dilation, ceil_mode=False,
                    return_indices=True)
    x = rng.integers(0, 9, (1, 1, *size)).astype(dtype)                                  # many are equal
    x[0, 0, :2, :4], x[0, 0, size[0] // 2:] = -np.inf, -np.inf
    expected, places = MaxPool2d.reference(x, **settings)
    y, taps, indices = pooled(x[0], kernel, stride, padding, dilation)
    np.testing.assert_array_equal(y, expected[0])
    np.testing.assert_array_equal(indices, places[0])

    dy = rng.integers(-9, 10, y.shape).astype(dtype)                                     # sums are exact
    added = np.zeros(size[0] * size[1], dtype)
    np.add.at(added, places.ravel(), dy.ravel())
    for selects in (True, False):                                                        # what the CPU is good at
        monkeypatch.setattr(pool_places, "SELECTS", selects)
        dx = np.full((1, *size), np.nan, dtype)
        pool_places.max_pool2d_grad(dx, dy, taps, kernel, (*stride, *padding, *dilation))
        np.testing.assert_array_equal(dx.ravel(), added)


@pytest.mark.parametrize("kernel, dilation, number", [((1, 1), (1, 1), 1), ((1, 16), (1, 5), 16), ((16, 16), (5, 5), 256)])
def test_windows_without_a_pixel_have_no_place_and_no_gradient(kernel, dilation, number):
    x, padding = np.ones((1, 2, 2)), [2 + d * (k - 1) for k, d in zip(kernel, dilation)]
    y, taps, indices = pooled(x, kernel, (1, 1), padding, dilation)
    nowhere = np.isneginf(y)
    assert 0 < nowhere.sum() < y.size
    np.testing.assert_array_equal(nowhere, indices == -1)
    np.testing.assert_array_equal(nowhere, taps == number)
    dx = np.empty_like(x)
    pool_places.max_pool2d_grad(dx, np.ones_like(y), taps, kernel, (1, 1, *padding, *dilation))
    np.testing.assert_array_equal(dx.ravel(), np.bincount(indices[~nowhere]))


@pytest.mark.parametrize("kernel, stride, padding", [((2, 2), (2, 2), (0, 0)), ((3, 3), (2, 2), (1, 1)),
                                                     ((4, 4), (1, 1), (2, 2))])
def test_nan_is_larger_than_all_and_of_equal_ones_the_first_counts(kernel, stride, padding, rng):
    """So does 0 before -0, and -0 before 0."""
    x = rng.choice(np.array([-np.inf, -1, -0.0, 0.0, np.nan], np.float32), (1, 20, 40), p=[0.05, 0.25, 0.4, 0.25, 0.05])
    y, taps, indices = pooled(x, kernel, stride, padding)
    assert np.isnan(y).any() and (np.signbit(y) & (y == 0)).any() and (~np.signbit(y) & (y == 0)).any()
    np.testing.assert_array_equal(y.view(np.int32), x.ravel()[indices].view(np.int32))
    for (_, i, j), place in np.ndenumerate(indices):
        best, expected = -np.inf, None
        for h in range(max(0, i * stride[0] - padding[0]), min(20, i * stride[0] - padding[0] + kernel[0])):
            for w in range(max(0, j * stride[1] - padding[1]), min(40, j * stride[1] - padding[1] + kernel[1])):
                if expected is None or x[0, h, w] > best or np.isnan(x[0, h, w]):
                    best, expected = x[0, h, w], h * 40 + w
        assert place == expected
