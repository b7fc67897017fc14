import numpy as np
import pytest

from tinyseg import Tensor, manual_seed
from tinyseg import functional as F
from tinyseg.nn import init


def kernel(*shape):
    return Tensor(np.full(shape, np.nan))


@pytest.mark.parametrize("fill, variance", [
    (lambda t: init.kaiming_normal_(t), 2 / (30 * 9)),
    (lambda t: init.kaiming_normal_(t, mode="fan_out"), 2 / (50 * 9)),
    (lambda t: init.kaiming_normal_(t, a=0.5), 2 / 1.25 / (30 * 9)),
    (lambda t: init.kaiming_uniform_(t), 2 / (30 * 9)),
    (lambda t: init.kaiming_uniform_(t, a=5**0.5, mode="fan_out"), 2 / 6 / (50 * 9)),
    (lambda t: init.xavier_uniform_(t), 2 / (80 * 9)),
    (lambda t: init.xavier_uniform_(t, gain=3.0), 18 / (80 * 9)),
    (lambda t: init.uniform_(t, -2.0, 2.0), 16 / 12),
    (lambda t: init.normal_(t, std=0.5), 0.25),
])
def test_variance(fill, variance):
    """13,500 draws: the mean within 4 standard errors, the variance within 5 %, the normal ones with normal tails."""
    tensor = kernel(50, 30, 3, 3)
    assert fill(tensor) is tensor
    drawn = tensor.numpy()
    assert drawn.var() == pytest.approx(variance, rel=0.05)
    assert drawn.mean() == pytest.approx(0, abs=4 * np.sqrt(variance / drawn.size))
    beyond = (abs(drawn) > 2 * np.sqrt(variance)).mean()                 # 4.6 % of a normal, none of a uniform
    assert beyond == 0 or beyond == pytest.approx(0.0455, abs=0.01)


def test_which_are_uniform():
    for fill, bound in [(init.kaiming_uniform_, np.sqrt(6 / 270)), (init.xavier_uniform_, np.sqrt(6 / 720))]:
        assert abs(fill(kernel(50, 30, 3, 3)).numpy()).max() == pytest.approx(bound, rel=0.01)


def test_constants_and_the_seed():
    assert (init.zeros_(kernel(3)).numpy() == 0).all() and (init.ones_(kernel(3)).numpy() == 1).all()
    assert (init.constant_(kernel(2, 2), -1.5).numpy() == -1.5).all()
    manual_seed(7)
    first = init.normal_(kernel(4)).numpy().copy()
    manual_seed(7)
    np.testing.assert_array_equal(init.normal_(kernel(4)).numpy(), first)


def test_a_leaf_that_is_being_trained_stays_a_leaf():
    weight = Tensor(np.zeros((2, 2)), requires_grad=True)
    assert init.xavier_uniform_(weight).node is None and weight.requires_grad and (weight.numpy() != 0).all()


@pytest.mark.parametrize("k, axis", [(1, [1]), (2, [.5, .5]), (3, [.5, 1, .5]), (4, [.25, .75, .75, .25]),
                                     (5, np.array([1, 2, 3, 2, 1]) / 3)])
def test_bilinear_kernel(k, axis):
    weight = init.bilinear_(kernel(3, 3, k, k)).numpy()
    np.testing.assert_allclose(weight[1, 1], np.outer(axis, axis), rtol=1e-15)
    np.testing.assert_array_equal(weight[0, 1], 0)


@pytest.mark.parametrize("s", [2, 3, 4, 5, 6])
def test_bilinear_transposed_convolution_interpolates(s, rng):
    """Kernel 2s - 1, padding s - 1: interpolation with aligned corners, to s(n - 1) + 1 pixels."""
    x = Tensor(rng.standard_normal((1, 2, 4, 5)))
    size = (s * 3 + 1, s * 4 + 1)
    expected = F.interpolate(x, size, mode="bilinear", align_corners=True).numpy()
    whole, depthwise = (init.bilinear_(kernel(2, outputs, 2 * s - 1, 2 * s - 1)) for outputs in (2, 1))
    np.testing.assert_allclose(F.conv_transpose2d(x, whole, stride=s, padding=s - 1).numpy(), expected, atol=1e-14)
    grouped = F.conv_transpose2d(x, depthwise, stride=s, padding=s - 1, groups=2)
    np.testing.assert_allclose(grouped.numpy(), expected, atol=1e-14)


@pytest.mark.parametrize("call, message", [
    (lambda: init.kaiming_normal_(kernel(3)), "shape (3,) has no fan-in"),
    (lambda: init.kaiming_normal_(kernel(3, 3), mode="fan"), "mode='fan'; expected 'fan_in' or 'fan_out'"),
    (lambda: init.kaiming_normal_(kernel(3, 0, 3, 3)), "has no fan_in"),
    (lambda: init.bilinear_(kernel(3, 3, 3, 4)), "(3, 3, 3, 4); expected (C, C, K, K)"),
    (lambda: init.bilinear_(kernel(3, 2, 3, 3)), "(3, 2, 3, 3); expected (C, C, K, K)"),
    (lambda: init.bilinear_(kernel(3, 3)), "expected (C, C, K, K)"),
])
def test_impossible_kernels(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)
