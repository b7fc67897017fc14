"""Functions that are compiled with what calls them."""
import numba
import numpy as np
import pytest

from tinyseg.kernels import simd
from tinyseg.kernels.inner import inner

pytestmark = pytest.mark.skipif(not simd.COMPILED, reason="nothing is compiled")


@inner
def reciprocal(x):
    if x == 0:
        raise ZeroDivisionError("of what?")
    return 1 / x


@inner
def twice(x):
    return reciprocal(x) + reciprocal(x)


@numba.njit
def fill(y, x):
    for i in range(y.size):
        y[i] = twice(x)


def test_python_calls_the_plain_function():
    assert twice(np.float32(4)) == 0.5
    with pytest.raises(TypeError):
        twice("1")


def test_a_kernel_has_what_it_calls_and_that_is_nothing_by_itself():
    y = np.empty(3)
    fill(y, 4)
    assert y.tolist() == [0.5] * 3
    for function in (reciprocal, twice):
        compiled, = function.overloads.values()
        assert compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name) == 0
    compiled, = fill.overloads.values()
    assert compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name) != 0


def test_what_is_raised_deep_inside_reaches_python():
    with pytest.raises(ZeroDivisionError, match="of what"):
        fill(np.empty(3), 0)


def test_no_number_makes_another_function():
    @inner
    def plus(x, n):
        return x + n

    @numba.njit
    def sums(x):
        return plus(x, 1) + plus(x, 2) + plus(x, int(x))

    assert sums(1.0) == 7 and len(plus.overloads) == 1


def test_options_are_numbas():
    @inner(fastmath={"reassoc"})
    def total(x):
        return x.sum()

    assert total.targetoptions["fastmath"] == {"reassoc"}
