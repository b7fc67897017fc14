"""The graph that a forward pass leaves behind, and the way back through it.

This is all of automatic differentiation: a `Node` for each op applied, and `backward_steps`, which visits the nodes from
the youngest to the oldest and hands every gradient on.
"""
from __future__ import annotations

import contextlib
import contextvars
import itertools
from collections.abc import Iterator
from typing import Protocol, Union

import numpy as np

from .kernels import pointwise as kernels
from .op import Array, Context, Op
from .versions import Memory, share_memory

_grad_enabled: contextvars.ContextVar[bool] = contextvars.ContextVar("grad_enabled", default=True)
_creation = itertools.count()
LARGE = 1 << 20          # bytes


class Leaf(Protocol):
    """Where gradients end: a tensor that the user made.  (A protocol, so that this page knows nothing of tensors.)"""

    grad: Array | None

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype: ...


class no_grad(contextlib.ContextDecorator):
    """Within this context, or a function decorated with it, no graph is built.

    >>> from tinyseg import Tensor
    >>> x = Tensor([1.0], requires_grad=True)
    >>> with no_grad():
    ...     (x * 2).requires_grad
    False
    """

    def __init__(self) -> None:
        self._tokens: list[contextvars.Token[bool]] = []

    def __enter__(self) -> None:
        self._tokens.append(_grad_enabled.set(False))

    def __exit__(self, *exception: object) -> None:
        _grad_enabled.reset(self._tokens.pop())


class Node:
    """One application of an op: where a gradient comes in, and to whom its parts go on.

    A parent is the Node that computed the argument, or the leaf itself, or None if nobody asked for its gradient.
    Nodes do not hold their results, so an array that no backward needs is freed while the forward pass goes on.
    """

    __slots__ = ("op", "context", "parents", "shape", "dtype", "created", "relied_on")

    def __init__(self, op: type[Op], context: Context, parents: tuple[Source | None, ...], out: Array,
                 relied_on: list[tuple[Memory, tuple[int, int | None]]]):
        self.op, self.context, self.parents = op, context, parents
        self.shape, self.dtype = out.shape, out.dtype
        self.created = next(_creation)
        self.relied_on = relied_on

    @property
    def alive(self) -> bool:
        """Has no backward pass gone through this node yet?"""
        return hasattr(self, "context")

    def free(self) -> None:
        """Let go of everything that was kept for backward."""
        del self.context, self.relied_on
        self.parents = ()

    def __repr__(self) -> str:
        return f"<{self.op.name} {self.shape}>"


Source = Union[Node, Leaf]         # where an argument came from


def grad_enabled() -> bool:
    """Is a graph being recorded?  (Not within `no_grad`.)"""
    return _grad_enabled.get()


def backward_steps(root: Source, grad: Array) -> Iterator[tuple[Node, Array, dict[Source, Array]]]:
    """Go back through the graph node by node; yields (node, its gradient, the gradients that it handed on).

    A node was created after everything that it was computed from.  So going from the youngest node to the oldest visits
    each once, when all that uses it has already added its share: a diamond of n additions costs n steps, not 2ⁿ.

    What is yielded holds until the next step: later shares are added in place where nobody but this function has the array.
    """
    nodes = _reachable(root)
    used: set[Source | None] = set()
    again: set[Source | None] = set()         # what more than one argument came from
    for node in nodes:
        _check_intact(node)
        for parent in node.parents:
            (again if parent in used else used).add(parent)
    pending: dict[Source, Array] = {root: grad}
    ours: set[Source] = set()                 # whose pending gradient is an array that nobody else has
    while nodes:
        node = nodes.pop()
        dy = pending.pop(node)
        handed_on = _gradients(node, dy)
        yield node, dy, handed_on
        for parent, dx in handed_on.items():
            if parent in ours:
                _add_to(pending[parent], dx)
                continue
            written_or_kept = parent in again or not isinstance(parent, Node)
            new = written_or_kept and _is_new(parent, node, dy, handed_on)
            if parent in pending and new:
                _add_to(dx, pending[parent])
            elif parent in pending:
                dx, new = pending[parent] + dx, True
            pending[parent] = dx
            if new:
                ours.add(parent)
        node.free()
    for leaf, dx in pending.items():
        assert not isinstance(leaf, Node)
        if leaf.grad is not None:
            leaf.grad = leaf.grad + dx
        else:
            leaf.grad = dx if leaf in ours else np.array(dx)


def _gradients(node: Node, dy: Array) -> dict[Source, Array]:
    """Each parent with its part of the gradient, summed over the axes along which it was broadcast."""
    grads = node.op.backward(node.context, dy)
    if len(grads) != len(node.parents):
        raise RuntimeError(f"{node.op.name}: backward returned {len(grads)} gradients for {len(node.parents)} arguments")
    total: dict[Source, Array] = {}
    for i, (parent, grad) in enumerate(zip(node.parents, grads)):
        if parent is None:
            continue
        if grad is None:
            raise RuntimeError(f"{node.op.name}: backward returned no gradient for argument {i}, which requires one")
        dx = np.asarray(grad)
        if dx.shape != parent.shape:
            dx = np.asarray(unbroadcast(dx, parent.shape))
        if dx.shape != parent.shape:
            raise ValueError(f"{node.op.name}: backward returned a gradient of shape {dx.shape} for argument {i} of "
                             f"shape {parent.shape}")
        if dx.dtype != parent.dtype:
            dx = dx.astype(parent.dtype)
        total[parent] = total[parent] + dx if parent in total else dx      # x * x: one parent, two parts
    return total


def _add_to(total: Array, dx: Array) -> None:
    """total += dx, divided between all threads where they are large."""
    if total.nbytes >= LARGE and total.flags.carray and dx.flags.carray:
        kernels.add_to(total.reshape(-1), dx.reshape(-1))
    else:
        total += dx


def _is_new(parent: Source, node: Node, dy: Array, handed_on: dict[Source, Array]) -> bool:
    """Did the node's backward make the array for this parent alone?  (Then it may be written to.)"""
    dx = handed_on[parent]
    others = [array for other, array in handed_on.items() if other is not parent]
    kept = [value for value in vars(node.context).values() if isinstance(value, np.ndarray)]
    return dx.flags.writeable and not share_memory(dx, (dy, *others, *kept))


def unbroadcast(grad: Array, shape: tuple[int, ...]) -> Array:
    """Sum a gradient over the axes along which an argument of `shape` was broadcast.

    >>> unbroadcast(np.ones((2, 3, 4)), (3, 1)).tolist()
    [[8.0], [8.0], [8.0]]
    """
    if grad.shape == shape or grad.ndim < len(shape):
        return grad
    grad = grad.sum(axis=tuple(range(grad.ndim - len(shape))))             # axes that broadcasting put in front
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and grad.shape[i] != 1)
    return grad.sum(axis=stretched, keepdims=True) if stretched else grad


def _reachable(root: Source) -> list[Node]:
    """All nodes that the root was computed from, the oldest first."""
    seen: set[Node] = set()
    stack: list[Source | None] = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, Node) and node not in seen:
            seen.add(node)
            stack.extend(node.parents)
    return sorted(seen, key=lambda node: node.created)


def _check_intact(node: Node) -> None:
    if not node.alive:
        raise RuntimeError(f"backward: the graph was freed by an earlier backward at {node}; run the forward pass again "
                           f"(or add the losses before calling backward once)")
    for memory, stamp in node.relied_on:
        if memory.changed_since(stamp):
            raise RuntimeError(f"backward: an array of shape {memory.array.shape} that {node} needs has changed since the "
                               f"forward pass; write to a copy, or after backward")
