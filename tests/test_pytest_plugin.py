"""The fixture that other projects get."""
import importlib.metadata
import subprocess
import sys

import pytest

import tinyseg.pytest_plugin

INSTALLED = any(point.value == "tinyseg.pytest_plugin" for point in importlib.metadata.entry_points(group="pytest11"))


@pytest.fixture
def run(pytester):
    """Run pytest on a test file of some other project."""
    def run_file(source):
        pytester.makepyfile("import numpy as np\nfrom tinyseg import functional\n" + source)
        return pytester.runpytest_inprocess(*([] if INSTALLED else ["-p", "tinyseg.pytest_plugin"]))
    return run_file


def test_a_wrong_gradient_fails_with_the_report_as_message(run):
    result = run("""
def test_right(gradcheck):
    report = gradcheck(functional.tanh, [np.ones(3)], reference=np.tanh, seed=1)
    assert report.ok and report.error < 1e-12

def test_wrong(gradcheck):
    gradcheck(lambda x: x * x.detach(), [np.ones((2, 3))], names=["image"])
""")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*gradcheck <lambda>: WRONG GRADIENT", "*image (2, 3): 6 of 6 entries are wrong*",
                                 "*worst at image*", "*constant factor: the gradient is 0.5 times the right one*"])
    assert "pytest_plugin.py" not in result.stdout.str()
    assert "Traceback" not in result.stdout.str()


def test_the_fixture_is_listed_with_its_description(pytester):
    result = pytester.runpytest_inprocess("--fixtures", *([] if INSTALLED else ["-p", "tinyseg.pytest_plugin"]))
    result.stdout.fnmatch_lines(["*gradcheck*", "*a wrong gradient fails the test*"])


def test_loading_the_plugin_costs_nothing():
    """The plugin itself imports neither Numba nor the engine, so that pytest starts as fast in projects without."""
    code = (f"import sys, runpy; runpy.run_path({tinyseg.pytest_plugin.__file__!r}); "
            "print({'numba', 'numpy', 'tinyseg'} & set(sys.modules))")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
