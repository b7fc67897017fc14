"""The separable blur, in vectors and without, against the matrix of all pairs."""
import numpy as np
import pytest

from tinyseg.kernels import separable, simd


@pytest.mark.parametrize("body", ["band_in_vectors", "band_row_by_row"])
@pytest.mark.parametrize("dtype, error", [(np.float32, 1e-5), (np.float64, 1e-13)])
@pytest.mark.parametrize("height, width, radius", [(1, 1, 0), (5, 7, 2), (3, 130, 9), (67, 101, 4), (64, 96, 80)])
def test_it_weighs_all_pixels_by_their_distance(rng, monkeypatch, body, dtype, error, height, width, radius):
    if body == "band_in_vectors" and not simd.COMPILED:
        pytest.skip("vectors are compiled")
    monkeypatch.setattr(separable.simd, "COMPILED", body == "band_in_vectors")
    x = rng.standard_normal((2, height, width)).astype(dtype)
    before, after = rng.uniform(0.5, 2, (2, height, width)).astype(dtype)
    taps = np.exp(-np.linspace(-1, 1, 2 * radius + 1) ** 2).astype(dtype) / (2 * radius + 1)

    def weights(size):
        distance = abs(np.arange(size)[:, None] - np.arange(size))
        return np.where(distance <= radius, taps[np.minimum(distance, radius) + radius], 0)
    y = np.full_like(x, np.nan)
    separable.separable_blur(y, x, taps, before, after)
    np.testing.assert_allclose(y, after * (weights(height) @ (before * x) @ weights(width)), rtol=0, atol=error)
