"""Depthwise convolution is the readable one, with channels side by side and with rows of whole vectors, at every border."""
import numpy as np
import pytest
from kernels.threads import needs_two, using

from tinyseg.kernels import conv, conv_depthwise, depthwise_halves, depthwise_rows, simd

pytestmark = pytest.mark.skipif(not simd.COMPILED, reason="there are no vectors in Python")
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-13}
TASKS = ("conv2d", "conv2d_input_grad", "conv2d_weight_grad")


def arguments(rng, dtype, image, kernel, geometry, after):
    """{task: (shape of the result, its arguments)}; padding is geometry's before, and `after` behind."""
    (n, c, *size), (sh, sw, top, left, dh, dw) = image, geometry
    out = [(size[a] + before + after[a] - d * (kernel[a] - 1) - 1) // s + 1
           for a, (before, d, s) in enumerate(((top, dh, sh), (left, dw, sw)))]
    x, w, dy = (rng.standard_normal(shape).astype(dtype) for shape in (image, (c, 1, *kernel), (n, c, *out)))
    b = rng.standard_normal(c).astype(dtype)
    return {"conv2d": (dy.shape, (x, w, b, geometry)), "conv2d_input_grad": (x.shape, (dy, w, b, geometry)),
            "conv2d_weight_grad": (w.shape, (x, dy, geometry))}


def compute(kernels, task, shape, given):
    """Between guards: nothing beside the result is written."""
    size = int(np.prod(shape))
    memory = np.full(size + 256, np.nan, given[0].dtype)
    result = memory[128:128 + size].reshape(shape)
    getattr(kernels, task)(result, *given)
    assert np.isnan(memory[:128]).all() and np.isnan(memory[128 + size:]).all()
    return result


def draw(rng, lanes):
    """Half of them 3x3 at stride 1, with rows of whole vectors where the padding keeps them, and a fifth at stride 2."""
    kernel, stride, dilation = (rng.integers(1, 6, 2), rng.integers(1, 5, 2), rng.integers(1, 4, 2))
    before, after = rng.integers(0, 5, 2), rng.integers(0, 5, 2)
    size = dilation * (kernel - 1) + rng.integers(1, 24, 2)
    if rng.random() < 0.5:
        kernel, stride, dilation = np.array([3, 3]), np.array([1, 1]), rng.integers(1, 4, 2)
        before = after = dilation * rng.integers(0, 4, 2)
        after = 2 * dilation - before if (before <= 2 * dilation).all() and rng.random() < 0.9 else after
        size = np.array([2 * dilation[0] + rng.integers(1, 24), lanes * rng.integers(1, 4)])
    elif rng.random() < 0.4:
        kernel, stride, dilation, before, after = (np.array(k) for k in ((3, 3), (2, 2), (1, 1), (1, 1), (0, 0)))
        size = 2 * np.array([rng.integers(1, 70), lanes * rng.integers(1, 4)])
    image = (int(rng.integers(1, 4)), int(rng.choice([1, 2, lanes - 1, lanes, lanes + 3, 3 * lanes])), *map(int, size))
    geometry = tuple(int(v) for v in (*stride, *before, *dilation))
    return image, tuple(int(v) for v in kernel), geometry, tuple(int(v) for v in after)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_equals_the_readable_one(dtype):
    rng, lanes, by_rows, by_halves, counted = np.random.default_rng(0), simd.lanes_of(np.empty(0, dtype)), 0, 0, 0
    while counted < 250:
        image, kernel, geometry, after = draw(rng, lanes)
        if any(n + p + q < d * (k - 1) + 1 for n, p, q, d, k in zip(image[2:], geometry[2:], after, geometry[4:], kernel)):
            continue
        counted += 1
        for task, (shape, given) in arguments(rng, dtype, image, kernel, geometry, after).items():
            expected = np.empty(shape, dtype)
            getattr(conv, task)(expected, *given)
            atol = TOLERANCE[dtype] * max(1, abs(expected).max())
            np.testing.assert_allclose(compute(conv_depthwise, task, shape, given), expected, rtol=0, atol=atol,
                                       err_msg=f"{task} {image} {kernel} {geometry} {after}")
            if task == "conv2d":
                by_rows += depthwise_rows.suits(shape[2:], image[2:], kernel, geometry, False, lanes)
                by_halves += depthwise_halves.halves(image[2:], shape[2:], kernel, geometry, lanes)
    assert 50 < by_rows < 200 and 20 < by_halves < 100


@needs_two
@pytest.mark.parametrize("image", [(2, 20, 90, 64), (1, 20, 90, 96), (1, 40, 70, 71)])
@pytest.mark.parametrize("stride", [1, 2])
def test_large_images_are_computed_in_bands_with_the_same_bits_at_one_and_two_threads(rng, image, stride):
    for task, (shape, given) in arguments(rng, np.float32, image, (3, 3), (stride, stride, 1, 1, 1, 1), (1, 1)).items():
        results = []
        for threads in (1, 2):
            with using(threads):
                results.append(compute(conv_depthwise, task, shape, given))
        np.testing.assert_array_equal(*results)
        expected = np.empty(shape, np.float32)
        getattr(conv, task)(expected, *given)
        np.testing.assert_allclose(results[0], expected, rtol=0, atol=2e-5 * abs(expected).max())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("stride", [1, 2])
def test_what_is_not_a_number_goes_where_the_definition_says(rng, value, stride):
    """Also from the kernel: a tap that does not meet a pixel does not spoil its gradient."""
    for width in (5, 32):
        calls = arguments(rng, np.float32, (2, 20, 8, width), (3, 3), (stride, stride, 1, 1, 1, 1), (1, 1))
        for task, (shape, given) in calls.items():
            given[0][1, 3, 1, 1] = value
            expected = np.empty(shape, np.float32)
            getattr(conv, task)(expected, *given)
            result = compute(conv_depthwise, task, shape, given)
            np.testing.assert_array_equal(np.isfinite(result), np.isfinite(expected))
            np.testing.assert_array_equal(np.isnan(result), np.isnan(expected))
        if stride == 2:                                    # but for the last row and column, whose taps meet padding
            shape, (dy, w, b, geometry) = calls["conv2d_input_grad"]
            dy[:], w[4, 0, 0, 0] = 1, value
            expected = np.empty(shape, np.float32)
            conv.conv2d_input_grad(expected, dy, w, b, geometry)
            result = compute(conv_depthwise, "conv2d_input_grad", shape, (dy, w, b, geometry))
            np.testing.assert_array_equal(np.isfinite(result[..., :-1, :-1]), np.isfinite(expected[..., :-1, :-1]))


@pytest.mark.parametrize("task", TASKS)
def test_a_batch_of_none(rng, task):
    for width in (5, 32):
        shape, given = arguments(rng, np.float32, (0, 20, 8, width), (3, 3), (1, 1, 1, 1, 1, 1), (1, 1))[task]
        np.testing.assert_array_equal(compute(conv_depthwise, task, shape, given), np.zeros(shape))
