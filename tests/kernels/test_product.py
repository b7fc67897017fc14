"""Products whose results go past the caches: as the readable kernels, nothing beside the result, wherever that begins."""
import numpy as np
import pytest
from kernels.test_conv_direct import between_guards
from kernels.threads import using

from tinyseg.kernels import conv, product, simd

pytestmark = pytest.mark.skipif(not simd.COMPILED, reason="there are no vectors in Python")
LAYERS = {                                      # (N, C, H, W), (O, KH, KW), stride; y or dx is larger than simd_memory.NEAR
    "1x1, few outputs": ((1, 5, 192, 256), (12, 1, 1), (1, 1)),
    "1x1, rows that are no vectors": ((1, 5, 216, 250), (12, 1, 1), (1, 1)),
    "1x1, many outputs": ((3, 7, 96, 96), (21, 1, 1), (1, 1)),
    "2x2, whose rows are zipped": ((1, 5, 320, 416), (4, 2, 2), (2, 2)),
    "2x2, in a larger stride": ((1, 5, 320, 416), (4, 2, 2), (2, 3)),
}


@pytest.mark.parametrize("task", ["conv2d", "conv2d_input_grad"])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_results(name, task, dtype, rng):
    image, (outputs, *kernel), stride = LAYERS[name]
    output = (image[0], outputs, *((size - k) // s + 1 for size, k, s in zip(image[2:], kernel, stride)))
    source, shape = (image, output) if task == "conv2d" else (output, image)
    x, bias = rng.standard_normal(source).astype(dtype), rng.standard_normal(shape[1]).astype(dtype)
    arguments = x, rng.standard_normal((outputs, image[1], *kernel)).astype(dtype), bias, (*stride, 0, 0, 1, 1)
    expected, results = np.empty(shape, dtype), []
    getattr(conv, task)(expected, *arguments)
    for begin, threads in ((128, 1), (128, 2), (129, 1)):                    # at a line of memory, and beside one
        result, memory = between_guards(shape, dtype, begin)
        with using(threads):
            getattr(product, task)(result, *arguments)
        np.testing.assert_allclose(result, expected, rtol=0, atol={"f": 1e-5, "d": 1e-13}[x.dtype.char] * abs(expected).max())
        assert np.isnan(memory[:begin]).all() and np.isnan(memory[begin + expected.size:]).all()
        results.append(result)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
