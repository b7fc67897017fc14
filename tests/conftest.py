import gc
import pathlib

import numpy as np
import pytest

pytest_plugins = ["pytester"]
SHARED = pathlib.Path(__file__).parents[2] / "shared"


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Modules and tests stay to the end: the garbage collector need not look through them, and less often than usual."""
    gc.set_threshold(10_000)
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Small kernels gain nothing from a second thread, and on a busy machine they wait for it."""
    import numba

    numba.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_global_state_leaks():
    """A test must leave gradients on, and every test starts from the same random numbers."""
    import tinyseg
    from tinyseg.graph import grad_enabled

    tinyseg.manual_seed(0)
    yield
    assert grad_enabled(), "the test left no_grad on"


@pytest.fixture
def blank_curves(monkeypatch):
    """For runs whose curves nobody looks at: drawing them takes several times as long as an epoch of a tiny model."""
    from tinyseg import plots

    monkeypatch.setattr(plots, "curves", lambda history: plots.new_figure(1, 1))


@pytest.fixture
def shared_data():
    """Real images beside the checkout; tests that want them are skipped where there are none."""
    def find(name):
        path = SHARED / "data" / name
        if not path.is_dir():
            pytest.skip(f"no real images here: {name} is not beside the checkout")
        return path
    return find
