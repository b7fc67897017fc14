"""Kernels at other numbers of threads than the one that tests run with."""
import contextlib

import numba
import pytest

needs_two = pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="Numba has one thread here")


@contextlib.contextmanager
def using(threads):
    """Within this context kernels run with so many threads, or with as many as there are."""
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    try:
        yield
    finally:
        numba.set_num_threads(1)
