"""Derivatives that no backward pass had a hand in: the central difference, the complex step and the adjoint test.

All speak of L = ⟨dy, f(x)⟩, the sum of the outputs weighted by an upstream gradient `dy`; its gradient with respect to
x is what `backward(dy)` must return.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numba
import numpy as np

from ..graph import no_grad
from ..op import Array
from ..tensor import Tensor

Slope = Callable[[Callable[[Array], Array], Array, Array], Array]      # (f, x, direction) -> df/dt at x + t direction


def central_slope(f: Callable[[Array], Array], x: Array, direction: Array, eps: float = 1e-5) -> Array:
    """Derivative of f along a direction v.  Taylor's theorem, forwards and backwards:

        f(x ± εv) = f(x) ± ε f′ + ε²/2 f″ ± ε³/6 f‴ + …,   so   (f(x + εv) - f(x - εv)) / 2ε = f′ + ε²/6 f‴ + …

    The even terms cancel, which leaves an error of O(ε²), besides rounding errors of about 1e-16 |f| / ε.
    """
    return (f(x + eps * direction) - f(x - eps * direction)) / (2 * eps)


def forward_slope(f: Callable[[Array], Array], x: Array, direction: Array, eps: float = 1e-6) -> Array:
    """Derivative of f along a direction v, seen from one side: (f(x + εv) - f(x)) / ε.

    It differs from the central difference by O(ε) where f is smooth, and by far more at a kink.
    """
    return (f(x + eps * direction) - f(x)) / eps


def complex_slope(f: Callable[[Array], Array], x: Array, direction: Array, h: float = 1e-20) -> Array:
    """Derivative of a real-analytic f along a direction v, by a step into the complex plane:

        f(x + ihv) = f(x) + ih f′ - h²/2 f″ - …,   so   Im f(x + ihv) / h = f′ + O(h²)

    Nothing is subtracted, so h may be as small as 1e-20 and the result is exact to rounding.  f must be plain NumPy,
    without abs, conjugates or casts.
    Squire & Trapp 1998, Using Complex Variables to Estimate Derivatives of Real Functions.
    """
    return np.asarray(f(x + 1j * h * direction)).imag / h


def central(f: Callable[[Array], Array], x: Array, dy: Array, eps: float = 1e-5) -> Array:
    """Gradient of ⟨dy, f(x)⟩ by central differences, shaped as x: two evaluations of f for each entry.

    >>> central(lambda x: x**3, np.array([1.0, 2.0]), np.array([1.0, 1.0])).round(6)
    array([ 3., 12.])
    """
    return gradient(partial(central_slope, eps=eps), f, x, dy)


def complex_step(f: Callable[[Array], Array], x: Array, dy: Array) -> Array:
    """Gradient of ⟨dy, f(x)⟩ by the complex step, shaped as x: one evaluation of f for each entry, no rounding error.

    >>> complex_step(lambda x: x**3, np.array([1.0, 2.0]), np.array([1.0, 1.0]))
    array([ 3., 12.])
    """
    return gradient(complex_slope, f, x, dy)


def gradient(slope: Slope, f: Callable[[Array], Array], x: Array, dy: Array, at: Array | None = None) -> Array:
    """Gradient of ⟨dy, f(x)⟩, one entry of x after the other; NaN outside the mask `at`, if one is given."""
    dx = np.full(x.shape, np.nan)
    for i in np.ndindex(x.shape):
        if at is None or at[i]:
            dx[i] = np.sum(dy * slope(f, x, unit(x.shape, i)))
    return dx


def shares(slope: Slope, f: Callable[[Array], Array], x: Array, dy: Array) -> Array:
    """What each output hands to each entry of x: the gradient before it is summed, (*x.shape, *dy.shape)."""
    rows = [dy * slope(f, x, unit(x.shape, i)) for i in np.ndindex(x.shape)]
    return np.reshape(rows, x.shape + dy.shape)


def unit(shape: tuple[int, ...], index: tuple[int, ...]) -> Array:
    """The direction in which only one entry moves."""
    direction = np.zeros(shape)
    direction[index] = 1
    return direction


@contextmanager
def one_thread() -> Iterator[None]:
    """Kernels run in one thread here: at thousands of calls on small arrays, threads mostly wait for each other."""
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        yield
    finally:
        numba.set_num_threads(threads)


def adjoint(function: Callable[..., Tensor], inputs: Sequence[Any], position: int = 0, seed: int = 0) -> float:
    """How far ⟨Ax, y⟩ and ⟨x, Aᵀy⟩ are apart, relative to ‖Ax‖ ‖y‖; about 1e-16 if backward is right.

    For a `function` of tensors that is linear, or affine, in the input x at `position`: Ax is function(x) -
    function(0), and backward(y) must compute Aᵀy.  It takes two evaluations at any size of x, and no step.

    >>> adjoint(lambda x: 3 * x + 1, [np.arange(6.0)]) < 1e-15
    True
    """
    x = Tensor(inputs[position], requires_grad=True)
    before, after = inputs[:position], inputs[position + 1:]
    out = function(*before, x, *after)
    with no_grad():
        origin = function(*before, Tensor(np.zeros_like(x.data)), *after)
    y = np.random.default_rng((seed, 1)).standard_normal(out.shape)         # not the stream that x may come from
    out.backward(y)
    assert x.grad is not None
    image = out.data - origin.data
    scale = np.linalg.norm(image) * np.linalg.norm(y)
    return float(abs(np.vdot(image, y) - np.vdot(x.data, x.grad)) / (scale or 1.0))
