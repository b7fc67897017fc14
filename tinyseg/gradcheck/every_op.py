"""The checker applied to the ops of the registry."""
from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..op import REGISTRY, Context, Op, Sample
from ..tensor import apply
from .case import Case, is_float, tied
from .numeric import adjoint, one_thread
from .report import Report


def check_op(op: str | type[Op], sample: Sample | None = None, seed: int = 0) -> Report:
    """Hold the backward of a registered op against the complex step of its reference, on one sample or all of its own.

    Where it is right and the op is not linear, it is tried once more on inputs in which many values are equal.  The
    report is that on the first sample that is wrong, else on the first of all.  ValueError if there is no such op.

    >>> check_op("relu").ok, check_op("relu", Sample((np.array([1.0, -2.0]),))).ok
    (True, True)
    """
    op = find_op(op) if isinstance(op, str) else op
    samples = samples_of(op) if sample is None else [sample]
    return judge(case for sample in samples for case in op_cases(op, sample, seed))


def op_cases(op: type[Op], sample: Sample, seed: int = 0) -> list[Case]:
    """A sample of an op as it is and, if there are arguments in which the op is not linear, with ties in those."""
    function, reference = partial(apply, op, **sample.settings), partial(op.reference, **sample.settings)
    names, checked = argument_names(op, len(sample.arrays)), checked_arguments(op, sample)
    cases = [Case(function, sample.arrays, names, reference, name=op.name, positions=checked, seed=seed)]
    if set(checked) - set(op.linear):
        arrays = [tied(x) if i in checked and i not in op.linear else x for i, x in enumerate(cases[0].inputs)]
        cases.append(Case(function, arrays, names, reference, name=f"{op.name}, inputs with ties", positions=checked,
                          seed=seed, tied=True))
    return cases


@one_thread()
def judge(cases: Iterable[Case]) -> Report:
    """The report on the first case whose gradients are wrong; on the first of all if every one is right."""
    reports = []
    for case in cases:
        reports.append(Report(case.name, case.evidence()))
        if not reports[-1].ok:
            return reports[-1]
    return reports[0]


def samples_of(op: type[Op]) -> list[Sample]:
    """All samples that the op declares, always the same ones."""
    return list(op.samples(np.random.default_rng(0)))


def argument_names(op: type[Op], count: int) -> list[str]:
    """What the op's forward calls its array arguments."""
    parameters = list(inspect.signature(op.forward).parameters.values())[1:]
    if parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
        return [f"{parameters[0].name}[{i}]" for i in range(count)]
    return [p.name for p in parameters[:count]]


def checked_arguments(op: type[Op], sample: Sample) -> list[int]:
    """The arguments that carry a gradient: the arrays of floats but those, if any, for which backward returns None."""
    context = Context(tuple(is_float(x) for x in sample.arrays))
    out = op.forward(context, *sample.arrays, **sample.settings)
    grads = op.backward(context, np.ones_like(out[0] if isinstance(out, tuple) else out))
    return [i for i, grad in enumerate(grads) if grad is not None and is_float(sample.arrays[i])]


def find_op(name: str) -> type[Op]:
    """The op of that name; ValueError, with the names that are near, if there is none."""
    if name not in REGISTRY:
        near = get_close_matches(name, REGISTRY, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(sorted(REGISTRY))}"
        raise ValueError(f"gradcheck: no op is called {name!r}; {hint}")
    return REGISTRY[name]


class Row(NamedTuple):
    """One op in the table: the largest relative error over all its samples, by each way to the derivative."""

    op: str
    samples: int
    complex_step: float
    central: float
    adjoint: float | None          # None if the op is linear in none of its arguments
    report: Report | None          # on the first sample that is wrong

    @property
    def ok(self) -> bool:
        return self.report is None and (self.adjoint or 0) <= 1e-12


def table(names: Sequence[str] | None = None) -> list[Row]:
    """Check all samples of the named ops (of all registered ones) by complex step, central difference and adjoint test.

    >>> table(["add"])[0].ok
    True
    """
    return [_row(find_op(name)) for name in names or sorted(REGISTRY)]


def main_table(names: Sequence[str] | None = None) -> tuple[str, bool]:
    """The table as text, with a report on every op that is wrong below it; and whether all are right.

    >>> text, ok = main_table(["add", "relu"])
    >>> [line.split()[0] for line in text.splitlines()], ok
    (['op', 'add', 'relu'], True)
    """
    rows = table(names)
    width = max(len(row.op) for row in rows)
    lines = [f"{'op':<{width}}  samples  complex step  central difference  adjoint"]
    for row in rows:
        gap = "-" if row.adjoint is None else f"{row.adjoint:.1e}"
        lines.append(f"{row.op:<{width}}  {row.samples:>7}  {row.complex_step:>12.1e}  {row.central:>18.1e}  {gap:>7}"
                     f"{'' if row.ok else '  WRONG'}")
    lines += [str(row.report) for row in rows if row.report is not None]
    return "\n".join(lines), all(row.ok for row in rows)


@one_thread()
def _row(op: type[Op]) -> Row:
    exact, coarse, gaps = [], [], []
    for sample in samples_of(op):
        cases = op_cases(op, sample)
        function, arrays, names, positions = cases[0].function, cases[0].inputs, cases[0].names, cases[0].positions
        exact += [judge([case]) for case in cases]
        coarse.append(judge([Case(function, arrays, names, name=op.name, positions=positions)]))
        gaps += [adjoint(partial(_first_output, function), arrays, i) for i in positions if i in op.linear]
    wrong = next((report for report in [*exact, *coarse] if not report.ok), None)
    return Row(op.name, len(coarse), complex_step=max(report.error for report in exact),
               central=max(report.error for report in coarse), adjoint=max(gaps, default=None), report=wrong)


def _first_output(function: Callable[..., Any], *inputs: Any) -> Any:
    out = function(*inputs)
    return out[0] if isinstance(out, tuple) else out
