"""Each classic mistake costs points of its own task, and the student reads which mistake it is."""
import shutil

import pytest
from course.pace import PATIENT
from course.together import two_at_a_time
from course.wrong import WRONG

from tinyseg.course.grader import grade


@pytest.fixture(scope="module")
def graded(assignment, tmp_path_factory, request):
    """The results of a submission with a mistake, of its task and of those that depend on it."""
    root = tmp_path_factory.mktemp("wrong")

    def grade_wrong(wrong):
        source = (assignment.folder / f"{wrong.task}.py").read_text(encoding="utf-8")
        assert source.count(wrong.line), "the solution has changed: there is no such line"
        folder = root / wrong.name
        folder.mkdir()
        for task in assignment.tasks.values():
            shutil.copy(assignment.folder / task.file, folder)
        (folder / f"{wrong.task}.py").write_text(source.replace(wrong.line, wrong.instead), encoding="utf-8")
        concerned = [wrong.task, *(t.name for t in assignment.tasks.values() if wrong.task in t.depends)]
        return grade(folder, assignment, only=concerned, pace=PATIENT)
    return two_at_a_time(grade_wrong, request, "wrong")


@pytest.mark.parametrize("wrong", [
    pytest.param(wrong, marks=pytest.mark.slow if wrong.task == "stages" else (), id=wrong.name) for wrong in WRONG])
def test_it_is_named_and_costs_its_own_task_only(wrong, graded):
    failed = [outcome for outcome in graded(wrong).outcomes if not outcome.passed]
    assert {outcome.test.task for outcome in failed} == {wrong.task}
    assert any(wrong.message in outcome.message for outcome in failed), [outcome.message for outcome in failed]


def test_there_are_enough_of_them():
    assert len({wrong.name for wrong in WRONG}) == len(WRONG) >= 40
