"""The master copy, what is made of it, and what both score."""
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest
from course.pace import PATIENT
from course.schema import read

from tinyseg.cli import main
from tinyseg.course import sandbox
from tinyseg.course.assignment import Assignment, regions
from tinyseg.course.grader import grade
from tinyseg.course.handout import make
from tinyseg.kernels import conv

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def handout(assignment, tmp_path_factory):
    out = tmp_path_factory.mktemp("handout")
    make(assignment, out)
    return out


def contents(folder):
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_the_handout_scores_nothing(handout, assignment, tmp_path):
    results = grade(handout / "student", assignment, tmp_path / "results.json", pace=PATIENT)
    assert results.score == 0 and read(tmp_path / "results.json")["score"] == 0
    assert len(results.outcomes) == 48
    for outcome in results.outcomes:
        assert f"not written yet (task {outcome.test.task}: " in outcome.message


@pytest.fixture
def compiled(monkeypatch):
    """What workers had to compile, as it was not in the cache that they got a copy of."""
    cache = pathlib.Path(conv.conv2d.stats.cache_path)
    names = []

    def end(worker, end=sandbox.Worker.end):
        names.extend({path.name for path in worker.folder.rglob("*.nbc")} - {path.name for path in cache.iterdir()})
        end(worker)
    monkeypatch.setattr(sandbox.Worker, "end", end)
    return names


@pytest.mark.slow
def test_the_master_scores_full_marks_and_waits_for_no_compiler(assignment, tmp_path, capsys, compiled):
    out, page = tmp_path / "results.json", tmp_path / "page.html"
    master = str(assignment.folder)
    assert main(["grade", master, "--master", master, "--out", str(out), "--html", str(page),
                 f"--pace={PATIENT}"]) == 0
    results = read(out)
    assert results["score"] == assignment.points == 100
    assert results["extra_data"]["tasks"] == {name: task.points for name, task in assignment.tasks.items()}
    assert "100 of 100" in capsys.readouterr().out
    assert "for a person to grade" in page.read_text() and "<script" not in page.read_text()
    assert not compiled, compiled


def test_students_get_neither_solutions_nor_hidden_tests(handout, assignment):
    student = handout / "student"
    for path in student.rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            assert "BEGIN" not in text and "END SOLUTION" not in text and "END HIDDEN" not in text, path
    hidden = [test for task in assignment.tasks.values() for test in task.tests if test.hidden]
    assert len(hidden) >= len(assignment.tasks)
    public = "".join(path.read_text() for path in (student / "tests").glob("*.py"))
    assert not any(f"def {test.function.__name__}(" in public and test.name not in
                   {t.name for task in assignment.tasks.values() for t in task.tests if not t.hidden} for test in hidden)
    assert not (student / "assignment.cfg").exists() and not (student / "given").exists()
    assert "| 1 | `conv_loops.py` |" in (student / "README.md").read_text()
    assert "(your answer)" in (student / "answers.md").read_text() and "w'" not in (student / "answers.md").read_text()


def test_stubs_say_what_is_missing(handout):
    text = (handout / "student" / "decoder.py").read_text()
    assert '        raise NotImplementedError("task decoder: Decoder.__init__")' in text
    assert "score1, self" not in text and "def run(" in text


def test_it_is_the_same_every_time(handout, assignment, tmp_path):
    for path in [tmp_path / "student" / "left_over.py", tmp_path / "elsewhere"]:
        path.parent.mkdir(exist_ok=True)
        path.write_text("old")
    os.utime(assignment.folder / "loss.py")
    make(assignment, tmp_path)
    assert contents(tmp_path) == contents(handout) | {"elsewhere": contents(tmp_path)["elsewhere"]}


def test_the_instructors_folder_grades(handout, tmp_path):
    again = Assignment(handout / "instructor")
    assert grade(handout / "instructor", again, only=["metrics"], pace=PATIENT).score == 8


def test_public_tests_run_in_the_students_folder(handout, tmp_path):
    before, after = (shutil.copytree(handout / "student", tmp_path / name / "student") for name in ("before", "after"))
    shutil.copy(handout / "instructor" / "metrics.py", after)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--strict-markers", "-m", "metrics"]
    runs = [subprocess.Popen(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True) for folder in (before, after)]
    (failed, _), (passed, _) = (run.communicate() for run in runs)
    assert runs[0].returncode == 1 and "3 failed" in failed, failed
    assert runs[1].returncode == 0 and "3 passed" in passed, passed


def test_the_zip_has_its_files_at_the_root(handout):
    with zipfile.ZipFile(handout / "autograder.zip") as archive:
        names = archive.namelist()
        assert {"setup.sh", "run_autograder", "requirements.txt"} <= set(names)
        assert {"assignment/assignment.cfg", "tinyseg/__main__.py"} <= set(names)
        assert not any(name.endswith((".pyc", ".nbi", ".nbc")) for name in names)
        for name in ("setup.sh", "run_autograder"):
            assert archive.getinfo(name).external_attr >> 16 & 0o111, f"{name} can be run"
            assert subprocess.run(["bash", "-n"], input=archive.read(name)).returncode == 0


def test_the_handout_command(assignment, tmp_path, capsys):
    assert main(["handout", str(assignment.folder), "--out", str(tmp_path / "out")]) == 0
    assert [pathlib.Path(line).name for line in capsys.readouterr().out.split()] == ["student", "instructor", "autograder.zip"]
    assert main(["handout", str(assignment.folder), "--out", str(assignment.folder / "out")]) == 2
    assert "lies in the master copy" in capsys.readouterr().err
    assert main(["handout", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "holds no assignment.cfg" in capsys.readouterr().err


@pytest.mark.parametrize("text, message", [
    ("# BEGIN HIDDEN\n", "line 1: BEGIN HIDDEN without an END"), ("x\n# END HIDDEN\n", "line 2: END HIDDEN without a BEGIN"),
    ("# BEGIN HIDDEN\n# BEGIN HIDDEN\n", "line 2: BEGIN HIDDEN within that of line 1")])
def test_marks_that_do_not_match(text, message):
    with pytest.raises(ValueError, match=message):
        regions(text, "HIDDEN", "test_x.py")


def test_a_master_whose_points_do_not_add_up(assignment, tmp_path):
    shutil.copytree(assignment.folder, tmp_path / "master")
    file = tmp_path / "master" / "assignment.cfg"
    file.write_text(file.read_text().replace("points = 12", "points = 13", 1))
    with pytest.raises(ValueError, match="task conv_loops: its tests earn 12 points, assignment.cfg says 13"):
        Assignment(tmp_path / "master")
    file.write_text(file.read_text().replace("points = 13", "points = 12", 1).replace("depends = conv_loops", "depends = conv"))
    with pytest.raises(ValueError, match="transposed depends on conv, no task"):
        Assignment(tmp_path / "master")
