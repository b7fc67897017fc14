"""Make what is handed out of the master copy: the same bytes every time, so that terms can be compared by diff."""
from __future__ import annotations

import ast
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

from .. import __version__
from .assignment import CONFIGURATION, Assignment, regions

POINTS_MARK = "<!-- POINTS -->"
INSTRUCTORS_ONLY = {CONFIGURATION, "given"}
LEFT_OUT = {"__pycache__", ".pytest_cache", ".ipynb_checkpoints", "results.json"}
TINYSEG = Path(__file__).resolve().parents[1]


def make(assignment: Assignment, out: str | Path) -> list[Path]:
    """Write student/, instructor/ and autograder.zip into a folder, in place of what it may hold of these; their paths.

    student: stubs that raise NotImplementedError, the public tests, the instructions.  instructor: the master copy.
    autograder.zip: what is uploaded to Gradescope.  ValueError if `out` lies in the master copy.
    """
    out = Path(out).resolve()
    if out == assignment.folder or assignment.folder in out.parents:
        raise ValueError(f"handout: {out} lies in the master copy; choose another folder")
    student, instructor, archive = out / "student", out / "instructor", out / "autograder.zip"
    for folder in (student, instructor):
        shutil.rmtree(folder, ignore_errors=True)
    for path in files(assignment.folder):
        name = path.relative_to(assignment.folder)
        _write(instructor / name, path.read_bytes())
        if name.parts[0] not in INSTRUCTORS_ONLY:
            _write(student / name, for_students(path, assignment))
    _write(archive, b"")
    autograder(assignment, archive)
    return [student, instructor, archive]


def files(folder: Path) -> list[Path]:
    """All files below a folder, in one order, without what Python and editors leave behind."""
    return sorted(path for path in folder.rglob("*")
                  if path.is_file() and not LEFT_OUT & set(path.parts) and path.suffix not in (".pyc", ".nbi", ".nbc"))


def for_students(path: Path, assignment: Assignment) -> bytes:
    """A file of the master copy without solutions and hidden tests."""
    if path.suffix not in (".py", ".md"):
        return path.read_bytes()
    text = path.read_text(encoding="utf-8")
    text = _replace(text, "HIDDEN", path, lambda start: [])
    if path.suffix == ".md":
        text = _replace(text, "SOLUTION", path, lambda start: ["(your answer)"])
        return text.replace(POINTS_MARK, points_table(assignment)).encode()
    tree = ast.parse(text)
    return _replace(text, "SOLUTION", path, lambda start: _stub(text, tree, start, path.stem)).encode()


def points_table(assignment: Assignment) -> str:
    """The tasks as a table in Markdown."""
    rows = [f"| {number} | `{task.file}` | {task.title} | {task.points:g} |"
            for number, task in enumerate(assignment.tasks.values(), 1)]
    return "\n".join(["| task | file | what | points |", "|---|---|---|---|", *rows,
                      f"| | | | {assignment.points:g} |"])


def _replace(text: str, kind: str, path: Path, new: Callable[[int], list[str]]) -> str:
    """The text with other lines in place of every region of a kind: new(the number of its first line)."""
    lines = text.splitlines()
    for start, end in reversed(regions(text, kind, path.name)):
        lines[start - 1:end] = new(start)
    return "\n".join(lines).rstrip("\n") + "\n"


def _stub(text: str, tree: ast.Module, line: int, task: str) -> list[str]:
    """What stands in place of a solution that begins in a line: an error with a name; nothing outside of functions."""
    names = [node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))
             and node.lineno <= line <= (node.end_lineno or 0) + 1 and node.col_offset < _indent(text, line)]
    if not names:
        return []
    return [f'{" " * _indent(text, line)}raise NotImplementedError("task {task}: {".".join(names)}")']


def _indent(text: str, line: int) -> int:
    mark = text.splitlines()[line - 1]
    return len(mark) - len(mark.lstrip())


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


# Gradescope --------------------------------------------------------------------------------------------------------


def autograder(assignment: Assignment, path: Path) -> None:
    """The zip that Gradescope takes: set-up, grader, the master copy and this library."""
    content = {"setup.sh": SETUP, "run_autograder": RUN, "requirements.txt": REQUIREMENTS}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in content.items():
            _add(archive, name, text.encode(), executable=name != "requirements.txt")
        for folder, name in [(assignment.folder, "assignment"), (TINYSEG, "tinyseg")]:
            for file in files(folder):
                _add(archive, f"{name}/{file.relative_to(folder).as_posix()}", file.read_bytes())


def _add(archive: zipfile.ZipFile, name: str, content: bytes, executable: bool = False) -> None:
    """One file, with a fixed date and fixed rights."""
    entry = zipfile.ZipInfo(name, date_time=(2000, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = 3
    entry.external_attr = (0o100755 if executable else 0o100644) << 16
    archive.writestr(entry, content)


REQUIREMENTS = """\
numpy >= 1.26
numba >= 0.60
pillow >= 10.0
matplotlib >= 3.8
tqdm >= 4.60
"""

SETTINGS = f"""\
# tinyseg {__version__}.  One folder of compiled kernels, for one kind of processor, while building and while grading:
# kernels for another one would be compiled again for every submission.
export PYTHONPATH=/autograder/source NUMBA_CACHE_DIR=/autograder/kernels
export NUMBA_CPU_NAME=x86-64-v3 NUMBA_CPU_FEATURES=+avx,+avx2,+fma
export NUMBA_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 MPLCONFIGDIR=/tmp/matplotlib
"""

SETUP = f"""\
#!/usr/bin/env bash
# Runs once, when Gradescope builds the image: Python, the libraries, and all kernels compiled by grading the solution.
set -euo pipefail
apt-get update
apt-get install -y python3 python3-pip python3-venv
python3 -m venv /autograder/venv
/autograder/venv/bin/pip install --no-cache-dir -r /autograder/source/requirements.txt
{SETTINGS}
cd /autograder/source
/autograder/venv/bin/python -m tinyseg warmup
/autograder/venv/bin/python -m tinyseg grade assignment --master assignment --out /tmp/solution.json
chmod 700 /autograder/source/assignment
"""

RUN = f"""\
#!/usr/bin/env bash
# Runs for every submission.  Whatever happens, Gradescope finds a results.json.
{SETTINGS}
cd /autograder/source
chmod 700 /autograder/source/assignment /autograder/results
results=/autograder/results/results.json
/autograder/venv/bin/python -m tinyseg grade /autograder/submission --master assignment --out $results
if [ ! -s $results ]; then
    echo '{{"score": 0, "output": "The grader failed, not you: tell your instructor.", "tests": []}}' > $results
fi
"""
