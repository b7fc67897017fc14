"""Backward itself: the graph of a computation, node after node, gradient after gradient."""
from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .. import functional as F
from ..graph import Node, Source, backward_steps
from ..op import Array
from ..tensor import Tensor
from .checks import LARGEST, plane
from .convolution import IMAGE
from .frames import Frame, Graph, GraphNode, Grid, Steps, grid

SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
LEGEND = {"read": "gradient arrives", "written": "gradient handed on"}
MOST_NODES = 40


def backward(loss: Tensor, **leaves: Tensor) -> Steps:
    """Go back through the graph of a scalar `loss`, one node a frame, as `loss.backward()` does.

    The leaves get their `.grad`, and the graph is freed on the way.  leaves: the tensors that you made, under the names
    that they shall have in the frames.  ValueError if the loss is no scalar that requires a gradient, or its graph is
    too large to draw.

    >>> x = Tensor([3.0], requires_grad=True)
    >>> run = backward((x * x).sum(), x=x)
    >>> print(run[-1].sentence)
    Done: every leaf has its gradient, dL/dx.
    >>> x.grad
    array([6.], dtype=float32)
    """
    if loss.size != 1 or loss.node is None:
        need = "" if loss.requires_grad else " and requires no gradient"
        raise ValueError(f"backward: the loss has shape {loss.shape}{need}; expected one number computed from tensors "
                         f"with requires_grad=True")
    return Steps("Backward through the graph", _frames(loss.node, np.ones(loss.shape, loss.dtype), leaves), LEGEND)


def small_net(input: Any = IMAGE, kernel: Any = SOBEL) -> Steps:
    """Backward through a small net: convolution, ReLU, max pooling, a 1x1 convolution to two classes, cross-entropy.

    input (H, W), at least 2x2; kernel (KH, KW).  The true classes are 0 and 1 in turns.
    """
    values, weights = plane("backward: input", input), plane("backward: kernel", kernel)
    if min(values.shape) < 2:
        raise ValueError(f"backward: the input is {values.shape[0]}x{values.shape[1]}; expected at least 2x2, since it "
                         f"is pooled")
    x, w = (Tensor(array[None, None], requires_grad=True) for array in (values, weights))
    v = Tensor(np.array([0.25, -0.25]).reshape(2, 1, 1, 1), requires_grad=True)
    scores = F.conv2d(F.max_pool2d(F.relu(F.conv2d(x, w, padding="same")), 2), v)           # (1, 2, H/2, W/2)
    target = np.resize([0, 1], (1, *scores.shape[2:]))
    return backward(F.cross_entropy(scores, target), x=x, w=w, v=v)


def _frames(root: Node, grad: Array, leaves: Mapping[str, Tensor]) -> Iterator[Frame]:
    drawing = _Drawing(root, leaves)
    yield Frame("The forward pass has left this graph. Backward starts at the loss L, with dL/dL = 1.",
                (drawing.graph(read=root), drawing.gradient(root, grad, "read")))
    arrived: dict[Source, Array] = {}
    for node, dy, handed_on in backward_steps(root, grad):
        before = {source: arrived.get(source) for source in handed_on}
        for source, dx in handed_on.items():
            arrived[source] = dx.copy() if before[source] is None else arrived[source] + dx
        names = " and ".join(drawing.names[source] for source in handed_on)
        added = any(part is not None for part in before.values())
        inputs = "inputs" if len(handed_on) > 1 else "input"
        yield Frame(f"{drawing.names[node]} takes the gradient of its output and hands on that of its {inputs}: {names}"
                    f"{'; it is added to what had arrived there' * added}.",
                    (drawing.graph(read=node, written=handed_on), drawing.gradient(node, dy, "read"),
                     *(drawing.gradient(source, arrived[source], "written") for source in handed_on)))
    ends = [source for source in drawing.sources if not isinstance(source, Node)]
    yield Frame(f"Done: every leaf has its gradient, {', '.join(f'dL/d{drawing.names[leaf]}' for leaf in ends)}.",
                (drawing.graph(written=ends), *(drawing.gradient(leaf, arrived[leaf], "written") for leaf in ends)))


class _Drawing:
    """Names and places of a graph's nodes and leaves: a column for each step from the leaves, inputs to the left."""

    def __init__(self, root: Node, leaves: Mapping[str, Tensor]):
        self.sources, self.edges = _explore(root)
        nodes = [source for source in self.sources if isinstance(source, Node)]
        if len(nodes) > MOST_NODES:
            raise ValueError(f"backward: the graph has {len(nodes)} nodes; expected at most {MOST_NODES}, so take a "
                             f"smaller net")
        given = {tensor: name for name, tensor in leaves.items()}
        twice = Counter(node.op.name for node in nodes)
        seen: Counter[str] = Counter()
        self.names: dict[Source, str] = {}
        for source in self.sources:
            if isinstance(source, Node):
                seen[source.op.name] += 1
                self.names[source] = source.op.name + (f" {seen[source.op.name]}" if twice[source.op.name] > 1 else "")
            else:
                seen["leaf"] += 1
                self.names[source] = given.get(source, f"leaf {seen['leaf']}")      # type: ignore[call-overload]
        self.places = self._places()

    def _places(self) -> dict[Source, tuple[int, int]]:
        column: dict[Source, int] = {}
        for source in self.sources:                                        # parents come before their children
            column[source] = max((column[a] + 1 for a, b in self.edges if b is source), default=0)
        for source in self.sources:                                        # a leaf stands just before its first user
            if not isinstance(source, Node):
                column[source] = min(column[b] for a, b in self.edges if a is source) - 1
        places: dict[Source, tuple[int, int]] = {}
        for source in sorted(self.sources, key=lambda s: (column[s], not isinstance(s, Node))):
            here = column[source]
            taken = {row for other, row in places.values() if other == here}
            taken |= {places[a][1] for a, b in self.edges if column[a] < here < column[b]}     # by arrows that pass
            places[source] = here, next(row for row in itertools.count() if row not in taken)
        return places

    def graph(self, read: Source | None = None, written: Any = ()) -> Graph:
        index, marked = {source: k for k, source in enumerate(self.sources)}, set(written)
        nodes = tuple(GraphNode(self.names[source], "x".join(map(str, source.shape)) or "scalar", *self.places[source],
                                1 if source is read else 2 if source in marked else 0) for source in self.sources)
        return Graph("Graph", nodes, tuple((index[a], index[b]) for a, b in self.edges))

    def gradient(self, source: Source, values: Array, role: str) -> Grid:
        """The gradient as a grid: planes (N, C) below each other, an empty row between."""
        title = f"dL/d{self.names[source]}" if not isinstance(source, Node) else f"dL/d({self.names[source]})"
        planes = values.reshape(-1, *values.shape[-2:]) if values.ndim > 1 else values.reshape(1, 1, -1)
        if planes.size > LARGEST * LARGEST:
            raise ValueError(f"backward: the gradient of {self.names[source]} has shape {values.shape}, too many "
                             f"numbers to show; expected at most {LARGEST * LARGEST}, so take a smaller net")
        empty = np.full((len(planes), 1, planes.shape[2]), np.nan)
        stacked = np.concatenate([planes, empty], axis=1).reshape(-1, planes.shape[2])[:-1]    # (N·C·(H + 1) - 1, W)
        return grid(title, stacked, **{role: ~np.isnan(stacked)})


def _explore(root: Node) -> tuple[list[Source], list[tuple[Source, Source]]]:
    """All that the root was computed from, each after its own parents, and the edges (parent, child)."""
    found, stack = {root}, [root]
    while stack:
        new = {parent for parent in stack.pop().parents if isinstance(parent, Node)} - found
        found |= new
        stack.extend(new)
    nodes = sorted(found, key=lambda node: node.created)
    edges: list[tuple[Source, Source]] = [(parent, node) for node in nodes
                                          for parent in dict.fromkeys(node.parents) if parent is not None]
    leaves = dict.fromkeys(parent for parent, _ in edges if not isinstance(parent, Node))
    return [*leaves, *nodes], edges
