"""What the assignment's tests are written with: points, and checks that say which mistake a result looks like."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from ..gradcheck.case import Case
from ..gradcheck.diagnosis import diagnose
from ..gradcheck.evidence import Evidence, location
from ..gradcheck.report import Report
from ..tensor import Tensor

Function = TypeVar("Function", bound=Callable[..., None])


def points(task: str, number: float) -> Callable[[Function], Function]:
    """Decorator: this test earns so many points of a task.

    >>> @points("loss", 2)
    ... def test_one_pixel(loss): ...
    >>> test_one_pixel.task, test_one_pixel.points
    ('loss', 2)
    """
    def decorate(function: Function) -> Function:
        vars(function).update(task=task, points=number)
        return function
    return decorate


def array(value: Any, like: Any, name: str) -> np.ndarray:
    """The value, if it is an array or number of the shape and dtype of `like`, all finite; else AssertionError."""
    like = np.asarray(like)
    assert value is not None, f"{name} is None: is a return missing?"
    assert isinstance(value, (np.ndarray, np.generic, int, float)), \
        f"{name} is a {type(value).__name__}, expected an array of shape {like.shape}"
    value = np.asarray(value)
    assert value.shape == like.shape, f"{name} has shape {value.shape}, expected {like.shape}"
    if like.dtype.kind == "i":
        assert value.dtype.kind in "iu", f"{name} is {value.dtype}, expected integers"
    else:
        assert value.dtype == like.dtype, f"{name} is {value.dtype}, expected {like.dtype}, the dtype of the input"
        count = np.count_nonzero(~np.isfinite(value))
        assert not count, f"{name}: {count} of {value.size} entries are NaN or infinite"
    return value


def close(value: Any, expected: Any, name: str = "the result", mistakes: Mapping[str, Any] = {},
          rtol: float = 1e-6) -> None:
    """AssertionError, unless the value is as expected.

    mistakes: {what somebody may have done: what would come out then}; one that fits is named, whatever its shape.
    Otherwise the checker's classification tells a wrong sign, a factor, a border, and so on.

    >>> close(np.ones(2), np.zeros(2), "y", {"one is added": np.ones(2)})
    Traceback (most recent call last):
      ...
    AssertionError: y is what comes out if one is added
    """
    expected = np.asarray(expected)
    for sentence, other in mistakes.items():
        if isinstance(value, (np.ndarray, np.generic, float, int)) and _equal(value, other, rtol) \
                and not _equal(other, expected, rtol):
            raise AssertionError(f"{name} is what comes out if {sentence}")
    value = array(value, expected, name)
    if _equal(value, expected, rtol):
        return
    wrong = ~np.isclose(value, expected, rtol, rtol * np.max(abs(expected), initial=0))
    if expected.dtype.kind == "f" and expected.ndim:
        raise AssertionError(_classified(value, expected, wrong, name, rtol))
    at = tuple(int(i) for i in np.argwhere(wrong)[0])
    where = f"{name}[{', '.join(map(str, at))}]" if at else name
    raise AssertionError(f"{where} is {value[at]:.6g}, expected {expected[at]:.6g}; "
                         f"{np.count_nonzero(wrong)} of {wrong.size} entries are wrong")


def gradients(backward: Callable[[np.ndarray], Any], function: Callable[..., Tensor], inputs: Mapping[str, np.ndarray],
              mistakes: Mapping[str, Callable[[np.ndarray], Sequence[Any]]] = {}, name: str = "backward") -> None:
    """AssertionError, unless backward(dy) returns the gradients of a function of tensors, for a random dy.

    inputs: the arrays at which to look, by the names of the gradients' variables.  backward returns one array for each
    (alone, or in a tuple).  mistakes: as in `close`, of functions that say which gradients would come out (None: any).
    """
    case = Case(function, list(inputs.values()), list(inputs), name=name)
    found = backward(case.dy.copy())
    found = found if isinstance(found, (tuple, list)) else (found,)
    assert len(found) == len(inputs), \
        f"{name} returns {len(found)} arrays, expected {len(inputs)}: d{', d'.join(inputs)}"
    right = [case.expected(i)[0] for i in range(len(inputs))]
    for sentence, wrong in mistakes.items():
        other = wrong(case.dy)
        if _all_equal(found, other) and not _all_equal(other, right):
            raise AssertionError(f"{name}: the gradient is what comes out if {sentence}")
    for key, value in zip(inputs, found):
        array(value, inputs[key], f"{name}: d{key}")
    report = Report(name, [case.compare(i, np.asarray(value)) for i, value in enumerate(found)])
    assert report.ok, str(report)


def _equal(value: Any, other: Any, rtol: float) -> bool:
    value, other = np.asarray(value), np.asarray(other)
    return value.shape == other.shape and value.dtype.kind in "biuf" and bool(
        np.allclose(value, other, rtol, rtol * np.max(abs(other), initial=0)))


def _all_equal(values: Sequence[Any], others: Sequence[Any]) -> bool:
    return all(other is None or _equal(value, other, 1e-6) for value, other in zip(values, others))


def _classified(value: np.ndarray, expected: np.ndarray, wrong: np.ndarray, name: str, rtol: float) -> str:
    """Where a result is wrong, and what that looks like: it is diagnosed as if it were the gradient of a sum."""
    case = Case(lambda result: result, [expected], [name])
    everywhere = np.ones(expected.shape, bool)
    tolerance = rtol * float(np.max(abs(expected), initial=0))
    evidence = Evidence(case, 0, value.astype(np.float64), expected.astype(np.float64), wrong, everywhere, ~everywhere,
                        tolerance, hidden=False)
    at = np.unravel_index(np.argmax(np.where(wrong, abs(value - expected), -1)), wrong.shape)
    found = diagnose(evidence)
    sentence = found.sentence.replace("the gradient", name).replace("analytic / numeric", "result / expected")
    return (f"{name}: {location(evidence)}\nworst at {name}[{', '.join(map(str, at))}]: {value[at]:.6g}, "
            f"expected {expected[at]:.6g}\n{found.name}: {sentence}")
