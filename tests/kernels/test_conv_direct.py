"""The convolution on register tiles is the readable one, writes nothing beside its result, and is compiled once."""
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from kernels.threads import needs_two, using

from tinyseg import backends, buffers
from tinyseg.kernels import conv, simd

pytestmark = pytest.mark.skipif(not simd.COMPILED, reason="there are no vectors in Python")
FAST = [algorithm for algorithm in backends.CONV2D if algorithm.kernels is not conv]
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-13}


def draw(rng, dtype):
    """Arguments of the three tasks: {task: (shape of the result, its arguments)}, and the `backends.Work` of each."""
    def pair(low, high):
        return tuple(int(v) for v in rng.integers(low, high + 1, 2))

    kernel, stride, padding, dilation = pair(1, 5), pair(1, 3), pair(0, 4), pair(1, 3)
    if rng.random() < 0.4:
        kernel, stride, dilation = (3, 3), (1, 1), (1, 1)
    groups = int(rng.integers(1, 4))
    channels, outputs = (int(rng.choice([1, 2, 3, 5, 8, 40])) for _ in "co")
    if rng.random() < 0.2:
        channels = outputs = 1
    size = tuple(int(rng.integers(d * (k - 1) + 1, d * (k - 1) + 40)) for k, d in zip(kernel, dilation))
    batch = int(rng.integers(1, 5))
    out = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(size, kernel, stride, padding, dilation))
    shapes = (batch, groups * channels, *size), (groups * outputs, channels, *kernel), (batch, groups * outputs, *out)
    return calls_of(rng, dtype, shapes, (*stride, *padding, *dilation))


def draw_product(rng, dtype):
    """The same, with taps that share no pixel: tiny images and large ones, channels that fill no vector and several."""
    stride = ((1, 1), (2, 2), tuple(int(v) for v in rng.integers(1, 4, 2)))[rng.integers(3)]
    kernel = stride if rng.random() < 0.5 else tuple(int(rng.integers(1, s + 1)) for s in stride)
    channels, outputs = (int(rng.choice([1, 2, 3, 12, 16, 17, 33, 40, 64])) for _ in "co")
    out = tuple(int(v) for v in rng.choice([1, 2, 3, 4, 7, 8, 16, 24, 37, 64], 2))
    size = tuple((n - 1) * s + int(rng.integers(k, s + 1)) for n, k, s in zip(out, kernel, stride))
    batch = int(rng.integers(0, 5))
    shapes = (batch, channels, *size), (outputs, channels, *kernel), (batch, outputs, *out)
    return calls_of(rng, dtype, shapes, (*stride, 0, 0, 1, 1))


def draw_strided(rng, dtype):
    """The same without groups, at strides up to 4: outputs that fill no vector and several, taps in and beside the image."""
    def pair(low, high):
        return tuple(int(v) for v in rng.integers(low, high + 1, 2))

    kernel, stride, padding, dilation = pair(1, 6), pair(1, 4), pair(0, 3) if rng.random() < 0.7 else (0, 0), pair(1, 2)
    channels, outputs = (int(rng.choice([1, 3, 7, 12, 16, 21, 33, 40])) for _ in "co")
    size = tuple(int(rng.integers(d * (k - 1) + 1, d * (k - 1) + 40)) for k, d in zip(kernel, dilation))
    out = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(size, kernel, stride, padding, dilation))
    batch = int(rng.integers(0, 5))
    shapes = (batch, channels, *size), (outputs, channels, *kernel), (batch, outputs, *out)
    return calls_of(rng, dtype, shapes, (*stride, *padding, *dilation))


def calls_of(rng, dtype, shapes, geometry):
    x, w, dy = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    b, c = rng.standard_normal(len(w)).astype(dtype), rng.standard_normal(x.shape[1]).astype(dtype)
    calls = {"conv2d": (dy.shape, (x, w, b, geometry)), "conv2d_input_grad": (x.shape, (dy, w, c, geometry)),
             "conv2d_weight_grad": (w.shape, (x, dy, geometry))}
    return {task: (*call, backends.Work(task, *shapes, geometry, x.itemsize)) for task, call in calls.items()}


DRAWN = {"depthwise": draw, "direct": draw, "product": draw_product, "strided": draw_strided}


def between_guards(shape, dtype, begin=128):
    """An array, and the memory that it is a part of, which is NaN otherwise.  A large one begins at a line, if `begin` does."""
    size = int(np.prod(shape))
    memory = buffers.empty((size + 256,), np.dtype(dtype))
    memory[:] = np.nan
    return memory[begin:begin + size].reshape(shape), memory


@pytest.mark.parametrize("algorithm", [a for a in FAST if a.name in DRAWN], ids=lambda a: a.name)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_equals_the_readable_one(algorithm, dtype):
    rng = np.random.default_rng(0)
    compared = dict.fromkeys(["conv2d", "conv2d_input_grad", "conv2d_weight_grad"], 0)
    for _ in range(150):
        for task, (shape, arguments, work) in DRAWN[algorithm.name](rng, dtype).items():
            if algorithm.fits(work):
                result, memory = between_guards(shape, dtype)
                getattr(algorithm.kernels, task)(result, *arguments)
                expected = np.empty(shape, dtype)
                getattr(conv, task)(expected, *arguments)
                atol = TOLERANCE[dtype] * abs(expected).max(initial=1)
                np.testing.assert_allclose(result, expected, rtol=0, atol=atol, err_msg=str(work))
                assert np.isnan(memory[:128]).all() and np.isnan(memory[-128:]).all(), work
                compared[task] += 1
    assert min(compared.values()) > 10


@needs_two
@pytest.mark.parametrize("name, groups, channels, outputs, kernel", [
    ("depthwise", 30, 1, 1, 3), ("product", 1, 70, 40, 2), ("product", 1, 70, 20, 1),
    *((algorithm.name, 1, 24, 20, 3) for algorithm in FAST if algorithm.name not in ("depthwise", "product"))])
def test_the_same_bits_with_one_and_two_threads(name, groups, channels, outputs, kernel):
    """With arrays so large that the work is divided."""
    rng = np.random.default_rng(0)
    kernels, padding = next(a.kernels for a in FAST if a.name == name), int(kernel == 3)
    stride = 2 if kernel == 2 or name == "strided" else 1
    x = rng.standard_normal((3, groups * channels, 50, 48))
    w = rng.standard_normal((groups * outputs, channels, kernel, kernel))
    dy = rng.standard_normal((3, groups * outputs, 50 // stride, 48 // stride))
    x, w, dy = (a.astype(np.float32) for a in (x, w, dy))
    geometry = (stride, stride, padding, padding, 1, 1)
    results = []
    for threads in (1, 2):
        with using(threads):
            y, dx, dw = np.empty_like(dy), np.empty_like(x), np.empty_like(w)
            kernels.conv2d(y, x, w, np.zeros(len(w), np.float32), geometry)
            kernels.conv2d_input_grad(dx, dy, w, np.zeros(x.shape[1], np.float32), geometry)
            kernels.conv2d_weight_grad(dw, x, dy, geometry)
        results.append((y, dx, dw))
    for one, two in zip(*results):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_a_second_process_compiles_nothing(tmp_path):
    code = """if True:
        import numpy as np
        from tinyseg.kernels import conv_direct as kernels, conv_weights
        from tinyseg.kernels.tasks import launcher
        x, w = np.ones((1, 2, 8, 8), np.float32), np.ones((2, 2, 3, 3), np.float32)
        kernels.conv2d(x.copy(), x, w, np.zeros(2, np.float32), (1, 1, 1, 1, 1, 1))
        kernels.conv2d_weight_grad(w.copy(), x, x, (1, 1, 1, 1, 1, 1))
        for kernel in (kernels.correlate_band, conv_weights.weigh_bands):
            print(sum(launcher(kernel).stats.cache_misses.values()))
    """
    for expected in (["1", "1"], ["0", "0"]):
        done = subprocess.run([sys.executable, "-c", code], cwd=pathlib.Path(__file__).parents[2], capture_output=True,
                              text=True, env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)})
        assert done.stdout.split() == expected, done.stderr[-3000:]
