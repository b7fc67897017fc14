"""What is wrong with a gradient?  Each hypothesis looks at the evidence and says in one sentence what it would mean.

The most specific come first: those that explain every single value (zero, sign, a factor, a flipped kernel, the last
share in place of the sum), and only then those that merely say where the wrong entries lie (one channel, the border).
"""
from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, combinations
from typing import NamedTuple

import numpy as np

from ..op import Array
from .evidence import Evidence, regions


class Diagnosis(NamedTuple):
    """The name of a bug, and a sentence on what it looks like and where it usually comes from."""

    name: str
    sentence: str


def diagnose(e: Evidence) -> Diagnosis:
    """The first hypothesis that holds."""
    with np.errstate(invalid="ignore"):
        return next(found for hypothesis in HYPOTHESES if (found := hypothesis(e)))


def not_finite(e: Evidence) -> Diagnosis | None:
    if not np.isfinite(e.analytic).all():
        return Diagnosis("not finite", "backward returns NaN or infinity: it divides by zero, or worse.")
    if not np.isfinite(e.expected[e.chosen]).all():
        return Diagnosis("not finite", "the function itself is not finite close to these inputs: choose others.")
    return None


def unseen(e: Evidence) -> Diagnosis | None:
    if e.wrong.any():
        return None
    return Diagnosis("unclassified", "the entries that were looked at are right, but the others do not fit the slope "
                                     "along a random direction: raise max_entries to see which.")


def multiple(e: Evidence) -> Diagnosis | None:
    """Zero, the wrong sign, or a constant factor: analytic = c · expected."""
    analytic, expected = e.analytic[e.chosen], e.expected[e.chosen]
    factor = _factor(analytic, expected)
    if not e.same(analytic, factor * expected):
        return None
    if abs(factor) < 1e-9:
        return Diagnosis("zero", "the gradient is zero everywhere: it is never computed, or the graph is cut before "
                                 "this input (a detached tensor, plain NumPy in between).")
    if np.isclose(factor, -1, rtol=1e-6):
        return Diagnosis("sign", "every entry has the wrong sign: a minus is missing or one too many (the inner "
                                 "derivative of 1 - y, of a difference, of 1/x).")
    return Diagnosis("constant factor", f"the gradient is {factor:.9g} times the right one{_meaning(e, factor)}.")


def turned_kernel(e: Evidence) -> Diagnosis | None:
    """The right gradient of a kernel or matrix, but turned round."""
    return _turned(e) if e.is_kernel or e.analytic.ndim == 2 else None


def turned_partner(e: Evidence) -> Diagnosis | None:
    """The right gradient, but for another input that is turned round."""
    direction = np.random.default_rng(0).standard_normal(e.analytic.shape)
    slope, slack = np.sum(e.analytic * direction), 2 * e.tolerance * np.linalg.norm(direction)
    inputs = e.case.inputs
    for j in e.case.positions:
        for name, how, turned in _turns(inputs[j], e.case.is_kernel(j)) if j != e.position else ():
            elsewhere = e.case.along(e.position, direction, [*inputs[:j], turned, *inputs[j + 1:]])
            if abs(slope - elsewhere) <= slack and not np.array_equal(turned, inputs[j]):
                return Diagnosis(name, f"the gradient would be right if {e.case.names[j]} were {how}: {_cause(name)}.")
    return None


def permuted(e: Evidence) -> Diagnosis | None:
    """The slices along one dimension are right but stand in another order."""
    for axis, label in enumerate(e.axes[:e.analytic.ndim]):
        left = list(np.moveaxis(e.expected, axis, 0))
        for part in np.moveaxis(e.analytic, axis, 0):
            match = next((k for k, other in enumerate(left) if e.same(part, other)), None)
            if match is None:
                break
            left.pop(match)
        else:
            plural = "entries" if label == "entry" else f"{label}s"
            return Diagnosis(f"{plural} permuted",
                             f"all {plural} are right but stand in another order along dimension {axis}: a reshape "
                             f"where a transpose was meant, or a mixed-up index.")
    return None


def tie_splitting(e: Evidence) -> Diagnosis | None:
    """Wrong only where values are tied."""
    if np.any(e.wrong & ~e.kinks):
        return None
    analytic, expected = (np.sum(g[e.kinks]) for g in (e.analytic, e.expected))
    if abs(analytic - expected) <= 1e-3 * np.sum(abs(e.expected[e.kinks])):
        what = "it is shared among equal values, or goes to another one than it should"
    else:
        what = "equal values get shares that do not add up to one (all of it to each of them, or nothing to any)"
    return Diagnosis("tie splitting", f"the gradient is wrong only where values are tied: {what}; in max pooling the "
                                      f"first maximum of a window, row by row, takes it all.")


def missing_accumulation(e: Evidence) -> Diagnosis | None:
    """Entries that feed several outputs got the share of only one of them."""
    if not e.chosen.all() or e.analytic.size * e.case.value.size > 10_000_000:
        return None
    shares, size = e.case.shares(e.position), e.analytic.size
    outputs = range(e.analytic.ndim, shares.ndim)
    for summed in chain.from_iterable(combinations(outputs, r) for r in range(len(outputs))):
        parts = shares.sum(axis=summed).reshape(*e.analytic.shape, -1)
        present = abs(parts) > 1e-2 * e.tolerance
        first, last = present.argmax(-1), parts.shape[-1] - 1 - present[..., ::-1].argmax(-1)
        for which, at in [("first", first), ("last", last)]:
            if e.same(e.analytic, np.take_along_axis(parts, at[..., None], -1)[..., 0]):
                return Diagnosis("missing accumulation",
                                 f"entries that feed several outputs get only the share of the {which} one: backward "
                                 f"assigns (=) where it should add (+=), or forgets a sum.")
    if shares.size == size**2 and e.same(e.analytic.ravel(), shares.reshape(size, size).diagonal()):
        return Diagnosis("missing accumulation",
                         "each entry gets only the share of the output at its own index: its effect on the others "
                         "(through a sum, a mean, a maximum) is forgotten.")
    return None


def turned_image(e: Evidence) -> Diagnosis | None:
    """The right gradient of an image, but turned round."""
    return _turned(e)


def confined(e: Evidence) -> Diagnosis | None:
    """All wrong entries lie in one part of the array, and most of that part is wrong."""
    active = e.wrong | (e.chosen & (abs(e.expected) > e.tolerance))
    parts = [(np.count_nonzero(mask), name, where) for name, where, mask in regions(e)
             if np.count_nonzero(e.wrong) > np.count_nonzero(active & mask) / 2]
    if not parts:
        return None
    _, name, where = min(parts)
    analytic, expected = e.analytic[e.wrong], e.expected[e.wrong]
    factor = _factor(analytic, expected)
    how = "wrong"
    if e.same(analytic, factor * expected):
        how = "zero" if abs(factor) < 1e-9 else f"{factor:.4g} times what it should be"
    return Diagnosis(name, f"the gradient is {how} {where}, and right elsewhere: {_cause(name)}.")


def unclassified(e: Evidence) -> Diagnosis:
    """Nothing fits: how alike are the two at all?"""
    analytic, expected = e.analytic[e.wrong], e.expected[e.wrong]
    if not np.any(abs(e.expected[e.chosen]) > e.tolerance):
        return Diagnosis("unclassified", "the output does not depend on this input, yet its gradient is not zero.")
    ratio = analytic[expected != 0] / expected[expected != 0]
    cosine = np.vdot(analytic, expected) / max(np.linalg.norm(analytic) * np.linalg.norm(expected), 1e-300)
    spread = f"analytic / numeric lies between {ratio.min():.3g} and {ratio.max():.3g}, " if ratio.size else ""
    return Diagnosis("unclassified", f"no known pattern; {spread}the angle between the two has cosine {cosine:.3f}.")


HYPOTHESES = (not_finite, unseen, multiple, turned_kernel, turned_partner, permuted, tie_splitting,
              missing_accumulation, turned_image, confined, unclassified)

CAUSES = {
    "flipped": "convolution and cross-correlation are mixed up, or a kernel is turned once too often or not at all",
    "transposed": "two indices are exchanged, or a transpose (.T) is missing or one too many",
    "row": "a loop or slice stops one short, or rows that no window covers are treated as if one did",
    "column": "a loop or slice stops one short, or columns that no window covers are treated as if one did",
    "border": "padding is cropped, counted or filled in the wrong way",
    "channel": "the loop over channels (or groups) misses one or visits one twice",
    "batch item": "the loop over the batch misses an item, or items share a buffer",
    "slice": "the loop along this dimension misses one or visits one twice",
    "entry": "one element is treated apart from the others",
}


def _cause(name: str) -> str:
    return next(cause for word, cause in CAUSES.items() if word in name)


def _turned(e: Evidence) -> Diagnosis | None:
    for name, how, turned in _turns(e.expected, e.is_kernel):
        if e.same(e.analytic, turned):
            return Diagnosis(name, f"the gradient is the right one, but {how}: {_cause(name)}.")
    return None


def _turns(array: Array, kernel: bool) -> Iterator[tuple[str, str, Array]]:
    """An array turned round in the ways that are easily mixed up: (name of the bug, the way in words, the array)."""
    if array.ndim < 2:
        return
    noun = "kernel" if kernel else "matrix" if array.ndim == 2 else "image"
    yield f"flipped {noun}", "turned by 180°", array[..., ::-1, ::-1]
    yield f"flipped {noun}", "turned upside down", array[..., ::-1, :]
    yield f"flipped {noun}", "mirrored left to right", array[..., ::-1]
    if array.shape[-2] == array.shape[-1]:
        yield f"transposed {noun}", "transposed in rows and columns", array.swapaxes(-1, -2)
    if kernel and array.shape[0] == array.shape[1]:
        yield f"transposed {noun}", "transposed in its first two dimensions", array.swapaxes(0, 1)


def _factor(analytic: Array, expected: Array) -> float:
    """The c for which analytic ≈ c · expected, by least squares."""
    norm = np.vdot(expected, expected)
    return float(np.vdot(expected, analytic) / norm) if norm > 0 else np.nan


def _meaning(e: Evidence, factor: float) -> str:
    """What a factor may have come from: the shapes and settings at hand that are as large, and the usual cause."""
    small = abs(factor) < 1
    amount = 1 / abs(factor) if small else abs(factor)
    output, settings = e.case.value, getattr(e.case.function, "keywords", {})
    known = {"the batch size": output.shape[0] if output.ndim > 1 else 0, "the number of outputs": output.size,
             f"the size of {e.name}": e.analytic.size, "rows x columns of the output": int(np.prod(output.shape[-2:])),
             f"rows x columns of {e.name}": int(np.prod(e.analytic.shape[-2:]))}
    for key, value in settings.items():
        numbers = value if isinstance(value, tuple) else (value,)
        if all(isinstance(v, (int, float)) for v in numbers):
            known |= {f"the {key}": numbers[0], f"the product of {key}": np.prod(numbers)}
    names = [name for name, value in known.items() if np.isclose(value, amount, rtol=1e-6)][:2]
    if small:
        cause = "(x²)′ is 2x, or an input that is used twice gets one share" if np.isclose(amount, 2) else \
            "it is averaged where it should be summed, or a factor is left out"
    else:
        cause = "it is summed where it should be averaged, or shares are counted twice"
    fraction = f" (1/{amount:.0f})" if small and np.isclose(amount, round(amount), rtol=1e-6) else ""
    return fraction + (f"; {amount:.6g} is {' and '.join(names)}" if names else "") + f": {cause}"
