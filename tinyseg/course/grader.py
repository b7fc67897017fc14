"""Grade one submission: every test of every task, each task in a sandbox of its own."""
from __future__ import annotations

import time
from collections.abc import Sequence
from inspect import signature
from pathlib import Path

from .assignment import Assignment, Task, Test
from .results import Outcome, Results
from .sandbox import Module, StudentError

FILE_LIMIT = 1 << 20                         # bytes of a student's source
DEEP = 3                                     # how many folders down a file is looked for


def grade(submission: str | Path, assignment: Assignment, out: str | Path | None = None, only: Sequence[str] = (),
          pace: float = 1.0) -> Results:
    """Run all tests on a folder of student's files, and write the results to `out` after every task.

    only: names of tasks, if not all.  pace: factor on all time limits, for slow machines.  Nothing that student code
    does raises an exception here.  FileNotFoundError if there is no such folder.
    """
    folder = Path(submission)
    if not folder.is_dir():
        raise FileNotFoundError(f"{submission}: no such folder of a submission")
    if unknown := set(only) - set(assignment.tasks):
        raise ValueError(f"grade: no task {', '.join(sorted(unknown))}; there are {', '.join(assignment.tasks)}")
    tasks = [task for name, task in assignment.tasks.items() if name in (only or assignment.tasks)]
    outcomes = [Outcome(test, "not run: the grader was stopped before") for task in tasks for test in task.tests]
    results = Results(assignment, outcomes, {name: _written(folder, name) for name in assignment.written})
    begin = time.monotonic()
    for task in tasks:
        _grade_task(task, assignment, folder, results, pace)
        results.seconds = time.monotonic() - begin
        if out is not None:
            results.write(out)
    return results


def _grade_task(task: Task, assignment: Assignment, folder: Path, results: Results, pace: float) -> None:
    found = find(folder, task.file)
    module = Module(assignment, task, found, pace) if isinstance(found, Path) else None
    outcomes = [outcome for outcome in results.outcomes if outcome.test.task == task.name]
    try:
        for outcome in outcomes:
            outcome.message = _run(outcome.test, module) if module else str(found)
            outcome.passed = not outcome.message
        if module and module.forbidden:
            for outcome in outcomes:
                outcome.message, outcome.passed = module.forbidden, False
    finally:
        if module:
            module._end()


def _run(test: Test, module: Module) -> str:
    """What is wrong, or nothing."""
    assert list(signature(test.function).parameters) == [test.task], \
        f"{test.function.__name__}: a test of task {test.task} takes one argument, {test.task}"
    try:
        test.function(module)
    except StudentError as error:
        return str(error)
    except AssertionError as error:
        return str(error) or "the result is not as expected"
    except Exception as error:                           # the test stumbled over what it was given
        return f"the result is none that the test can use: {type(error).__name__}: {error}"
    return ""


def find(folder: Path, name: str) -> Path | str:
    """The student's file of that name, in the folder or one of its folders; or in words why there is none."""
    candidates = sorted((path for depth in range(DEEP) for path in folder.glob("*/" * depth + name)),
                        key=lambda path: (len(path.parts), path))
    candidates = [path for path in candidates if not {"__MACOSX", "__pycache__"} & set(path.parts)]
    if not candidates:
        return f"{name} is missing in the submission; hand in all files, under their own names"
    path, root = candidates[0], folder.resolve()
    if path.is_symlink() or root not in path.resolve().parents:
        return f"{name} is a link; hand in the file itself"
    if not path.is_file():
        return f"{name} is not a file"
    if path.stat().st_size > FILE_LIMIT:
        return f"{name} has {path.stat().st_size >> 10} KiB; at most {FILE_LIMIT >> 10} KiB are read"
    return path


def _written(folder: Path, name: str) -> str:
    """A student's written answers, for a person to read."""
    found = find(folder, name)
    return found.read_text(encoding="utf-8", errors="replace") if isinstance(found, Path) else found
