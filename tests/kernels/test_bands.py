"""At a stride, register tiles read the phases of an image: every s-th row and column."""
import numpy as np
import pytest
from kernels.test_conv_direct import TOLERANCE, between_guards
from kernels.threads import using

from tinyseg.kernels import bands, conv, conv_direct, simd

pytestmark = pytest.mark.skipif(not simd.COMPILED, reason="there are no vectors in Python")
LAYERS = [                                                  # (N, G·C, H, W), (G·O, C, KH, KW), geometry
    ((4, 3, 32, 64), (8, 3, 7, 7), (2, 2, 3, 3, 1, 1)),     # the first layer of a ResNet
    ((3, 8, 33, 49), (6, 8, 3, 3), (2, 2, 1, 1, 1, 1)),     # odd sizes
    ((2, 5, 40, 184), (3, 5, 16, 16), (8, 8, 0, 0, 1, 1)),  # the gradient of FCN's last upsampling
    ((2, 6, 30, 70), (4, 3, 4, 5), (3, 2, 0, 5, 1, 2)),     # groups, strides, rates and padding different in both axes
    ((1, 4, 24, 27), (4, 4, 3, 3), (1, 2, 9, 9, 2, 1)),     # a stride along one axis, and more padding than the kernel sees
]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_strided_convolutions_equal_the_readable_ones_at_any_number_of_threads(layer, dtype, rng):
    shape, kernel, geometry = layer
    out = [(n + 2 * p - d * (k - 1) - 1) // s + 1
           for n, k, s, p, d in zip(shape[2:], kernel[2:], geometry[:2], geometry[2:4], geometry[4:])]
    assert bands.keeps_rows(out[1], simd.lanes_of(np.empty(0, dtype)), *geometry[:2], kernel[2] * kernel[3])
    x, w, dy = (rng.standard_normal(s).astype(dtype) for s in (shape, kernel, (shape[0], kernel[0], *out)))
    b, c = rng.standard_normal(kernel[0]).astype(dtype), rng.standard_normal(shape[1]).astype(dtype)
    calls = {"conv2d": (dy.shape, (x, w, b)), "conv2d_input_grad": (x.shape, (dy, w, c)),
             "conv2d_weight_grad": (w.shape, (x, dy))}
    for task, (size, arguments) in calls.items():
        expected = np.empty(size, dtype)
        getattr(conv, task)(expected, *arguments, geometry)
        results = []
        for threads in (1, 2):
            with using(threads):
                result, memory = between_guards(size, dtype)
                getattr(conv_direct, task)(result, *arguments, geometry)
            np.testing.assert_allclose(result, expected, rtol=0, atol=TOLERANCE[dtype] * abs(expected).max(), err_msg=task)
            assert np.isnan(memory[:128]).all() and np.isnan(memory[-128:]).all(), task
            results.append(result)
        np.testing.assert_array_equal(results[0], results[-1])
