"""Images in two arrays: what comes out of a convolution has the same bits as if they had been joined."""
import numpy as np
import pytest
from kernels.test_conv_direct import between_guards

import tinyseg.functional as F
from tinyseg import Tensor, backends
from tinyseg.kernels import simd, winograd
from tinyseg.kernels.side_by_side import SideBySide


@pytest.mark.skipif(not simd.COMPILED, reason="there are no vectors in Python")
@pytest.mark.parametrize("m", [2, 4])
@pytest.mark.parametrize("shape, first, dilation", [
    ((2, 32, 12, 20), 16, 1), ((3, 40, 5, 7), 32, 1),        # rows shorter than a vector; half a vector at the end
    ((9, 37, 8, 8), 16, 1), ((1, 48, 21, 33), 16, 3), ((0, 32, 8, 8), 16, 1)])
def test_winograd_reads_and_writes_two_arrays(m, shape, first, dilation, rng):
    algorithm, geometry = {2: winograd.f2, 4: winograd.f4}[m], (1, 1, dilation, dilation, dilation, dilation)
    x, dy = rng.standard_normal(shape, np.float32), rng.standard_normal((shape[0], 24, *shape[2:]), np.float32)
    w, bias = rng.standard_normal((24, shape[1], 3, 3), np.float32), rng.standard_normal(48, np.float32)
    pair = SideBySide(x[:, :first].copy(), x[:, first:].copy())
    assert pair.shape == shape and np.array_equal(pair.joined(), x)
    for task, like, arguments in (("conv2d", dy, (w, bias, geometry)), ("conv2d_weight_grad", w, (dy, geometry))):
        results = np.empty_like(like), np.empty_like(like)
        for result, images in zip(results, (x, pair)):
            getattr(algorithm, task)(result, images, *arguments)
        np.testing.assert_array_equal(*results, err_msg=task)
    dx, (parts, memories) = np.empty_like(x), zip(*(between_guards(part.shape, np.float32) for part in pair))
    algorithm.conv2d_input_grad(dx, dy, w, bias, geometry)
    algorithm.conv2d_input_grad(SideBySide(*parts), dy, w, bias, geometry)
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), dx)
    assert all(np.isnan(memory[:128]).all() and np.isnan(memory[-128:]).all() for memory in memories)


@pytest.mark.parametrize("channels, outputs, kernel, settings", [
    ((16, 16), 16, 3, {"padding": 1}), ((16, 5), 32, 3, {"padding": "same"}), ((32, 32), 32, 1, {}),
    ((5, 16), 16, 3, {"padding": 1}),                                                 # no vectors of channels in the first
    ((3, 1), 8, 3, {"padding": (2, 0), "stride": 2}), ((3, 3), 6, 3, {"groups": 6}), ((1, 3), 4, 3, {"groups": 2})])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_convolution_of_two_is_that_of_their_concatenation(channels, outputs, kernel, settings, dtype, rng):
    pair = [Tensor(rng.standard_normal((2, c, 13, 16), dtype), requires_grad=True) for c in channels]
    shapes = (outputs, sum(channels) // settings.get("groups", 1), kernel, kernel), (outputs,)
    w, b = (Tensor(rng.standard_normal(shape, dtype), requires_grad=True) for shape in shapes)
    outs, grads = [], []
    for beside in (True, False):
        y = F.conv2d(pair[0], w, b, **settings, beside=pair[1]) if beside else F.conv2d(F.cat(pair, 1), w, b, **settings)
        (y * y).sum().backward()
        outs.append(y.numpy())
        grads.append([tensor.grad for tensor in (*pair, w, b)])
        for tensor in (*pair, w, b):
            tensor.grad = None
    np.testing.assert_array_equal(*outs)
    for name, *both in zip(("first", "second", "weight", "bias"), *grads):
        np.testing.assert_array_equal(*both, err_msg=name)
        assert both[0].any(), name


def test_winograd_takes_two_where_the_first_fills_vectors():
    first = np.zeros((1, 2 * simd.BITS // 32, 4, 4), np.float32)
    fits, does_not = SideBySide(first, first[:, :3]), SideBySide(first[:, :3], first)
    takes = {algorithm.name: [algorithm.takes(image) for image in (fits, does_not, first)] for algorithm in backends.CONV2D}
    assert takes.pop("winograd4") == takes.pop("winograd2") == [True, False, True]
    assert set(map(tuple, takes.values())) == {(False, False, True)}


def test_an_image_beside_itself_gets_both_gradients_and_is_watched(rng):
    x = Tensor(rng.standard_normal((1, 2, 5, 5)), requires_grad=True)
    w = rng.standard_normal((3, 4, 3, 3))
    F.conv2d(x, w, beside=x).sum().backward()
    gradient, x.grad = x.grad, None
    F.conv2d(F.cat([x, x], 1), w).sum().backward()
    np.testing.assert_allclose(gradient, x.grad, rtol=1e-12)
    other = Tensor(np.zeros((1, 2, 5, 5)), requires_grad=True)
    y = F.conv2d(x, Tensor(w, requires_grad=True), beside=other).sum()
    other.data[...] = 1
    with pytest.raises(RuntimeError, match="has changed since the forward pass"):
        y.backward()


def test_only_what_is_asked_for_has_a_gradient(rng):
    x, beside = (Tensor(rng.standard_normal((1, 16, 8, 8), np.float32), requires_grad=asked) for asked in (False, True))
    F.conv2d(x, rng.standard_normal((16, 32, 3, 3), np.float32), padding=1, beside=beside).sum().backward()
    assert x.grad is None and beside.grad.any()
