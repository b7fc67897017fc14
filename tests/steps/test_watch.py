"""The looking glass itself."""
import sys

import pytest

from tinyseg.ops.conv import Conv2d
from tinyseg.steps.watch import watch


def squares(n):
    found = []
    for i in range(n):
        square = i * i                    # a comment
        if square % 2:
            continue
        found.append(square)
    return found


def test_it_sees_the_variables_after_each_run_of_the_line():
    run = watch(squares, "square = i", lambda at: (at["i"], at["square"]), 4)
    assert run == ("square = i * i", [(0, 0), (1, 1), (2, 4), (3, 9)], [0, 4])


def test_a_line_that_ends_the_function_counts_too():
    assert watch(squares, "return found", lambda at: list(at["found"]), 3).moments == [[0, 4]]


def test_a_line_that_never_runs_is_never_seen():
    assert watch(squares, "found.append", lambda at: at, 0).moments == []


@pytest.mark.parametrize("line, count", [("cube =", 0), ("f", 3)])
def test_the_line_must_be_the_only_one(line, count):
    with pytest.raises(LookupError, match=f"{count} lines of squares begin with {line!r}"):
        watch(squares, line, lambda at: None, 1)


def test_another_trace_function_is_put_back_even_after_an_error():
    def other(frame, event, argument):
        return None

    before = sys.gettrace()
    sys.settrace(other)
    try:
        watch(squares, "square", lambda at: None, 2)
        assert sys.gettrace() is other
        with pytest.raises(TypeError):
            watch(squares, "square", lambda at: None, "two")
        assert sys.gettrace() is other
    finally:
        sys.settrace(before)


def test_the_steppers_watch_the_reference_that_the_engine_is_tested_against(monkeypatch):
    """A reference that is wrong must make the steps wrong: they have no arithmetic of their own."""
    from tinyseg import steps

    right = Conv2d.reference

    def wrong(x, w, *, stride, padding, dilation):
        import numpy as np
        x = np.pad(x, ((0, 0), (0, 0), *padding))
        y = np.zeros((1, 1, x.shape[2] - 2, x.shape[3] - 2))
        yg = y
        for i in range(y.shape[2]):
            for j in range(y.shape[3]):
                window = x[:, :, i:i + 3, j:j + 3]
                yg[:, :, i, j] = 7 * window[0, 0, 0, 0]
        return y

    monkeypatch.setattr(Conv2d, "reference", staticmethod(wrong))
    assert steps.conv()[-1]["Output"].values[-1, -1] == 70
    monkeypatch.setattr(Conv2d, "reference", staticmethod(right))
    assert steps.conv()[-1]["Output"].values[-1, -1] == 30
