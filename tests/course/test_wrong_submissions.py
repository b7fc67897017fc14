"""Each classic mistake costs points of its own task, and the student reads which mistake it is."""
import shutil

import pytest
from course.pace import PATIENT
from course.wrong import WRONG

from tinyseg.course.grader import grade


@pytest.mark.parametrize("wrong", [
    pytest.param(wrong, marks=pytest.mark.slow if wrong.task == "stages" else (), id=wrong.name) for wrong in WRONG])
def test_it_is_named_and_costs_its_own_task_only(wrong, assignment, tmp_path):
    source = (assignment.folder / f"{wrong.task}.py").read_text(encoding="utf-8")
    assert source.count(wrong.line), "the solution has changed: there is no such line"
    for task in assignment.tasks.values():
        shutil.copy(assignment.folder / task.file, tmp_path)
    (tmp_path / f"{wrong.task}.py").write_text(source.replace(wrong.line, wrong.instead), encoding="utf-8")
    concerned = [wrong.task, *(t.name for t in assignment.tasks.values() if wrong.task in t.depends)]
    results = grade(tmp_path, assignment, only=concerned, pace=PATIENT)
    failed = [outcome for outcome in results.outcomes if not outcome.passed]
    assert {outcome.test.task for outcome in failed} == {wrong.task}
    assert any(wrong.message in outcome.message for outcome in failed), [outcome.message for outcome in failed]


def test_there_are_enough_of_them():
    assert len({wrong.name for wrong in WRONG}) == len(WRONG) >= 40
