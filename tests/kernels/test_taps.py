"""Convolution tap by tap: every shape against the readable kernels, what no tap sees, and the same bits."""
import numpy as np
import pytest
from kernels.test_conv_direct import TOLERANCE, between_guards
from kernels.threads import needs_two, using

from tinyseg.kernels import conv, simd, taps

pytestmark = pytest.mark.skipif(not simd.COMPILED, reason="there are no vectors in Python")
SHAPES = [                                                  # (N, C, H, W), (O, KH, KW), geometry
    ((4, 16, 16, 16), (24, 3, 3), (1, 1, 6, 6, 6, 6)),      # nine taps with overlaps
    ((2, 70, 12, 12), (8, 3, 3), (1, 1, 24, 24, 24, 24)),   # one: the rate is beyond the image
    ((3, 150, 4, 4), (17, 7, 7), (1, 1, 3, 3, 1, 1)),       # a kernel larger than the map; channels in two blocks
    ((1, 9, 45, 60), (40, 3, 3), (1, 1, 36, 36, 36, 36)),   # bands of one image
    ((2, 8, 5, 37), (9, 2, 5), (1, 1, 0, 8, 1, 4)),         # uneven padding, fewer pixels at the right than at the left
    ((2, 12, 19, 8), (11, 3, 1), (3, 2, 9, 0, 8, 1)),       # strides: rows and columns that nothing sees
    ((2, 8, 3, 3), (8, 2, 2), (1, 1, 9, 9, 20, 20)),        # no tap sees the image
    ((0, 8, 6, 6), (8, 3, 3), (1, 1, 4, 4, 4, 4)),          # no image
    ((9, 8, 1, 1), (8, 5, 5), (1, 1, 2, 2, 1, 1)),          # one pixel
    ((1, 40, 9, 9), (33, 15, 15), (1, 1, 7, 7, 1, 1)),      # more taps than fit with all channels; a last panel of one vector
]


def calls(shape, kernel, geometry, dtype, rng):
    """{task: (shape of the result, arguments)}"""
    w = rng.standard_normal((kernel[0], shape[1], *kernel[1:])).astype(dtype)
    size = [(n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(shape[2:], kernel[1:], geometry[:2], geometry[2:4], geometry[4:])]
    x, dy = (rng.standard_normal(s).astype(dtype) for s in (shape, (shape[0], kernel[0], *size)))
    b, c = (rng.standard_normal(count).astype(dtype) for count in (kernel[0], shape[1]))
    return {"conv2d": (dy.shape, (x, w, b, geometry)), "conv2d_input_grad": (x.shape, (dy, w, c, geometry)),
            "conv2d_weight_grad": (w.shape, (x, dy, geometry))}


def random_shapes(count, rng):
    while count:
        kernel, stride, dilation, padding, size = ([int(v) for v in rng.integers(1, high, 2)] for high in (8, 4, 14, 20, 20))
        stride = stride if rng.random() < 0.4 else [1, 1]
        if all(n + 2 * p > d * (k - 1) for n, p, d, k in zip(size, padding, dilation, kernel)):
            channels, outputs = (int(n) for n in rng.choice([8, 9, 16, 40, 70, 130], 2))
            yield (int(rng.integers(1, 5)), channels, *size), (outputs, *kernel), (*stride, *padding, *dilation)
            count -= 1


def equals_the_readable_one(layer, dtype, rng):
    for task, (shape, arguments) in calls(*layer, dtype, rng).items():
        result, memory = between_guards(shape, dtype)
        getattr(taps, task)(result, *arguments)
        expected = np.empty(shape, dtype)
        getattr(conv, task)(expected, *arguments)
        atol = TOLERANCE[dtype] * abs(expected).max(initial=1)
        np.testing.assert_allclose(result, expected, rtol=0, atol=atol, err_msg=f"{task} {layer}")
        assert np.isnan(memory[:128]).all() and np.isnan(memory[-128:]).all(), (task, layer)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("layer", SHAPES, ids=str)
def test_equals_the_readable_one(layer, dtype, rng):
    equals_the_readable_one(layer, dtype, rng)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_random_shapes_equal_the_readable_one(dtype, rng):
    for layer in random_shapes(40, rng):
        equals_the_readable_one(layer, dtype, rng)


@needs_two
def test_the_same_bits_with_one_and_two_threads(rng):
    for layer in SHAPES:
        for task, (shape, arguments) in calls(*layer, np.float32, rng).items():
            results = []
            for threads in (1, 2):
                with using(threads):
                    results.append(np.empty(shape, np.float32))
                    getattr(taps, task)(results[-1], *arguments)
            np.testing.assert_array_equal(*results, err_msg=f"{task} {layer}")


def test_weights_of_taps_that_see_no_pixel_do_not_show(rng):
    shape, (x, w, b, geometry) = calls((1, 8, 4, 4), (8, 3, 3), (1, 1, 9, 9, 9, 9), np.float32, rng)["conv2d"]
    only_centre = np.full_like(w, np.inf)
    only_centre[:, :, 1, 1] = w[:, :, 1, 1]
    result, expected = np.empty(shape, np.float32), np.empty(shape, np.float32)
    taps.conv2d(result, x, only_centre, b, geometry)
    conv.conv2d(expected, x, w, b, geometry)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)
