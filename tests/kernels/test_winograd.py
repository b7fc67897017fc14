"""Winograd's algorithms: the matrices, every shape against the readable kernels, errors against float64, and the same bits."""
import numpy as np
import pytest
from kernels.test_conv_direct import between_guards
from kernels.threads import needs_two, using

from tinyseg.kernels import conv, simd, simd_memory, winograd, winograd_tiles

pytestmark = pytest.mark.skipif(not simd.COMPILED, reason="there are no vectors in Python")
ALGORITHMS = {2: winograd.f2, 4: winograd.f4}
by_m = pytest.mark.parametrize("m", ALGORITHMS)
SHAPES = [                                                  # (N, C, H, W), O, padding, dilation
    ((2, 16, 16, 16), 16, (1, 1), (1, 1)),                  # whole tiles, whole vectors
    ((1, 1, 1, 1), 1, (1, 1), (1, 1)),                      # one pixel
    ((3, 17, 5, 7), 33, (1, 1), (1, 1)),                    # rows shorter than a vector; one channel and one output too many
    ((1, 20, 3, 70), 5, (0, 0), (1, 1)),                    # one row of outputs, the valid ones
    ((2, 5, 37, 2), 40, (1, 2), (1, 1)),                    # columns fewer than a tile, uneven padding
    ((1, 8, 19, 21), 16, (4, 3), (1, 1)),                   # tiles that see no pixel
    ((1, 16, 6, 580), 16, (1, 0), (1, 1)),                  # a row of tiles is cut into parts, one of them smaller
    ((9, 40, 8, 8), 70, (1, 1), (1, 1)),                    # many images in a task
    ((0, 16, 8, 8), 16, (1, 1), (1, 1)),                    # no image
    ((3, 20, 64, 72), 40, (1, 1), (1, 1)),                  # tiles are divided into parts, whose weight gradients are added up
    ((2, 16, 15, 18), 16, (2, 2), (2, 2)),                  # dilated, with tiles that go over the border
    ((1, 8, 40, 9), 8, (0, 4), (4, 3)),                     # a dilation for each axis, and no padding in one
    ((1, 3, 5, 260), 3, (2, 0), (2, 4)),
    ((2, 24, 31, 45), 40, (6, 12), (6, 12)),                # phases of different height, several in a block
    ((1, 16, 45, 60), 16, (18, 18), (18, 18)),              # phases smaller than a tile of 4x4
    ((2, 5, 7, 30), 4, (9, 40), (9, 40)),                   # rates beyond the image: some phases have no pixel
    ((1, 4, 70, 6), 17, (5, 5), (5, 5)),                    # narrow, so that a row is less than a vector
    ((1, 2, 3, 500), 2, (150, 150), (150, 150)),            # a row of tiles larger than a block
]


def arguments(shape, outputs, padding, dilation, rng):
    """{task: (shape of the result, arguments)}"""
    x, w = rng.standard_normal(shape, np.float32), rng.standard_normal((outputs, shape[1], 3, 3), np.float32)
    size = [n + 2 * p - 2 * d for n, p, d in zip(shape[2:], padding, dilation)]
    dy = rng.standard_normal((shape[0], outputs, *size), np.float32)
    b, c = rng.standard_normal(outputs, np.float32), rng.standard_normal(shape[1], np.float32)
    geometry = (1, 1, *padding, *dilation)
    return {"conv2d": (dy.shape, (x, w, b, geometry)), "conv2d_input_grad": (x.shape, (dy, w, c, geometry)),
            "conv2d_weight_grad": (w.shape, (x, dy, geometry))}


def product(factors):
    return np.linalg.multi_dot([np.eye(len(factors[0])), *map(np.array, factors)])


@by_m
def test_the_matrices_make_a_correlation(m, rng):
    """y = Aᵀ [(G g) ⊙ (Bᵀ d)], for every g and d since it is so for the basis vectors."""
    inputs, kernel, output = (product(getattr(winograd_tiles, f"{name}{m}")) for name in ("INPUT", "KERNEL", "OUTPUT"))
    bilinear = np.einsum("yk,kg,kd->ygd", output, kernel, inputs)
    expected = np.array([[[i + u == k for k in range(m + 2)] for u in range(3)] for i in range(m)])
    np.testing.assert_allclose(bilinear, expected, atol=1e-14)


@by_m
@pytest.mark.parametrize("layer", SHAPES, ids=str)
def test_equals_the_readable_one(m, layer, rng):
    for task, (size, call) in arguments(*layer, rng).items():
        result, memory = between_guards(size, np.float32)
        getattr(ALGORITHMS[m], task)(result, *call)
        expected = np.empty(size, np.float32)
        getattr(conv, task)(expected, *call)
        atol = 1e-5 * abs(expected).max(initial=1)
        np.testing.assert_allclose(result, expected, rtol=0, atol=atol, err_msg=task)
        assert np.isnan(memory[:128]).all() and np.isnan(memory[-128:]).all(), task


@by_m
@pytest.mark.parametrize("begin", [128, 129])              # at a line of memory, and beside one
@pytest.mark.parametrize("size", [(130, 256), (182, 200)])  # rows that are whole vectors, and rows that are not
def test_results_that_go_past_the_caches(m, begin, size, rng):
    for task, (shape, call) in arguments((1, 17, *size), 17, (1, 1), (1, 1), rng).items():
        if task != "conv2d_weight_grad":
            expected, (result, memory) = np.empty(shape, np.float32), between_guards(shape, np.float32, begin)
            getattr(ALGORITHMS[m], task)(result, *call)
            getattr(conv, task)(expected, *call)
            assert expected.nbytes > simd_memory.NEAR
            np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5 * abs(expected).max(), err_msg=task)
            assert np.isnan(memory[:begin]).all() and np.isnan(memory[begin + expected.size:]).all(), task


@by_m
@pytest.mark.parametrize("rate", [1, 6])
def test_errors_are_small(m, rate, rng):
    """max|error| / max|value| against float64, with inputs after a ReLU, many channels, and weights as they are drawn."""
    limits = {"conv2d": {2: 2e-6, 4: 2e-5}, "conv2d_input_grad": {2: 2e-6, 4: 2e-5}, "conv2d_weight_grad": {2: 1e-5, 4: 1e-5}}
    for task, (size, (x, *others)) in arguments((2, 256, 16, 16), 128, (rate, rate), (rate, rate), rng).items():
        x = np.maximum(x, 0)
        result, exact = np.empty(size, np.float32), np.empty(size)
        getattr(ALGORITHMS[m], task)(result, x, *others)
        getattr(conv, task)(exact, *(a.astype(float) if isinstance(a, np.ndarray) else a for a in (x, *others)))
        assert abs(result - exact).max() <= limits[task][m] * abs(exact).max(), task


@needs_two
@by_m
def test_the_same_bits_with_one_and_two_threads(m, rng):
    for layer in SHAPES:
        for task, (size, call) in arguments(*layer, rng).items():
            results = []
            for threads in (1, 2, 2):
                with using(threads):
                    results.append(np.empty(size, np.float32))
                    getattr(ALGORITHMS[m], task)(results[-1], *call)
            np.testing.assert_array_equal(results[0], results[1], err_msg=f"{task} {layer}")
            np.testing.assert_array_equal(results[1], results[2], err_msg=f"{task} {layer}, a second time")
