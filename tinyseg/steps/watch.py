"""Watching a reference at work, so that what a stepper shows is what the definition does."""
from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, NamedTuple

from ..op import Op


class Watched(NamedTuple):
    """The line that was watched, what was seen each time that it had run, and what the function returned."""

    code: str
    moments: list[Any]
    result: Any


def reference(op: type[Op]) -> Callable[..., Any]:
    """An op's definition in plain NumPy."""
    return op.reference


def watch(function: Callable[..., Any], line: str, see: Callable[[Mapping[str, Any]], Any],
          *arguments: Any, **settings: Any) -> Watched:
    """Run a function and look at its local variables each time that one line of it has run.

    line: the beginning of that line, which must be the only one.  see: is given the local variables by name, and must
    copy what changes later.  A debugger's or a coverage tool's trace function rests meanwhile.

    >>> def total(numbers):
    ...     s = 0
    ...     for n in numbers:
    ...         s += n
    ...     return s
    >>> watch(total, "s += n", lambda at: at["s"], [1, 2, 3])
    Watched(code='s += n', moments=[1, 3, 6], result=6)
    """
    source, first = inspect.getsourcelines(function)
    numbers = [first + k for k, text in enumerate(source) if text.strip().startswith(line)]
    if len(numbers) != 1:
        raise LookupError(f"watch: {len(numbers)} lines of {function.__qualname__} begin with {line!r}; expected one")
    moments: list[Any] = []
    running = False                                  # is it our line that runs now?

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal running
        if frame.f_code is not function.__code__:
            return None
        reached = event == "line" and frame.f_lineno == numbers[0]
        if running and not reached:
            moments.append(see(frame.f_locals))
        running = reached
        return trace

    others = sys.gettrace()
    sys.settrace(trace)
    try:
        result = function(*arguments, **settings)
    finally:
        sys.settrace(others)
    return Watched(source[numbers[0] - first].strip().partition("  ")[0], moments, result)
