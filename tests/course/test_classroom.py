"""A folder of submissions: the table, and who is alike."""
import csv
import shutil

import pytest
from course.pace import PATIENT
from course.schema import read

from tinyseg.cli import main
from tinyseg.course.classroom import write_table
from tinyseg.course.grader import find
from tinyseg.course.results import Outcome, Results, clean
from tinyseg.course.similarity import pairs


@pytest.fixture
def small(assignment, tmp_path):
    """An assignment of one quick task."""
    folder = tmp_path / "master"
    (folder / "tests").mkdir(parents=True)
    shutil.copy(assignment.folder / "metrics.py", folder)
    shutil.copy(assignment.folder / "tests" / "test_7_metrics.py", folder / "tests")
    (folder / "assignment.cfg").write_text("[assignment]\ntitle = Small\nhidden_tests = after_published\n[task metrics]\n"
                                           "title = Metrics\npoints = 8\n")
    return folder


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_class_in_a_table(small, tmp_path, capsys):
    solution = (small / "metrics.py").read_text()
    for name, text in {"ada": solution, "bob": solution.replace("confusion", "c").replace("union", "total"),
                       "eve": "import os\nos._exit(0)\n", "=cmd()": solution.replace("axis=1)", "axis=2)")}.items():
        (tmp_path / "class" / name).mkdir(parents=True)
        (tmp_path / "class" / name / "metrics.py").write_text(text)
    command = ["grade", str(tmp_path / "class"), "--master", str(small), "--csv", str(tmp_path / "table.csv"), "--jobs", "2",
               f"--pace={PATIENT}", "--similarity", str(tmp_path / "alike.csv"), "--out", str(tmp_path / "all")]
    assert main(command) == 0
    assert "4 submissions" in capsys.readouterr().out
    table = rows(tmp_path / "table.csv")
    assert [row["submission"] for row in table] == ["'=cmd()", "ada", "bob", "eve"]
    assert [float(row["score"]) for row in table][1] == 8 and float(table[3]["score"]) == 0
    assert 0 < float(table[0]["score"]) < 8 and not any(row["problem"] for row in table)
    results = read(tmp_path / "all" / "ada.json")
    assert {test["visibility"] for test in results["tests"]} == {"visible", "after_published"}
    assert (tmp_path / "all" / "eve.html").exists()
    assert ("ada", "bob") in {(row["first"], row["second"]) for row in rows(tmp_path / "alike.csv")}


def test_renamed_variables_and_other_comments_are_alike(assignment, tmp_path):
    solution = (assignment.folder / "pooling.py").read_text()
    own = solution.replace("np.put_along_axis", "for a in (1, 2, 3): pass\n    np.put_along_axis")
    other = """import numpy as np


def max_pool2d_forward(x, kernel_size):
    k = kernel_size
    y = np.zeros((x.shape[0], x.shape[1], x.shape[2] // k, x.shape[3] // k))
    indices = np.zeros(y.shape, np.int64)
    for n, c, i, j in np.ndindex(y.shape):
        best = None
        for a in range(i * k, i * k + k):
            for b in range(j * k, j * k + k):
                if best is None or x[n, c, a, b] > best:
                    best, indices[n, c, i, j] = x[n, c, a, b], a * x.shape[3] + b
        y[n, c, i, j] = best
    return y, indices
"""
    renamed = own.replace("windows", "patches").replace("columns", "cs")
    for name, text in {"ada": solution, "bob": renamed, "cyd": other}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "pooling.py").write_text(text)
    (found,) = pairs(sorted(tmp_path.iterdir()), assignment)
    assert (found["first"], found["second"], found["file"]) == ("ada", "bob", "pooling.py") and found["similarity"] > 0.8


def test_what_was_handed_out_is_not_alike(assignment, tmp_path):
    from tinyseg.course.handout import for_students
    for name in ("ada", "bob"):
        (tmp_path / name).mkdir()
        for task in assignment.tasks.values():
            (tmp_path / name / task.file).write_bytes(for_students(assignment.folder / task.file, assignment))
    assert pairs(sorted(tmp_path.iterdir()), assignment) == []


def test_files_are_found_one_folder_down(tmp_path):
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "loss.py").touch()
    (tmp_path / "my work").mkdir()
    (tmp_path / "my work" / "loss.py").touch()
    assert find(tmp_path, "loss.py") == tmp_path / "my work" / "loss.py"


def test_messages_cannot_break_the_report(assignment):
    assert clean("a\x1b[2Jb\x00") == "a?[2Jb?" and len(clean("x" * 10**6)) < 5000
    test = assignment.tasks["loss"].tests[0]
    page = Results(assignment, [Outcome(test, "<script>alert(1)</script>")], {"answers.md": "</pre><b>"}).page()
    assert "<script>" not in page and "</pre><b>" not in page


def test_formulas_are_no_formulas(tmp_path):
    write_table(tmp_path / "t.csv", ["a"], [{"a": "=1+1"}, {"a": -1.0}])
    assert (tmp_path / "t.csv").read_text() == "a\n'=1+1\n-1.0\n"


@pytest.mark.parametrize("arguments, message", [
    (["grade", "nowhere"], "no such folder"), (["grade", ".", "--task", "los"], "no task los"),
    (["grade", ".", "--pace", "0"], "expected 0.01 to 100"), (["grade", ".", "--csv", "x.csv", "--jobs", "0"], "at least 1")])
def test_bad_arguments(arguments, message, assignment, tmp_path, monkeypatch, capsys):
    (tmp_path / "somebody").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "--master", str(assignment.folder)]) == 2
    assert message in capsys.readouterr().err
