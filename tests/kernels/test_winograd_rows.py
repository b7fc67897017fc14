"""Winograd's algorithm along columns alone: every border against the readable kernels, errors, and the same bits."""
import numpy as np
import pytest
from kernels.test_conv_direct import between_guards, calls_of
from kernels.threads import needs_two, using

from tinyseg.kernels import conv, simd, simd_memory, winograd_rows

pytestmark = pytest.mark.skipif(not simd.COMPILED, reason="there are no vectors in Python")
SHAPES = [                                                  # (N, C of a group, H, W of the output), O, groups, padding
    ((2, 3, 64, 96), 16, 1, (1, 1)),                        # an image
    ((1, 1, 2, 16), 1, 1, (1, 1)),                          # one pair of rows, fewer vectors than a tile has
    ((3, 5, 6, 32), 7, 1, (0, 0)),                          # the valid ones, outputs that fill no tile
    ((1, 2, 4, 48), 18, 3, (2, 3)),                         # groups, and taps that see no pixel
    ((1, 4, 8, 16), 3, 2, (4, 0)),                          # rows that see no pixel
    ((2, 3, 70, 128), 9, 1, (1, 1)),                        # bands, one of them shorter
    ((1, 70, 36, 32), 20, 1, (1, 1)),                       # so many channels that bands are short
    ((0, 3, 4, 16), 8, 1, (1, 1)),                          # no image
]


def arguments(shape, outputs, groups, padding, rng, dtype=np.float32):
    (n, c, *out), size = shape, [k + 2 - 2 * p for k, p in zip(shape[2:], padding)]
    shapes = (n, groups * c, *size), (groups * outputs, c, 3, 3), (n, groups * outputs, *out)
    return {task: call[:2] for task, call in calls_of(rng, dtype, shapes, (1, 1, *padding, 1, 1)).items()}


def fits(size):
    return size[2] % 2 == 0 and size[3] % simd.lanes_of(np.empty(0, np.float32)) == 0


@pytest.mark.parametrize("layer", SHAPES, ids=str)
def test_equals_the_readable_one(layer, rng):
    for task, (size, call) in arguments(*layer, rng).items():
        if task == "conv2d_input_grad" and not fits(size):
            continue
        result, memory = between_guards(size, np.float32)
        getattr(winograd_rows, task)(result, *call)
        expected = np.empty(size, np.float32)
        getattr(conv, task)(expected, *call)
        atol = 5e-6 * abs(expected).max(initial=1)
        np.testing.assert_allclose(result, expected, rtol=0, atol=atol, err_msg=task)
        assert np.isnan(memory[:128]).all() and np.isnan(memory[-128:]).all(), task


@pytest.mark.parametrize("begin", [128, 129])              # at a line of memory, and beside one
def test_results_that_go_past_the_caches(begin, rng):
    size, call = arguments((1, 3, 130, 256), 17, 1, (1, 1), rng)["conv2d"]
    expected = np.empty(size, np.float32)
    conv.conv2d(expected, *call)
    assert expected.nbytes > simd_memory.NEAR
    result, memory = between_guards(size, np.float32, begin)
    winograd_rows.conv2d(result, *call)
    np.testing.assert_allclose(result, expected, rtol=0, atol=5e-6 * abs(expected).max())
    assert np.isnan(memory[:begin]).all() and np.isnan(memory[begin + expected.size:]).all()


@pytest.mark.parametrize("padding", range(4))
def test_the_input_gradient_at_every_padding(padding, rng):
    """Of images whose own rows are pairs of whole vectors; the rows of the output need not be."""
    image, out = (2, 6, 10, 32), (2, 10, 8 + 2 * padding, 30 + 2 * padding)
    size, call, _ = calls_of(rng, np.float32, (image, (10, 6, 3, 3), out), (1, 1, padding, padding, 1, 1))["conv2d_input_grad"]
    result, expected = np.empty(size, np.float32), np.empty(size, np.float32)
    winograd_rows.conv2d_input_grad(result, *call)
    conv.conv2d_input_grad(expected, *call)
    np.testing.assert_allclose(result, expected, rtol=0, atol=5e-6 * abs(expected).max())


def test_errors_are_as_small_as_the_definitions(rng):
    """max|error| / max|value| against float64, with inputs after a ReLU."""
    for task, (size, (x, *others)) in arguments((4, 32, 64, 64), 32, 1, (1, 1), rng).items():
        x = np.maximum(x, 0)
        errors, exact = [], np.empty(size)
        getattr(conv, task)(exact, *(a.astype(float) if isinstance(a, np.ndarray) else a for a in (x, *others)))
        for kernels in (winograd_rows, conv):
            result = np.empty(size, np.float32)
            getattr(kernels, task)(result, x, *others)
            errors.append(abs(result - exact).max() / abs(exact).max())
        assert errors[0] <= max(2 * errors[1], 2e-6), task


@needs_two
def test_the_same_bits_with_one_and_two_threads(rng):
    for task, (size, call) in arguments((2, 8, 32, 32), 24, 2, (1, 1), rng).items():
        results = []
        for threads in (1, 2, 2):
            with using(threads):
                results.append(np.empty(size, np.float32))
                getattr(winograd_rows, task)(results[-1], *call)
        np.testing.assert_array_equal(results[0], results[1], err_msg=task)
        np.testing.assert_array_equal(results[1], results[2], err_msg=f"{task}, a second time")
