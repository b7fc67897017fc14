"""The gradient checker: is what backward returns the derivative of what forward computes, and if not, what is wrong?

`check` takes any function of tensors, `check_op` an op of the registry, `main_table` all of them.

>>> report = check(lambda x: x * x.detach(), [np.array([1.0, 2.0])])
>>> print(str(report).splitlines()[-1].split(":")[0].strip())
constant factor
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..tensor import Tensor
from .case import Case, tied
from .every_op import Row, check_op, main_table, table
from .numeric import adjoint, central, complex_step, one_thread
from .report import Report

__all__ = ["Report", "Row", "adjoint", "central", "check", "check_op", "complex_step", "main_table", "table", "tied"]


@one_thread()
def check(function: Callable[..., Any], inputs: Any, *, names: Sequence[str] | None = None,
          reference: Callable[..., Any] | None = None, rtol: float | None = None, atol: float | None = None,
          eps: float = 1e-5, max_entries: int = 2000, seed: int = 0) -> Report:
    """Hold the gradients of a function of tensors against numeric ones, for a random upstream gradient.

    function: takes as many arguments as there are inputs, returns a Tensor (or a tuple, of which the first counts).
    inputs: arrays or tensors (one alone needs no list).  The gradient of each that holds floats is checked, in float64;
        what is to be held fixed belongs into the function.  All else (integers, None) is passed on as it is.
    names: of the inputs, for the report; else the names of the function's parameters.
    reference: the same function in plain NumPy, fit for complex numbers.  The gradients are then held against its
        complex step, exact to rounding, instead of against central differences of the function.
    rtol, atol: an entry is right if |analytic - numeric| ≤ atol + rtol |numeric|.  By default rtol is 1e-6, with
        a reference 1e-10, and atol is rtol times the largest entry, plus what rounding does to a difference.
    eps: the step of the central differences.
    max_entries: of a larger input only so many entries, drawn at random, are looked at one by one.  The others are
        moved all at once, in a random direction: a bug among them is noticed, but not located.

    At a kink, as where maxima are tied, there is no derivative.  Right is then the slope on the side where the first of
    equal values is the largest: of equal maxima the first takes the whole gradient, and relu'(0) = 0.  A function that
    uses abs, max or min, which take the middle of both slopes, is not judged at kinks.

    Raises TypeError if no input holds floats or the output is not a float64 Tensor, ValueError if the output is not
    finite, differs between two calls, or is not what the reference gives.

    >>> check(lambda x, w: (x * w).sum(), [np.array([1.0, 2.0, 3.0]), np.array([0.5, 0.0, 1.5])]).ok
    True
    """
    if isinstance(inputs, (np.ndarray, Tensor)):
        inputs = [inputs]
    case = Case(function, inputs, names, reference, rtol=rtol, atol=atol, eps=eps, max_entries=max_entries, seed=seed)
    return Report(case.name, case.evidence())
