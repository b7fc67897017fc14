"""Sums over channels: as exact as NumPy's, whatever the shape."""
import numpy as np
import pytest

from tinyseg.kernels.sums import channel_sums


@pytest.mark.parametrize("dtype, bound", [(np.float32, 1e-6), (np.float64, 1e-15)])
@pytest.mark.parametrize("shape", [(2, 3, 20000), (5, 1, 7), (1, 40, 1), (0, 3, 4), (2, 0, 4)], ids=str)
def test_sums_of_channels(shape, dtype, bound, rng):
    x = rng.standard_normal(shape).astype(dtype)
    sums = np.full(shape[1], np.nan, dtype)
    channel_sums(sums, x)
    exact, magnitude = x.sum(axis=(0, 2), dtype=np.longdouble), abs(x).sum(axis=(0, 2))
    assert (abs(sums - exact) <= bound * magnitude).all()
