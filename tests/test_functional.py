"""Edges that the samples of the ops do not reach, and what bad input is told."""
import numpy as np
import pytest

import tinyseg.functional as F
from tinyseg import Tensor

X = np.zeros((2, 4, 6, 5))
W = np.zeros((8, 4, 3, 3))


@pytest.mark.parametrize("call, error, words", [
    (lambda: F.conv2d(X, np.zeros((16, 3, 3, 3))), ValueError,
     "conv2d: input has 4 channels but weight (16, 3, 3, 3) expects 3"),
    (lambda: F.conv2d(X[0, 0], W), ValueError, "expected (N, C, H, W)"),
    (lambda: F.conv2d(X, W[0]), ValueError, "expected (out, in/groups, KH, KW)"),
    (lambda: F.conv2d(X, W, np.zeros(7)), ValueError, "bias has shape (7,), expected (8,)"),
    (lambda: F.conv2d(X.astype(np.float32), W), TypeError, "convert them to one dtype"),
    (lambda: F.conv2d(X.astype(np.uint8), W), TypeError, "input is uint8, expected float32 or float64"),
    (lambda: F.conv2d(X[:, :, :2], W), ValueError, "kernel height 3 (dilation included) exceeds the padded input's 2"),
    (lambda: F.conv2d(X, W, dilation=(1, 3)), ValueError, "kernel width 7"),
    (lambda: F.conv2d(X[:, :, :0], W, padding=3), ValueError, "no pixels"),
    (lambda: F.conv2d(X, W, stride=0), ValueError, "stride=0: expected at least 1"),
    (lambda: F.conv2d(X, W, stride=(1, 2, 3)), ValueError, "a pair (height, width)"),
    (lambda: F.conv2d(X, W, stride=1.5), ValueError, "expected integers"),
    (lambda: F.conv2d(X, W, padding=-1), ValueError, "padding=-1: expected at least 0"),
    (lambda: F.conv2d(X, W, dilation=0), ValueError, "dilation=0"),
    (lambda: F.conv2d(X, W, stride=2, padding="same"), ValueError, "use stride 1"),
    (lambda: F.conv2d(X, W, padding="full"), ValueError, "padding='full'"),
    (lambda: F.conv2d(X, W[:, :2], groups=0), ValueError, "groups=0"),
    (lambda: F.conv2d(X, W[:7, :2], groups=2), ValueError, "groups=2 does not divide"),
    (lambda: F.conv2d(X, W, beside=X), ValueError, "input has 8 channels but weight (8, 4, 3, 3) expects 4"),
    (lambda: F.conv2d(X, W, beside=X[:, :, 1:]), ValueError, "beside (2, 4, 5, 5) differ in another dimension"),
    (lambda: F.conv2d(X, W, beside=X[0]), ValueError, "input (2, 4, 6, 5) and beside (4, 6, 5) differ"),
    (lambda: F.conv2d(X, W, beside=X[:, :0]), ValueError, "beside (2, 0, 6, 5) differ"),
    (lambda: F.conv2d(X, W, beside=X.astype(np.float32)), TypeError, "beside is float32; convert"),
    (lambda: F.conv_transpose2d(X, W), ValueError, "conv_transpose2d: input has 4 channels but weight (8, 4, 3, 3) expects 8"),
    (lambda: F.conv_transpose2d(X, W[:4], stride=2, output_padding=2), ValueError, "must be less than the stride (2, 2)"),
    (lambda: F.conv_transpose2d(X, W[:4], stride=2, output_size=(20, 11)), ValueError, "can give (13, 11) to (14, 12)"),
    (lambda: F.conv_transpose2d(X[:, :, :1, :1], W[:4], padding=2), ValueError, "use less padding"),
    (lambda: F.max_pool2d(X, 2, padding=2), ValueError, "more than half"),
    (lambda: F.max_pool2d(X, 7), ValueError, "exceeds the padded input"),
    (lambda: F.max_pool2d(X, 2, stride=0), ValueError, "stride=0"),
    (lambda: F.max_unpool2d(X, np.zeros((2, 4, 6, 4), int), 2), ValueError, "indices has shape"),
    (lambda: F.max_unpool2d(X, X, 2), TypeError, "expected integers"),
    (lambda: F.max_unpool2d(X, np.full(X.shape, 120), 2), ValueError, "index 120 lies outside the output (12, 10)"),
    (lambda: F.max_unpool2d(X, np.full(X.shape, 1), 2, output_size=(20, 10)), ValueError, "away from (12, 10)"),
    (lambda: F.avg_pool2d(X, 2, divisor_override=0), ValueError, "divisor_override"),
    (lambda: F.adaptive_avg_pool2d(X, 0), ValueError, "output_size=0"),
    (lambda: F.interpolate(X), ValueError, "either size or scale_factor"),
    (lambda: F.interpolate(X, size=3, scale_factor=2), ValueError, "either size or scale_factor"),
    (lambda: F.interpolate(X, size=0), ValueError, "at least 1"),
    (lambda: F.interpolate(X, scale_factor=-1), ValueError, "positive"),
    (lambda: F.interpolate(X, scale_factor=0.1), ValueError, "leaves nothing"),
    (lambda: F.interpolate(X, size=3, mode="bicubic"), ValueError, "mode='bicubic'"),
    (lambda: F.interpolate(X, size=3, align_corners=True), ValueError, "align_corners is for"),
    (lambda: F.bed_of_nails(X, 0), ValueError, "scale_factor=0"),
    (lambda: F.pad(X, (1,)), ValueError, "a pair for each"),
    (lambda: F.pad(X, (5, 0), mode="reflect"), ValueError, "expected 0 to 4"),
    (lambda: F.pad(X, (6, 0), mode="circular"), ValueError, "expected 0 to 5"),
    (lambda: F.pad(X, (-1, 0), mode="replicate"), ValueError, "does not fit mode 'replicate'"),
    (lambda: F.pad(X, (-4, -2)), ValueError, "crops more"),
    (lambda: F.pad(X, (1, 1), mode="wrap"), ValueError, "mode='wrap'"),
    (lambda: F.softmax(X, dim=4), ValueError, "dim=4"),
    (lambda: F.dropout(X, p=1.5), ValueError, "p=1.5"),
    (lambda: F.linear(X, np.zeros((3, 6))), ValueError, "has 5 features"),
    (lambda: F.cat([X, X[:, :, :3]], dim=1), ValueError, "differ in another dimension than 1"),
    (lambda: F.cat([]), ValueError, "no tensors"),
    (lambda: F.stack([X, X[:1]]), ValueError, "one shape"),
    (lambda: F.stack([X], dim=6), ValueError, "dim=6"),
    (lambda: F.batch_norm(X[:1, :, :1, :1], None, None, training=True), ValueError, "one value a channel"),
    (lambda: F.batch_norm(X, None, None), ValueError, "evaluation needs running_mean"),
    (lambda: F.batch_norm(X, None, None, np.zeros(3), training=True), ValueError, "weight has shape (3,), expected (4,)"),
    (lambda: F.group_norm(X, 3), ValueError, "num_groups=3"),
    (lambda: F.cross_entropy(X, np.zeros((2, 6, 4), int)), ValueError, "(2, 6, 5): one label a pixel"),
    (lambda: F.cross_entropy(X, np.full((2, 6, 5), 4)), ValueError, "label 4 in 60 pixels, but the input has 4 classes"),
    (lambda: F.cross_entropy(X, np.full((2, 6, 5), -1)), ValueError, "label -1"),
    (lambda: F.cross_entropy(X, np.zeros((2, 6, 5))), TypeError, "integer labels"),
    (lambda: F.cross_entropy(X, np.zeros((2, 6, 5), int), np.ones(3)), ValueError, "weight has shape (3,)"),
    (lambda: F.cross_entropy(X, np.zeros((2, 6, 5), int), reduction="avg"), ValueError, "reduction='avg'"),
    (lambda: F.cross_entropy(X, np.zeros((2, 6, 5), int), label_smoothing=2), ValueError, "label_smoothing=2"),
])
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_one_image_without_a_batch(rng):
    x, w = rng.standard_normal((3, 6, 6)), rng.standard_normal((2, 3, 3, 3))
    for one, batch in [(F.conv2d(x, w), F.conv2d(x[None], w)), (F.avg_pool2d(x, 2), F.avg_pool2d(x[None], 2)),
                       (F.interpolate(x, size=4), F.interpolate(x[None], size=4)),
                       (F.conv_transpose2d(x[:2], w), F.conv_transpose2d(x[None, :2], w))]:
        np.testing.assert_array_equal(one.numpy(), batch.numpy()[0])
    y, indices = F.max_pool2d(x, 2, return_indices=True)
    assert y.shape == indices.shape == (3, 3, 3) and F.max_unpool2d(y, indices, 2).shape == (3, 6, 6)


def test_an_empty_batch_gives_an_empty_batch():
    x = Tensor(np.zeros((0, 4, 6, 5)), requires_grad=True)
    w = Tensor(np.zeros((8, 4, 3, 3)), requires_grad=True)
    y = F.max_pool2d(F.relu(F.conv2d(x, w, padding=1)), 2)
    assert y.shape == (0, 8, 3, 2)
    y.sum().backward()
    assert x.grad.shape == x.shape and not w.grad.any()


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_an_empty_batch_can_be_padded(mode):
    assert F.pad(np.zeros((0, 2, 3, 3)), (1, 1, 2, 2), mode).shape == (0, 2, 7, 5)


def test_max_pool_takes_the_first_of_equal_maxima_and_gives_it_all_the_gradient():
    x = Tensor(np.ones((1, 1, 4, 4)), requires_grad=True)
    y, indices = F.max_pool2d(x, 2, return_indices=True)
    np.testing.assert_array_equal(indices.numpy()[0, 0], [[0, 2], [8, 10]])
    y.sum().backward()
    np.testing.assert_array_equal(x.grad[0, 0], np.kron(np.ones((2, 2)), [[1, 0], [0, 0]]))


def test_max_pool_pads_with_minus_infinity_and_lets_nan_through():
    x = -np.ones((1, 1, 3, 3))
    np.testing.assert_array_equal(F.max_pool2d(x, 3, 1, 1).numpy(), -1)
    x[0, 0, 1, 1] = np.nan
    assert np.isnan(F.max_pool2d(x, 3, 1, 1).numpy()).all()


def test_a_window_in_the_padding_alone_is_minus_infinity_without_a_gradient():
    x = Tensor(np.ones((1, 1, 1, 1)), requires_grad=True)
    y, indices = F.max_pool2d(x, 2, 1, padding=2, dilation=3, return_indices=True)
    np.testing.assert_array_equal(y.numpy(), -np.inf)
    np.testing.assert_array_equal(indices.numpy(), -1)
    y.backward(np.ones(y.shape))
    assert not x.grad.any()


def test_unpooling_an_odd_size_needs_output_size(rng):
    x = rng.standard_normal((1, 2, 5, 7))
    y, indices = F.max_pool2d(x, 2, return_indices=True)
    back = F.max_unpool2d(y, indices, 2, output_size=x.shape).numpy()
    np.testing.assert_array_equal(back[back != 0], x[back != 0])
    assert back.shape == x.shape and (back != 0).sum() == y.size


@pytest.mark.parametrize("ours, expected", [
    (lambda x: F.interpolate(x, size=(1, 3), mode="nearest"), [0, 1, 3]),
    (lambda x: F.interpolate(x, size=(1, 3), mode="nearest-exact"), [0, 2, 4]),
    (lambda x: F.adaptive_avg_pool2d(x, (1, 2)), [1, 3]),
    (lambda x: F.avg_pool2d(x, (1, 2), ceil_mode=True), [0.5, 2.5, 4]),
])
def test_which_pixels_are_sampled(ours, expected):
    np.testing.assert_array_equal(ours(np.arange(5.0).reshape(1, 1, 1, 5)).numpy()[0, 0, 0], expected)


def test_void_pixels_have_neither_loss_nor_gradient(rng):
    logits, target = rng.standard_normal((2, 3, 4, 4)), rng.integers(0, 3, (2, 4, 4))
    target[0, :2] = 255
    for reduction in ("mean", "sum", "none"):
        x = Tensor(logits, requires_grad=True)
        loss = F.cross_entropy(x, target, reduction=reduction, label_smoothing=0.1)
        loss.sum().backward()
        assert not x.grad[0, :, :2].any() and x.grad[0, :, 2:].all()
        changed = logits.copy()
        changed[0, :, :2] = 100
        again = F.cross_entropy(changed, target, reduction=reduction, label_smoothing=0.1)
        np.testing.assert_array_equal(again.numpy(), loss.numpy())


def test_nothing_but_void():
    x, target = Tensor(np.ones((1, 3, 2, 2)), requires_grad=True), np.full((1, 2, 2), 255, np.uint8)
    loss = F.cross_entropy(x, target)
    loss.backward()
    assert np.isnan(loss.item()) and not x.grad.any()
    assert F.cross_entropy(x, target, reduction="sum").item() == 0
    assert not F.cross_entropy(x, target, reduction="none").numpy().any()


def test_the_loss_of_one_row_of_logits():
    assert F.cross_entropy(np.zeros(4), np.array(1)).item() == pytest.approx(np.log(4))
    assert F.cross_entropy(np.zeros(4), np.array(1), reduction="none").shape == ()


def test_huge_logits_do_not_overflow():
    x = np.array([[1e4, -1e4, 0.0]])
    assert F.cross_entropy(x, np.array([1])).item() == 2e4
    np.testing.assert_array_equal(F.softmax(x, 1).numpy(), [[1, 0, 0]])
    np.testing.assert_array_equal(F.sigmoid(np.array([-1e4, 1e4])).numpy(), [0, 1])


@pytest.mark.parametrize("function, planes", [(F.dropout, False), (F.dropout2d, True)])
def test_dropout_keeps_the_mean_and_the_stated_share(function, planes):
    x = np.ones((50, 40, 4, 4))
    y = function(x, p=0.3).numpy()
    dropped = y == 0
    assert abs(dropped[:, :, 0, 0].mean() - 0.3) < 0.05 and set(np.unique(y).round(6)) == {0, round(1 / 0.7, 6)}
    assert (dropped == dropped[:, :, :1, :1]).all() == planes
    assert not function(x, p=1.0).numpy().any()
    np.testing.assert_array_equal(function(x, p=0.3, training=False).numpy(), x)


def test_running_statistics_move_towards_the_batch(rng):
    x = rng.standard_normal((4, 3, 5, 5)) * 2 + 1
    mean, var = Tensor(np.zeros(3)), Tensor(np.ones(3))
    F.batch_norm(x, mean, var, training=True, momentum=0.1)
    np.testing.assert_allclose(mean.numpy(), 0.1 * x.mean((0, 2, 3)))
    np.testing.assert_allclose(var.numpy(), 0.9 + 0.1 * x.var((0, 2, 3), ddof=1))


def test_batch_norm_of_large_values_in_float32(rng):
    x = (rng.standard_normal((4, 2, 32, 32)) + 1e3).astype(np.float32)
    y = F.batch_norm(x, None, None, training=True).numpy()
    np.testing.assert_allclose(y.mean((0, 2, 3)), 0, atol=1e-3)
    np.testing.assert_allclose(y.std((0, 2, 3)), 1, atol=1e-3)


def test_read_only_and_strided_arrays_are_welcome(rng):
    x = rng.standard_normal((6, 5, 4, 2)).transpose(3, 2, 0, 1)[:, ::2]
    x.flags.writeable = False
    w = rng.standard_normal((3, 2, 3, 3))
    np.testing.assert_array_equal(F.conv2d(x, w).numpy(), F.conv2d(np.array(x), w).numpy())
