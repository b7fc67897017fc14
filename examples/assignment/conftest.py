"""Makes every module a fixture of its own name, so that a test asks for what it tests, and a marker: pytest -m loss."""
import importlib

import pytest

MODULES = ("conv_loops", "conv_im2col", "transposed", "bilinear", "pooling", "loss", "metrics", "decoder", "stages")


def pytest_configure(config):
    for name in MODULES:
        config.addinivalue_line("markers", f"{name}: the tests of this task")


def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(item.function.task)


def fixture(name):
    @pytest.fixture(name=name)
    def module():
        return importlib.import_module(name)
    return module


for name in MODULES:
    globals()[f"module_{name}"] = fixture(name)
