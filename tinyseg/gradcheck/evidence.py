"""What is known of one gradient: the one that backward computes beside the expected one, and where they differ."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..op import Array

if TYPE_CHECKING:
    from .case import Case


@dataclass(frozen=True)
class Evidence:
    """The gradient of one input of a function, as backward computes it and as it ought to be."""

    case: Case
    position: int
    analytic: Array
    expected: Array          # NaN where not chosen
    wrong: Array             # mask: which entries are wrong
    chosen: Array            # mask: which entries were looked at; all, unless the array is large
    kinks: Array             # mask: which entries have no derivative, because values are tied
    tolerance: float
    hidden: bool             # some of the entries that were not looked at are wrong

    @property
    def name(self) -> str:
        return self.case.names[self.position]

    @property
    def ok(self) -> bool:
        return not (self.wrong.any() or self.hidden)

    @property
    def error(self) -> float:
        """The largest deviation, relative to the largest entry of the gradient; kinks count if there is a reference."""
        judged = self.chosen & (~self.kinks | bool(self.case.reference))
        deviation = np.max(abs(self.analytic - self.expected)[judged], initial=0)
        return float(deviation / (np.max(abs(self.expected[self.chosen]), initial=0) or 1.0))

    @property
    def is_kernel(self) -> bool:
        return self.case.is_kernel(self.position)

    @property
    def axes(self) -> tuple[str, ...]:
        """What the dimensions of the input are called."""
        if self.analytic.ndim == 4:
            return ("channel" if self.is_kernel else "batch item", "channel", "row", "column")
        return (*("slice",) * (self.analytic.ndim - 2), "row", "column") if self.analytic.ndim > 1 else ("entry",)

    def same(self, a: Array, b: Array) -> bool:
        """Are two gradients equal, as far as the accuracy goes?"""
        return a.shape == b.shape and bool(np.all(abs(a - b) <= 2 * self.tolerance))


def regions(e: Evidence) -> Iterator[tuple[str, str, Array]]:
    """The parts of an array that hold all wrong entries: (name of a bug there, the part in words, its mask)."""
    return (part for part in _parts(e.wrong.shape, e.axes) if not np.any(e.wrong & ~part[2]))


def _parts(shape: tuple[int, ...], axes: tuple[str, ...]) -> Iterator[tuple[str, str, Array]]:
    """Every slice along every dimension, and the border."""
    for axis, label in enumerate(axes):
        for k in range(shape[axis] if shape[axis:] and shape[axis] > 1 else 0):
            mask = np.zeros(shape, bool)
            np.moveaxis(mask, axis, 0)[k] = True
            end = {0: "first", shape[axis] - 1: "last"}.get(k) if label in ("row", "column") else None
            where = f"in the {end} {label}" if end else f"in {label} {k} (dimension {axis})"
            yield f"{end or 'one'} {label}", where, mask
    if len(shape) >= 2 and min(shape[-2:]) >= 3:
        border = np.ones(shape, bool)
        border[..., 1:-1, 1:-1] = False
        yield "border only", "on the border", border


def location(e: Evidence) -> str:
    """How many entries are wrong, and where they lie."""
    count, size = np.count_nonzero(e.wrong), np.count_nonzero(e.chosen)
    looked_at = f"{size} entries" if size == e.analytic.size else f"{size} entries looked at (of {e.analytic.size})"
    if count < 2:
        return f"{count} of {looked_at} is wrong"
    parts = [(np.count_nonzero(mask), where) for _, where, mask in regions(e)]
    return f"{count} of {looked_at} are wrong, all {min(parts)[1] if parts else 'over the array'}"
