"""Functions that are compiled with what calls them."""
import gc
import importlib
import os
import pathlib
import pkgutil
import shutil
import subprocess
import sys

import numba
import numpy as np
import pytest
from numba.core.extending import _Intrinsic
from numba.core.registry import CPUDispatcher

from tinyseg import kernels
from tinyseg.kernels import simd
from tinyseg.kernels.inner import Inner, inner, stamp

ROOT = pathlib.Path(__file__).parents[2]

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


@pytest.mark.parametrize("enabled", [True, False])
def test_no_garbage_is_looked_for_while_numba_compiles_and_then_as_before(enabled):
    @inner
    def plus(x):
        return x + seen()

    @numba.extending.overload(seen := lambda: None)
    def see():
        during.append(gc.isenabled())
        return lambda: 1

    @numba.njit
    def sums(x):
        return plus(x) + plus(x)

    during, before = [], gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        assert sums(1.0) == 4 and during and not any(during)
        assert gc.isenabled() == enabled
        with pytest.raises(numba.TypingError):
            sums("1")
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()


def parts(function):
    """The modules of all that is compiled with a function."""
    for name in function.py_func.__code__.co_names:
        value = function.py_func.__globals__.get(name)
        if isinstance(value, _Intrinsic):
            yield value.__module__
        elif isinstance(value, Inner):
            yield value.py_func.__module__
            yield from parts(value)


def loops():
    """The kernels with a loop of their own; those that `each_task` runs are stamped there."""
    for module in pkgutil.iter_modules(kernels.__path__, f"{kernels.__name__}."):
        for kernel in vars(importlib.import_module(module.name)).values():
            if isinstance(kernel, CPUDispatcher) and not isinstance(kernel, Inner) and kernel.py_func.__module__ == module.name:
                yield pytest.param(kernel, id=f"{module.name}.{kernel.py_func.__name__}")


@pytest.mark.parametrize("kernel", list(loops()))
def test_a_kernel_with_parts_from_other_files_has_their_stamp(kernel):
    others = set(parts(kernel)) - {kernel.py_func.__module__}
    assert (kernel._cache._cache_file._source_stamp[1] == stamp()) == bool(others), others


PROGRAM = """
import numpy as np
from tinyseg.kernels import norm

y, mean, x = np.empty((1, 1, 4)), np.empty((1, 1)), np.ones((1, 1, 4))
norm.normalise_groups(y, mean, np.empty((1, 1)), x, np.ones(1), np.zeros(1), 0.5)
statistics = np.empty((5, 1))
norm.normalise(y, statistics, x, np.ones(1), np.zeros(1), 0.5, -np.inf, np.inf)
print(mean.item(), statistics[norm.MEAN].item())
"""


@pytest.mark.slow
def test_a_change_in_another_file_reaches_the_kernels_that_take_it_in(tmp_path):
    shutil.copytree(ROOT / "tinyseg", tmp_path / "tinyseg", ignore=shutil.ignore_patterns("__pycache__"))
    settings = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}

    def means():
        done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, env=settings, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout.split()

    assert means() == ["1.0", "1.0"]
    sums = tmp_path / "tinyseg" / "kernels" / "sums.py"
    changed = sums.read_text(encoding="utf-8").replace("result += a[q]", "result += 2 * a[q]")
    sums.write_text(changed, encoding="utf-8")
    assert means() == ["2.0", "2.0"]
