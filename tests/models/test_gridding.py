import numpy as np
import pytest

from tinyseg import Tensor, functional, nn
from tinyseg.models.gridding import paths, valid_taps


@pytest.mark.parametrize("seed", range(20))
def test_valid_taps_are_what_a_convolution_of_ones_counts(seed):
    rng = np.random.default_rng(seed)
    size, kernel, dilation = (tuple(rng.integers(1, high, 2).tolist()) for high in (12, 6, 8))
    counted = functional.conv2d(np.ones((1, 1, *size)), np.ones((1, 1, *kernel)), padding="same", dilation=dilation)
    np.testing.assert_array_equal(valid_taps(size, kernel, dilation), counted.numpy()[0, 0])


def test_a_large_rate_makes_a_1x1_convolution_of_a_3x3_one():
    assert (valid_taps(41, dilation=41) == 1).all() and (valid_taps(41, dilation=40) > 1).any()
    assert (valid_taps(65, dilation=1) == 9).mean() == (63 / 65)**2


@pytest.mark.parametrize("dilations, kernel_size", [([], 3), ([1], 3), ([2, 2, 2], 3), ([1, 2, 3], 3), ([4, 1], 2),
                                                    ([2, 1, 3], 4)])
def test_paths_are_the_gradient_of_a_stack_of_ones(dilations, kernel_size):
    layers = nn.Sequential(*(nn.Conv2d(1, 1, kernel_size, dilation=d, bias=False) for d in dilations)).double()
    for parameter in layers.parameters():
        parameter.writable()[...] = 1
    field = 1 + sum(d * (kernel_size - 1) for d in dilations)
    x = Tensor(np.zeros((1, 1, field, field)), requires_grad=True)
    layers(x).sum().backward()
    np.testing.assert_array_equal(paths(dilations, kernel_size), x.grad[0, 0])


def test_equal_rates_leave_a_grid_and_coprime_ones_none():
    """Wang et al. 2018, figure 1 (rates 2, 2, 2 see one pixel of four) and section 3.2 (rates 1, 2, 5)."""
    grid = paths([2, 2, 2])
    assert (grid[::2, ::2] > 0).all() and np.count_nonzero(grid) == grid[::2, ::2].size
    assert (paths([1, 2, 5]) > 0).all() and (paths([1, 2, 9]) == 0).any()


@pytest.mark.parametrize("call, message", [
    (lambda: valid_taps(0), "size=0: expected at least 1"),
    (lambda: valid_taps(5, dilation=0), "dilation=0: expected at least 1"),
    (lambda: valid_taps(5, kernel_size=(3, 0)), "kernel_size="),
    (lambda: paths([2, 0]), "dilation=0: expected at least 1"),
])
def test_impossible_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
