"""The master copy of an assignment: its tasks, its tests, and the marks that say what students do not see.

    # BEGIN SOLUTION … # END SOLUTION      lines that students write
    # BEGIN HIDDEN … # END HIDDEN          tests that only the grader has
"""
from __future__ import annotations

import configparser
import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CONFIGURATION = "assignment.cfg"
VISIBILITY = ("visible", "after_due_date", "after_published", "hidden")


@dataclass(frozen=True)
class Test:
    """A function of the master's tests, and what it earns."""

    task: str
    number: str                              # "3.2"
    name: str                                # "backward with stride and padding"
    points: float
    hidden: bool
    function: Callable[..., None]


@dataclass(frozen=True)
class Task:
    """One file that students complete.

    depends: tasks whose functions it may call, and gets from the master;  given: files that are put beside it.
    engine: may it use tinyseg, or NumPy only?   seconds: processor time for all of its tests.
    """

    name: str
    title: str
    points: float
    depends: tuple[str, ...]
    given: tuple[Path, ...]
    engine: bool
    seconds: float
    tests: list[Test] = field(default_factory=list)

    @property
    def file(self) -> str:
        return f"{self.name}.py"


class Assignment:
    """The master copy in a folder.

    tasks: by name, in their order.  ValueError, naming file and line, if marks do not match, the tests' points are not
    those of their task, or the configuration is wrong; FileNotFoundError if there is no assignment.cfg.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder).resolve()
        parser = configparser.ConfigParser()
        if not parser.read(self.folder / CONFIGURATION, encoding="utf-8"):
            raise FileNotFoundError(f"{folder}: holds no {CONFIGURATION}; give an assignment's master copy")
        about = parser["assignment"]
        self.title = about["title"]
        self.hidden_tests = about.get("hidden_tests", "visible")
        self.written = about.get("written", "").split()
        if self.hidden_tests not in VISIBILITY:
            raise ValueError(f"{CONFIGURATION}: hidden_tests is {self.hidden_tests}; expected {', '.join(VISIBILITY)}")
        tasks = [self._task(parser[name]) for name in parser.sections() if name.startswith("task ")]
        self.tasks = {task.name: task for task in tasks}
        for path in sorted((self.folder / "tests").glob("test_*.py")):
            self._add_tests(path)
        for task in self.tasks.values():
            total = sum(test.points for test in task.tests)
            if abs(total - task.points) > 1e-9:
                raise ValueError(f"task {task.name}: its tests earn {total:g} points, {CONFIGURATION} says "
                                 f"{task.points:g}")
            if unknown := set(task.depends) - set(self.tasks):
                raise ValueError(f"task {task.name} depends on {', '.join(sorted(unknown))}, no task of the assignment")

    @property
    def points(self) -> float:
        return sum(task.points for task in self.tasks.values())

    def functions(self, name: str) -> list[str]:
        """The functions that the master of a task defines for others to call."""
        return re.findall(r"^def ([a-z]\w*)", (self.folder / self.tasks[name].file).read_text(encoding="utf-8"), re.M)

    def _task(self, section: configparser.SectionProxy) -> Task:
        name = section.name.removeprefix("task ")
        given = [self.folder / "given" / file for file in section.get("given", "").split()]
        given = [path if path.exists() else self.folder / path.name for path in given]
        for path in (self.folder / f"{name}.py", *given):
            if not path.is_file():
                raise FileNotFoundError(f"{CONFIGURATION}: task {name} needs {path}, which is missing")
        return Task(name, section["title"], float(section["points"]), tuple(section.get("depends", "").split()),
                    tuple(given), section.getboolean("engine", False), float(section.get("seconds", "10")))

    def _add_tests(self, path: Path) -> None:
        hidden = regions(path.read_text(encoding="utf-8"), "HIDDEN", path.name)
        for name, function in vars(_module(path)).items():
            if not name.startswith("test_") or not callable(function):
                continue
            task = self.tasks.get(getattr(function, "task", ""))
            if task is None:
                raise ValueError(f"{path.name}: {name} earns no points; write @points(task, number) above it")
            line = function.__code__.co_firstlineno
            number = f"{list(self.tasks).index(task.name) + 1}.{len(task.tests) + 1}"
            words = name.removeprefix("test_").replace("_", " ")
            task.tests.append(Test(task.name, number, words, getattr(function, "points"),
                                   any(start <= line <= end for start, end in hidden), function))


def regions(text: str, kind: str, name: str = "") -> list[tuple[int, int]]:
    """First and last line (from 1, marks included) of each part between BEGIN and END of that kind.

    >>> regions("a\\n# BEGIN HIDDEN\\nb\\n# END HIDDEN\\n", "HIDDEN")
    [(2, 4)]
    """
    found, start = [], 0
    for number, line in enumerate(text.splitlines(), 1):
        mark = re.fullmatch(rf"\s*(?:#|<!--) (BEGIN|END) {kind}(?: -->)?\s*", line)
        if mark is None:
            continue
        if (mark[1] == "BEGIN") == bool(start):
            raise ValueError(f"{name}, line {number}: {mark[1]} {kind} "
                             + (f"within that of line {start}" if start else "without a BEGIN"))
        if mark[1] == "END":
            found.append((start, number))
        start = number if mark[1] == "BEGIN" else 0
    if start:
        raise ValueError(f"{name}, line {start}: BEGIN {kind} without an END")
    return found


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"tinyseg_assignment_{path.stem}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
