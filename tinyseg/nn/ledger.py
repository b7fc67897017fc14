"""Which layers had run, and what came out of them, when a shape did not fit: the end of the error's message.

Every call of a module notes its output's shape, nothing more; a table is made of the notes only when an error passes the
outermost call.
"""
from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from ..tensor import Tensor

if TYPE_CHECKING:
    from .module import Module

LONGEST = 40                             # rows; of a deeper model, the last ones
SPEAKS_OF_SHAPES = re.compile(r"shape|channels|features|padded|\bsize", re.IGNORECASE)


class Call(NamedTuple):
    """A module, and the shapes of what came out of it, or of what went into it when it failed."""

    module: Module
    shapes: list[tuple[int, ...]]


class Ledger(threading.local):
    """The calls in this thread since the outermost one began; `done` is None where no module runs."""

    done: list[Call] | None = None
    error: Exception | None = None
    failed: Call

    def note_failure(self, error: Exception, module: Module, inputs: tuple) -> None:
        """The innermost module that the error passes, which is the first to note it, is the one that failed."""
        if error is not self.error:
            self.error, self.failed = error, Call(module, shapes(inputs))

    def explain(self, error: Exception, model: Module) -> None:
        """Append the table to the error's message, if it is one of shapes; its type and its first line stay.

        A model that refuses its input at once has said all there is.
        """
        at_once = not self.done and self.failed.module is model
        if isinstance(error, (ValueError, IndexError)) and SPEAKS_OF_SHAPES.search(str(error)) and not at_once:
            error.args = (f"{error}\n\n{self.table(model)}",)

    def table(self, model: Module) -> str:
        """The layers that ran, and the one that failed."""
        paths = {module: path for path, module in reversed(list(model.named_modules()))}   # the first path of each

        def row(call: Call) -> tuple[str, str, str]:
            kind = type(call.module).__name__
            return paths.get(call.module) or "-", kind, ", ".join(map(str, call.shapes)) or "no tensor"

        done = [row(call) for call in self.done or [] if not any(call.module.children())]
        table = [("layer", "type", "output"), *done[-LONGEST:]]
        if len(done) > LONGEST:
            table.insert(1, ("…", f"{len(done) - LONGEST} more", ""))
        path, kind, given = row(self.failed)
        table.append((path, kind, f"failed, given {given}"))
        widths = [max(map(len, column)) for column in zip(*table)]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in table)

    def clear(self) -> None:
        self.done = self.error = None


def shapes(values: Any) -> list[tuple[int, ...]]:
    """Of a tensor, or of the tensors in a tuple or a list, or in tuples therein.

    >>> x = Tensor([1.0, 2.0])
    >>> shapes((x, 3)), shapes(((x, x),))
    ([(2,)], [(2,), (2,)])
    """
    if isinstance(values, Tensor):
        return [values.shape]
    return [shape for value in values for shape in shapes(value)] if isinstance(values, (tuple, list)) else []


LEDGER = Ledger()
