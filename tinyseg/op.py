"""What an operation must declare, and the registry of all that have.

An op is a class with five parts, refused at import time if one is missing: its formula (the docstring), `forward`,
`backward`, `reference` and `samples`.  Everything here speaks of plain NumPy arrays; `tensor.py` turns an op into a node
of the graph, `functional.py` gives it its public name, and `tests/test_every_op.py` tests every op in `REGISTRY`.
"""
from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import numpy as np

Array = np.ndarray
REGISTRY: dict[str, type[Op]] = {}


class Sample(NamedTuple):
    """One call of an op: its array arguments in order (None where left out), and its settings by name."""

    arrays: tuple[Array | None, ...]
    settings: dict[str, Any] = {}


class Context:
    """What forward leaves for backward: attributes of any name.

    `needs_input_grad[i]` tells whether anybody asked for the gradient of array argument i; backward may return None for
    the others.
    """

    def __init__(self, needs_input_grad: tuple[bool, ...] = ()):
        self.needs_input_grad = needs_input_grad


class Op:
    """One differentiable operation on arrays.  Array arguments are positional, settings are keyword-only.

    An op is never instantiated: its parts are plain functions, without self (they become static methods here).

    `linear` lists the array arguments in which the op is linear (or affine), all others held fixed: for those the adjoint
    test ⟨Ax, y⟩ = ⟨x, Aᵀy⟩ is exact.  `name` is the snake-case class name unless given: `class ReLU(Op, name="relu")`.
    """

    name: ClassVar[str]
    linear: ClassVar[tuple[int, ...]] = ()

    @staticmethod
    def forward(ctx: Context, *arrays: Any, **settings: Any) -> Any:
        """Return the output array, or a tuple of it and further arrays that carry no gradient (indices, statistics)."""
        raise NotImplementedError

    @staticmethod
    def backward(ctx: Context, dy: Array) -> tuple[Array | None, ...]:
        """Return one gradient per array argument.  Summing over broadcast axes is left to the engine."""
        raise NotImplementedError

    @staticmethod
    def reference(*arrays: Any, **settings: Any) -> Any:
        """The formula in plain NumPy, as the lecture draws it: complex-safe, no cleverness."""
        raise NotImplementedError

    @staticmethod
    def samples(rng: np.random.Generator) -> Iterator[Sample]:
        """Yield the calls that the tests are generated from, the awkward ones and the tight boundaries among them."""
        raise NotImplementedError

    def __init_subclass__(cls, name: str | None = None) -> None:
        cls.name = name or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()
        parts = ("__doc__", "forward", "backward", "reference", "samples")
        missing = [part.strip("_") for part in parts if not vars(cls).get(part)]
        if missing:
            raise TypeError(f"op {cls.__name__} does not declare its {', '.join(missing)} (see docs/adding_an_op.md)")
        earlier = REGISTRY.get(cls.name)
        if earlier and not earlier.__module__ == cls.__module__ == "__main__":        # there, a cell may be run again
            raise TypeError(f"op {cls.name}: declared twice, by {earlier.__module__} and {cls.__module__}")
        for part in parts[1:]:
            setattr(cls, part, staticmethod(vars(cls)[part]))
        REGISTRY[cls.name] = cls
