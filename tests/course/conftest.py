import pathlib

import pytest

from tinyseg.course.assignment import Assignment

MASTER = pathlib.Path(__file__).parents[2] / "examples" / "assignment"


@pytest.fixture(scope="session")
def assignment():
    return Assignment(MASTER)
