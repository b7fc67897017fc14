"""The exponential and the logarithm that the loss is computed with, and what becomes of numbers that are none."""
import numba
import numpy as np
import pytest

from tinyseg.kernels import loss


@numba.njit
def exponentials(y, x):
    for i in range(x.size):
        y[i] = loss.exponential(x[i])


@pytest.mark.parametrize("dtype, lowest, error", [(np.float32, -87.2, 2e-7), (np.float64, -708.0, 1e-14)])
def test_it_is_the_exponential(dtype, lowest, error):
    x = np.concatenate([np.linspace(lowest, 0, 50_001), -np.logspace(-20, 0, 1001), [0.0, -0.0]]).astype(dtype)
    y, wanted = np.empty_like(x), np.exp(x.astype(np.longdouble))
    exponentials(y, x)
    assert np.max(abs(y - wanted) / wanted) < error
    assert y[-1] == y[-2] == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_ends_of_the_numbers(dtype):
    x = np.array([-np.inf, -1e4, np.nan], dtype)
    y = np.empty_like(x)
    exponentials(y, x)
    assert y[0] == y[1] == 0 and np.isnan(y[2])


@numba.njit
def logarithms(y, x):
    for i in range(x.size):
        y[i] = loss.logarithm(x[i])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_the_logarithm(dtype):
    x = np.concatenate([np.linspace(1, 40, 50_001), 1 + np.logspace(-16, 0, 1001), np.logspace(0, 38, 1001)]).astype(dtype)
    y, wanted = np.empty_like(x), np.log(x.astype(np.longdouble))
    logarithms(y, x)
    assert (abs(y - wanted) <= 2 * np.finfo(dtype).eps * wanted).all()          # 0 for 1, exactly
    x = np.array([np.inf, np.nan], dtype)
    y = np.empty_like(x)
    logarithms(y, x)
    assert y[0] == np.inf and np.isnan(y[1])


def gradient(x, target):
    log_sum, dx = np.empty(target.shape, x.dtype), np.empty_like(x)
    weight, one = np.ones(x.shape[1], x.dtype), np.ones(target.shape, x.dtype)
    losses = np.empty(target.shape, x.dtype)
    loss.cross_entropy(losses, log_sum, x, target, weight, 255, 0.0)
    loss.cross_entropy_grad(dx, one, log_sum, x, target, weight, 255, 0.0)
    return losses[0], dx[0]


@pytest.mark.filterwarnings("ignore:invalid value")                    # said by NumPy where nothing is compiled
def test_nan_stays_in_its_pixel_and_void_hides_it():
    x = np.zeros((1, 2, 4))
    x[0, 0, :2] = np.nan
    x[0, 0, 3] = -np.inf                                               # a class ruled out
    losses, dx = gradient(x, np.array([[0, 255, 1, 1]]))
    assert np.isnan(losses[0]) and np.isnan(dx[:, 0]).all()
    np.testing.assert_array_equal(losses[1:], [0, np.log(2), 0])
    np.testing.assert_allclose(dx[:, 1:], [[0, 0.5, 0], [0, -0.5, 0]], atol=1e-15)
