"""Changes of an array are noticed, of small ones and of those that are large enough for the kernel."""
import numpy as np
import pytest

import tinyseg as ts
from tinyseg import buffers
from tinyseg.versions import LARGE, checksum, share_memory


def negate(array):
    array *= -1


def exchange(array):
    array[[3, 700]] = array[[700, 3]]


def turn(array):
    array[:] = array[::-1].copy()


def move(array):
    array[1:] = array[:-1].copy()


def touch_the_last(array):
    array[-1] = np.nextafter(array[-1], 2)


@pytest.mark.parametrize("change", [negate, exchange, turn, move, touch_the_last], ids=lambda f: f.__name__)
@pytest.mark.parametrize("size", [1000, LARGE, LARGE + 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_change_changes_the_checksum(rng, change, size, dtype):
    array = rng.standard_normal(size).astype(dtype)
    before = checksum(array)
    assert checksum(array.copy()) == before
    change(array)
    assert checksum(array) != before


def test_it_is_of_the_values_whatever_the_memory(rng):
    array = rng.standard_normal((LARGE, 2)).astype(np.float32)
    other = np.asfortranarray(array)
    other.flags.writeable = False
    shifted = np.empty(array.size + 1, np.float32)[1:]
    shifted[:] = array.reshape(-1)
    assert checksum(array) == checksum(other) == checksum(shifted)


def test_writing_to_a_large_input_before_backward_is_an_error(rng):
    array = rng.standard_normal((LARGE // 4,)).astype(np.float32)
    x = ts.Tensor(array, requires_grad=True)
    y = (x * x).sum()
    x.data[-1] = 7
    with pytest.raises(RuntimeError, match="changed"):
        y.backward()


@pytest.mark.parametrize("make", [np.zeros, lambda size: buffers.empty((size,), np.float64)], ids=["own", "lent"])
def test_memory_in_common_is_found_through_views(make):
    x, y = make(LARGE), make(LARGE)
    for one, other in [(x, x), (x, x[1:2]), (x[::2], x), (x[5:][:3], x[6:]), (x.reshape(2, -1)[0], x[:1])]:
        assert share_memory(one, [y, other]) and share_memory(other, [y, one])
    for one, other in [(x, y), (x[1:], y), (x, y[:1]), (x[:5], x[5:])]:
        assert not share_memory(one, [other]) and not share_memory(other, [one])
    assert not share_memory(x, [])
