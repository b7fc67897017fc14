"""Batch normalisation of arrays that are too large for the caches has the bits of small ones."""
import numpy as np
import pytest

from tinyseg import buffers
from tinyseg.kernels import norm, simd

pytestmark = pytest.mark.skipif(not simd.COMPILED, reason="arrays so large take minutes in Python")


def normalised(x, dy, channels):
    """The result and all gradients, of some channels alone."""
    x, dy = (np.ascontiguousarray(a[:, channels]) for a in (x, dy))
    y, dx, number = buffers.empty_like(x), buffers.empty_like(x), x.dtype.type
    statistics, (dweight, dbias, weight, bias) = np.ones((5, x.shape[1]), x.dtype), np.ones((4, x.shape[1]), x.dtype)
    bounds = number(0), number(2)
    norm.normalise(y, statistics, x, weight, bias, number(1e-5), *bounds)
    norm.normalise_grad(dx, dweight, dbias, dy, x, statistics, *bounds, True)
    return y, dx, dweight, dbias


@pytest.mark.parametrize("rest", [0, 16, 3])                    # of a row, behind whole blocks: lines, or parts of one
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_streaming_changes_no_bit(dtype, rest, rng):
    size = norm.FAR // np.dtype(dtype).itemsize // 6 // norm.BLOCK * norm.BLOCK + norm.BLOCK + rest
    x, dy = rng.standard_normal((2, 2, 3, size)).astype(dtype)
    assert x.nbytes > norm.FAR
    y, dx, dweight, dbias = normalised(x, dy, slice(None))
    for c in range(3):
        for whole, alone in zip((y[:, c:c + 1], dx[:, c:c + 1], dweight[c], dbias[c]), normalised(x, dy, slice(c, c + 1))):
            np.testing.assert_array_equal(whole, alone)
