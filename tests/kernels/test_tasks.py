"""The shared parallel loop, compiled by one process and loaded from the cache by another."""
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PROGRAM = """
import sys
import numpy as np
from tinyseg.kernels.inner import inner
from tinyseg.kernels.tasks import each_task

@inner
def number(task, a):
    a[task] = task

a = np.zeros(4, sys.argv[1])
each_task(number, 4, (a,))
assert a.tolist() == [0, 1, 2, 3]
"""


@pytest.mark.slow
def test_a_process_whose_first_loop_comes_from_the_cache_and_one_whose_body_has_changed(tmp_path):
    settings = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)

    def run(dtype):
        return subprocess.run([sys.executable, program, dtype], cwd=ROOT, env=settings, capture_output=True, text=True)

    for dtype in ("float32", "float64", "float64"):            # the second finds the loop there, the third everything
        done = run(dtype)
        assert done.returncode == 0, done.stderr[-3000:]
    program.write_text(PROGRAM.replace("= task", "= 7"))
    assert "AssertionError" in run("float64").stderr           # not what was kept
