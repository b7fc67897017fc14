"""Every example runs, as a newcomer runs it; those of the lecture read as scripts, as notebooks and on slides."""
import ast
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
EXAMPLES = sorted(path for path in (ROOT / "examples").rglob("*.py") if "assignment" not in path.parts)
LECTURE = [path for path in EXAMPLES if path.parent.name == "lecture"]


def test_there_are_examples():
    assert EXAMPLES and LECTURE


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_runs(path, tmp_path):
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "MPLBACKEND": "module://slides"}
    done = subprocess.run([sys.executable, "-W", "error", path], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout and not done.stderr
    assert path not in LECTURE or list(tmp_path.glob("figure_*.png"))


@pytest.mark.parametrize("path", LECTURE, ids=lambda path: path.name)
def test_the_lectures_scripts_are_short_and_in_cells(path):
    text = path.read_text(encoding="utf-8")
    title, underline, *_ = ast.get_docstring(ast.parse(text)).splitlines()
    assert re.fullmatch(r"\d\d_[a-z_]+\.py", path.name) and title and underline == "=" * len(title)
    assert text.count("\n") <= 150
    cells = re.split(r"^# %%.*\n", text, flags=re.M)[1:]
    assert len(cells) >= 3 and all(re.match(r"# \S", cell) for cell in cells), "every cell begins with prose"
    assert "Try" in cells[-1]
    assert re.search(r"\bassert|^\s*(np\.testing\.)?assert_\w+\(", text, re.M), "claims are asserted"
    assert text.count("plt.show()") >= 1


def test_the_examples_that_the_lectures_table_names_are_there():
    named = re.findall(r"examples/[\w/]+\.py", (ROOT / "docs" / "lecture.md").read_text(encoding="utf-8"))
    assert {ROOT / name for name in named} <= set(EXAMPLES) and {ROOT / name for name in named} >= set(LECTURE)
