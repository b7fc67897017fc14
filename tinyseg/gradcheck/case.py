"""One function at one point: its gradients as backward computes them, and as they ought to be."""
from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import numpy as np

from ..graph import backward_steps, no_grad
from ..op import Array
from ..tensor import Tensor
from . import numeric
from .evidence import Evidence

UPSTREAM = 1                                 # a random stream of its own: inputs often come from default_rng(0) too
KERNELS = {"w", "weight", "weights", "kernel", "kernels", "filter", "filters"}
FINE = 1e-7                                  # the step of central differences close to a kink
TAKES_THE_MIDDLE = {"abs", "max", "min"}     # at a kink: between the slopes on its two sides, as in PyTorch


class Case:
    """A function of tensors, its inputs, and a random upstream gradient for its output.

    What the gradients ought to be is computed once, on demand: by the complex step if there is a `reference` (the same
    function in plain NumPy), else by central differences.  `positions` are the inputs to check, by default all that
    hold floats; `tied` says that values of theirs were made equal on purpose.
    """

    def __init__(self, function: Callable[..., Any], inputs: Sequence[Any], names: Sequence[str] | None = None,
                 reference: Callable[..., Any] | None = None, *, name: str | None = None,
                 positions: Sequence[int] | None = None, rtol: float | None = None, atol: float | None = None,
                 eps: float = 1e-5, max_entries: int = 2000, seed: int = 0, tied: bool = False):
        self.function, self.reference, self.tied = function, reference, tied
        self.name = name or _name(function)
        self.inputs = [_as_float64(x) for x in inputs]
        self.names = list(names) if names is not None else _argument_names(function, len(self.inputs))
        self.positions = [i for i, x in enumerate(self.inputs) if is_float(x) and (positions is None or i in positions)]
        self.rtol = rtol if rtol is not None else 1e-10 if reference else 1e-6
        self.atol, self.eps = atol, eps
        if len(self.names) != len(self.inputs):
            raise ValueError(f"gradcheck {self.name}: {len(self.names)} names given for {len(self.inputs)} inputs")
        if not self.positions:
            raise TypeError(f"gradcheck {self.name}: none of the inputs is an array of floats, so none has a gradient")
        rng = np.random.default_rng((seed, UPSTREAM))
        self.value = self._value()
        self.dy = rng.standard_normal(self.value.shape)
        self.chosen = [rng.permutation(np.arange(np.size(x)) < max_entries).reshape(np.shape(x)) for x in self.inputs]
        self.expected = cache(self._expected)

    def evidence(self) -> list[Evidence]:
        """For every input to check: what backward says beside what it ought to say."""
        leaves = self._leaves(self.inputs, requires_grad=True)
        out = _first(self.function(*leaves))
        steps = backward_steps(out.node or out, self.dy.copy()) if out.requires_grad else ()
        judged_at_kinks = not {node.op.name for node, _, _ in steps} & TAKES_THE_MIDDLE
        return [self.compare(i, np.zeros_like(self.inputs[i]) if leaves[i].grad is None else leaves[i].grad,
                             judged_at_kinks) for i in self.positions]

    def is_kernel(self, i: int) -> bool:
        """Is input i a convolution's weight, (channels, channels, rows, columns)?"""
        name, x = self.names[i], self.inputs[i]
        return np.ndim(x) == 4 and (name in KERNELS or (i > 0 and name == f"input {i}"))

    def along(self, i: int, direction: Array, inputs: Sequence[Any] | None = None) -> float:
        """Derivative of ⟨dy, f⟩ as input i moves in a direction, here or at other inputs."""
        inputs = self.inputs if inputs is None else inputs
        return float(np.sum(self.dy * self._slope(self._f(i, inputs), inputs[i], direction)))

    def shares(self, i: int) -> Array:
        """The gradient of input i before it is summed over the outputs, (*x.shape, *y.shape)."""
        return numeric.shares(self._slope, self._f(i, self.inputs), self.inputs[i], self.dy)

    def compare(self, i: int, analytic: Array, judged_at_kinks: bool = True) -> Evidence:
        """A gradient of input i for the upstream `dy`, whoever computed it, beside what it ought to be."""
        expected, kinks = self.expected(i)
        chosen = self.chosen[i]
        largest = float(np.max(abs(expected[chosen]), initial=0))
        atol = self.rtol * largest + self._rounding(self.eps) if self.atol is None else self.atol
        allowed = atol + self.rtol * abs(expected)
        if not self.reference:
            allowed = np.where(kinks, self._coarse(expected[chosen]) if judged_at_kinks else np.inf, allowed)
        wrong = chosen & ~(abs(analytic - expected) <= allowed)
        if wrong.any() and not self.reference:      # or was the step too wide?  It may have crossed some relu's kink
            fine = self._fine(i, self.inputs[i], wrong & ~kinks)
            cleared = abs(analytic - fine) <= allowed + self._rounding(FINE)
            wrong, expected = wrong & ~cleared, np.where(cleared, fine, expected)
        return Evidence(self, i, analytic, expected, wrong, chosen, kinks, tolerance=atol + self.rtol * largest,
                        hidden=not chosen.all() and not self._fits_the_rest(i, analytic, largest))

    def _fits_the_rest(self, i: int, analytic: Array, largest: float) -> bool:
        """Are the entries that were not chosen right, as far as one random direction can tell?"""
        direction = np.where(self.chosen[i], 0.0, np.random.default_rng(0).standard_normal(analytic.shape))
        slack = 1e-6 * largest * np.linalg.norm(direction) + self._rounding(self.eps)
        return bool(abs(self.along(i, direction) - np.sum(direction * analytic)) <= slack)

    def _expected(self, i: int) -> tuple[Array, Array]:
        """The gradient of input i, and the mask of the entries that lie at a kink and so have no derivative.

        Those get the slope on one side, where the first of equal values is the largest: of equal maxima the first wins.
        """
        x, f, at = self.inputs[i], self._f(i, self.inputs), self.chosen[i]
        expected = numeric.gradient(self._slope, f, x, self.dy, at)
        if self.reference:
            return expected, np.full(x.shape, self.tied)

        def gap(eps: float, at: Array) -> Array:
            return abs(numeric.gradient(partial(numeric.forward_slope, eps=eps), f, x, self.dy, at) - expected)

        wide = gap(self.eps, at)                  # shrinks with the step where f is smooth, stays where there is a kink
        kinks = gap(self.eps / 10, wide > self._coarse(expected[at])) > wide / 2
        if kinks.any():
            expected[kinks] = self._fine(i, _ties_broken(x, 4 * FINE), kinks)[kinks]
        return expected, kinks

    def _fine(self, i: int, x: Array, at: Array) -> Array:
        """Central differences with a small step, NaN outside the mask `at`."""
        return numeric.gradient(partial(numeric.central_slope, eps=FINE), self._f(i, self.inputs), x, self.dy, at)

    def _slope(self, f: Callable[[Array], Array], x: Array, direction: Array) -> Array:
        if self.reference:
            return numeric.complex_slope(f, x, direction)
        return numeric.central_slope(f, x, direction, self.eps)

    def _f(self, i: int, inputs: Sequence[Any]) -> Callable[[Array], Array]:
        """The function of input i alone, on plain arrays."""
        def f(x: Array) -> Array:
            arguments = [*inputs[:i], x, *inputs[i + 1:]]
            return _first(self.reference(*arguments)) if self.reference else self._run(arguments).data
        return f

    def _run(self, inputs: Sequence[Any]) -> Any:
        with no_grad():
            return _first(self.function(*self._leaves(inputs)))

    def _leaves(self, inputs: Sequence[Any], requires_grad: bool = False) -> list[Any]:
        """The inputs to check as tensors of their own, the others as they are."""
        return [Tensor(np.array(x), requires_grad) if i in self.positions else x for i, x in enumerate(inputs)]

    def _value(self) -> Array:
        """The output, if it is one whose gradient can be checked."""
        first, second = self._run(self.inputs), self._run(self.inputs)
        if not isinstance(first, Tensor):
            raise TypeError(f"gradcheck {self.name}: the function returned {type(first).__name__}, expected a Tensor")
        if first.dtype != np.float64:
            raise TypeError(f"gradcheck {self.name}: the output is {first.dtype} though the inputs are float64; "
                            f"compute in the dtype of the inputs, float32 is too coarse for differences")
        if not np.isfinite(first.data).all():
            raise ValueError(f"gradcheck {self.name}: the output is not finite at these inputs; choose others")
        if not np.array_equal(first.data, second.data):
            raise ValueError(f"gradcheck {self.name}: two calls with the same inputs gave different outputs; draw "
                             f"random numbers outside of the function, or call manual_seed in it")
        if self.reference and not np.allclose(first.data, wanted := _first(self.reference(*self.inputs)), rtol=1e-9):
            raise ValueError(f"gradcheck {self.name}: the output is not that of the reference; they differ by up to "
                             f"{np.max(abs(first.data - wanted)):.3g}, so their derivatives cannot be compared")
        return first.data

    def _coarse(self, gradient: Array) -> float:
        """What is small beside the jump of a slope at a kink."""
        return 1e-4 * float(np.max(abs(gradient), initial=0)) + self._rounding(FINE)

    def _rounding(self, eps: float) -> float:
        """What rounding does to a difference quotient, about; to the complex step next to nothing."""
        scale = 1e2 * np.finfo(float).eps * np.max(abs(self.value), initial=0) * np.max(abs(self.dy), initial=0)
        return float(scale if self.reference else scale / eps)


def tied(x: Array) -> Array:
    """The array with values repeated along every axis, so that each block of 2 x 2 x … entries is equal.

    >>> tied(np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]])).tolist()
    [[1, 1, 3], [1, 1, 3], [7, 7, 9]]
    """
    for axis, n in enumerate(x.shape):
        x = x.take(np.arange(n) // 2 * 2, axis)
    return x


def is_float(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def _ties_broken(x: Array, by: float) -> Array:
    """Lower each value a little, the more the oftener it has come before: the first of equal ones is the largest."""
    flat = x.ravel()
    order = np.argsort(flat, kind="stable")
    rank = np.empty(flat.size)
    rank[order] = np.arange(flat.size)
    earlier = rank - np.searchsorted(flat[order], flat)
    return (flat - by * (1 + earlier)).reshape(x.shape)


def _first(out: Any) -> Any:
    return out[0] if isinstance(out, tuple) else out


def _as_float64(x: Any) -> Any:
    """Arrays and tensors of floats as float64 arrays of their own; all else as it is."""
    array = x.data if isinstance(x, Tensor) else x
    return np.array(array, np.float64) if is_float(array) else x


def _name(function: Any) -> str:
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__name__", type(function).__name__)


def _argument_names(function: Callable[..., Any], count: int) -> list[str]:
    """The names of the function's positional parameters, as far as they can be known."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [names[i] if i < len(names) else f"input {i}" for i in range(count)]
