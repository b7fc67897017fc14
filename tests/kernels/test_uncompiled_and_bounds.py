"""The kernels as plain Python and with bounds checks: each in a fresh process, since Numba reads its settings at import."""
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


def run_golden(**settings):
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/test_golden.py"]
    return subprocess.run(command, cwd=ROOT, env=os.environ | settings, capture_output=True, text=True)


@pytest.mark.slow
def test_plain_python_bodies_give_the_golden_results():
    done = run_golden(NUMBA_DISABLE_JIT="1")
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.slow
def test_no_kernel_reaches_outside_its_arrays(tmp_path):
    done = run_golden(NUMBA_BOUNDSCHECK="1", NUMBA_CACHE_DIR=str(tmp_path))
    assert done.returncode == 0, done.stdout[-3000:]
    assert any(tmp_path.rglob("*.nbi")), "the kernels were not compiled anew, so nothing was checked"
