"""Bugs to plant in the backward of an op: the checker must refuse each, and call it by its name.

    for plant in PLANTS:
        with planted(op, position, plant):
            report = check_op(op, sample)
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, NamedTuple

import numpy as np

from ..graph import unbroadcast
from ..op import Array, Context, Op
from .case import KERNELS
from .every_op import argument_names


@dataclass(frozen=True)
class Call:
    """One run of an op, forward and backward, whose gradient for the argument at `position` is to be spoilt."""

    op: type[Op]
    arrays: tuple[Any, ...]
    settings: dict[str, Any]
    dy: Array
    position: int
    forward: Callable[..., Any]
    backward: Callable[..., Any]

    @property
    def x(self) -> Array:
        return self.arrays[self.position]

    @property
    def names(self) -> list[str]:
        return argument_names(self.op, len(self.arrays))

    @property
    def is_kernel(self) -> bool:
        return self.names[self.position] in KERNELS and self.x.ndim == 4

    def gradient(self) -> Array:
        """The right gradient."""
        context = Context(tuple(isinstance(a, np.ndarray) and a.dtype.kind == "f" for a in self.arrays))
        self.forward(context, *self.arrays, **self.settings)
        return unbroadcast(self.backward(context, self.dy)[self.position], self.x.shape)

    def elsewhere(self, position: int, array: Array) -> Array:
        """What would be the right gradient if another array stood at a position."""
        arrays = (*self.arrays[:position], np.asarray(array), *self.arrays[position + 1:])
        return replace(self, arrays=arrays).gradient()


class Plant(NamedTuple):
    """A bug: the name that the checker must give it, and the gradient it makes (None where it cannot be planted)."""

    name: str
    spoil: Callable[[Call], Array | None]


def zero(call: Call) -> Array:
    return np.zeros_like(call.x)


def sign(call: Call) -> Array:
    return -call.gradient()


def factor(call: Call) -> Array:
    """As if an average had been taken over three."""
    return call.gradient() / 3


def flipped_kernel(call: Call) -> Array | None:
    return _turned_kernel(call, lambda w: w[..., ::-1, ::-1])


def transposed_kernel(call: Call) -> Array | None:
    return _turned_kernel(call, lambda w: w.swapaxes(-1, -2) if w.shape[-1] == w.shape[-2] else None)


def _turned_kernel(call: Call, turn: Callable[[Array], Array | None]) -> Array | None:
    """The kernel's own gradient turned, or the gradient of another argument computed with a turned kernel."""
    if call.is_kernel:
        return turn(call.gradient())
    for i, name in enumerate(call.names):
        if name in KERNELS and np.ndim(call.arrays[i]) == 4:
            turned = turn(call.arrays[i])
            return None if turned is None else call.elsewhere(i, turned)
    return None


def border(call: Call) -> Array | None:
    """Half of what it should be on the border."""
    if call.x.ndim < 2 or min(call.x.shape[-2:]) < 3:
        return None
    spoilt = call.gradient() / 2
    spoilt[..., 1:-1, 1:-1] *= 2
    return spoilt


def last_row(call: Call) -> Array | None:
    return _without(call, -2) if call.x.ndim >= 2 else None


def last_column(call: Call) -> Array | None:
    return _without(call, -1) if call.x.ndim >= 2 else None


def one_channel(call: Call) -> Array | None:
    return _without(call, 0 if call.is_kernel else 1) if call.x.ndim == 4 else None


def one_batch_item(call: Call) -> Array | None:
    return _without(call, 0) if call.x.ndim == 4 and not call.is_kernel else None


def _without(call: Call, axis: int) -> Array:
    """Zero where the index along an axis is the last one."""
    spoilt = np.array(call.gradient())
    np.moveaxis(spoilt, axis, 0)[-1] = 0
    return spoilt


def channels_permuted(call: Call) -> Array | None:
    return np.roll(call.gradient(), 1, axis=0 if call.is_kernel else 1) if call.x.ndim == 4 else None


def ties_shared(call: Call) -> Array:
    """Half for each of two equal values: the mean over two opposite ways to break the ties."""
    return (_ties_to(call, 1e-6) + _ties_to(call, -1e-6)) / 2


def ties_to_another(call: Call) -> Array:
    """All for one of the equal values, but not always for the first."""
    return _ties_to(call, 1e-6)


def _ties_to(call: Call, size: float) -> Array:
    """The gradient where a little noise breaks the ties."""
    return call.elsewhere(call.position, call.x + size * np.random.default_rng(0).standard_normal(call.x.shape))


def missing_accumulation(call: Call) -> Array:
    """Each output position writes its share over what was there: the last one stays."""
    spoilt = np.zeros_like(call.x)
    shape = call.dy.shape
    if len(shape) == 4:
        shape = (shape[0], 1, *shape[2:])                   # all channels at once
    for index in np.ndindex(shape):
        here = np.zeros(shape)
        here[index] = 1
        share = replace(call, dy=call.dy * here).gradient()
        spoilt = np.where(share != 0, share, spoilt)
    return spoilt


PLANTS = (
    Plant("zero", zero), Plant("sign", sign), Plant("constant factor", factor),
    Plant("flipped kernel", flipped_kernel), Plant("transposed kernel", transposed_kernel),
    Plant("border only", border), Plant("last row", last_row), Plant("last column", last_column),
    Plant("one channel", one_channel), Plant("one batch item", one_batch_item),
    Plant("channels permuted", channels_permuted),
    Plant("tie splitting", ties_shared), Plant("tie splitting", ties_to_another),
    Plant("missing accumulation", missing_accumulation),
)


@contextmanager
def planted(op: type[Op], position: int, plant: Plant) -> Iterator[None]:
    """Within this context, the op's backward has the bug in its gradient for the argument at `position`."""
    forward, backward = op.forward, op.backward

    @wraps(forward)
    def remembering_forward(ctx: Any, *arrays: Any, **settings: Any) -> Any:
        ctx.call = (arrays, settings)
        return forward(ctx, *arrays, **settings)

    def spoilt_backward(ctx: Any, dy: Array) -> tuple[Array | None, ...]:
        grads = list(backward(ctx, dy))
        arrays, settings = ctx.call
        grads[position] = plant.spoil(Call(op, arrays, settings, dy, position, forward, backward))
        return tuple(grads)

    setattr(op, "forward", staticmethod(remembering_forward))
    setattr(op, "backward", staticmethod(spoilt_backward))
    try:
        yield
    finally:
        setattr(op, "forward", staticmethod(forward))
        setattr(op, "backward", staticmethod(backward))


def shows(plant: Plant, call: Call) -> bool:
    """Does the bug show on this sample, and can it be told from every other one?

    - It must change the gradient: a flipped kernel of 1x1 is no bug.
    - Only zero, sign and factor may change it to a multiple of itself: with one channel, `one channel` is `zero`.
    - What it changes must not lie in a smaller part of the array: along each dimension at least two indices are
      touched, but for the dimension that the bug is about.  (A last row that has a gradient in one channel only could
      as well be called `one channel`.)
    """
    right, spoilt = call.gradient(), plant.spoil(call)
    if spoilt is None or np.allclose(right, spoilt, rtol=1e-3, atol=1e-6 * np.max(abs(right), initial=0)):
        return False
    if plant.name in ("zero", "sign", "constant factor"):
        return True
    lengths = np.linalg.norm(right) * np.linalg.norm(spoilt)
    if lengths == 0 or abs(np.vdot(right, spoilt)) > (1 - 1e-6) * lengths:
        return False
    own_axis = {"last row": call.x.ndim - 2, "last column": call.x.ndim - 1, "one batch item": 0,
                "one channel": 0 if call.is_kernel else 1}.get(plant.name)
    touched = np.nonzero(abs(right - spoilt) > 1e-9 * np.max(abs(right)))
    return all(len(set(touched[axis])) > 1 for axis, n in enumerate(call.x.shape) if n > 1 and axis != own_axis)
