"""A model as a diagram: its feature maps, what each is computed from, and where each stands on the page.

Nothing is drawn by hand: the model runs on a batch of no images, and the graph that it leaves says who takes what from whom.
`plots.diagram` draws it.
"""
from __future__ import annotations

import contextvars
import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from .. import nn
from ..graph import Node, Source
from ..tensor import Tensor
from .receptive_field import Call, run_empty

JOINS = ("cat", "add")
Shape = tuple[int, int, int]                 # (C, H, W)
POOLING = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


class Map(NamedTuple):
    """A feature map of shape (C, H, W).

    name: the path of the layer that computes it, "image", "output", or "cat" or "add" for what joins several.
    kind: "image", "convolution" (linear layers too), "pooling", "upsampling", "join" or "output".  Normalisation,
        activation and what else keeps the shape make no map of their own.
    column: how many maps come before it.  lane: 0 on the longest way through the model; of several maps in a column the
        later ones are above, 1, 2, …, and the earlier ones below, -1, -2, ….
    level: how many times the image has been halved.
    """

    name: str
    kind: str
    shape: Shape
    column: int
    lane: int
    level: int


class Arrow(NamedTuple):
    """From one map to another, by their places in `Diagram.maps`; `indices`: only the places of maxima travel."""

    start: int
    end: int
    indices: bool = False


class Diagram(NamedTuple):
    """All maps of a model, in the order in which they are computed."""

    maps: tuple[Map, ...]
    arrows: tuple[Arrow, ...]


def diagram(model: nn.Module, input_shape: Sequence[int]) -> Diagram:
    """What a model makes of images (N, C, H, W), map by map.

    >>> maps, arrows = diagram(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2)), (1, 3, 32, 32))
    >>> maps[-1]
    Map(name='2', kind='pooling', shape=(8, 15, 15), column=2, lane=0, level=1)
    >>> arrows
    (Arrow(start=0, end=1, indices=False), Arrow(start=1, end=2, indices=False))
    """
    image, output, calls = contextvars.Context().run(run_empty, model, input_shape)     # also where no_grad holds
    made = _Maps(image, output, calls)
    first = _columns(made.sources)
    users: list[list[int]] = [[] for _ in first]
    for k, sources in enumerate(made.sources):
        for source in sources:
            users[source].append(k)
    last = [0] * len(first)
    for k in reversed(range(len(first))):
        last[k] = min((last[user] for user in users[k]), default=max(first) + 1) - 1
    lanes = _lanes([a == b for a, b in zip(first, last)], last)
    levels = _levels(made)
    maps = tuple(Map(*made.labels[k], made.shapes[k], last[k], lanes[k], levels[k]) for k in range(len(first)))
    arrows = [Arrow(source, k) for k, sources in enumerate(made.sources) for source in sources]
    return Diagram(maps, tuple(sorted([*arrows, *made.index_arrows(calls)], key=lambda arrow: (arrow.end, arrow.start))))


class _Maps:
    """What is shown, in the order of the graph's nodes: (name, kind), shape, and the places of its sources.

    A layer that reads a pair of maps as one has the node of their concatenation in it; here it is shown by itself.
    """

    def __init__(self, image: Tensor, output: Tensor, calls: Sequence[Call]):
        self.labels = [("image", "image")]
        self.shapes = [_shape(image)]
        self.sources: list[list[int]] = [[]]
        self.places: dict[Source, list[int]] = {image: [0]}      # of what is not shown, those of what it was computed from
        by_node: dict[Node | None, Call] = {}
        for call in calls:
            by_node.setdefault(call.outputs[0].node, call)
        nodes = _nodes(output.node)
        parts = _parts(nodes)
        for node in nodes:
            sources = sorted({place for parent in node.parents if parent is not None for place in self.places.get(parent, [])})
            made_by = by_node.get(node)
            label = None if node in parts else self._label(node, made_by, len(sources), node is output.node)
            if made_by and len(made_by.images) > 1:
                channels, (_, height, width) = sum(x.shape[1] for x in made_by.images), _shape(made_by.images[0])
                sources = self._show(("cat", "join"), (channels, height, width), sources)
            self.places[node] = self._show(label, _shape(node), sources) if label and sources else sources

    def _show(self, label: tuple[str, str], shape: Shape, sources: list[int]) -> list[int]:
        """Its place, in a list."""
        self.labels.append(label)
        self.shapes.append(shape)
        self.sources.append(sources)
        return [len(self.labels) - 1]

    def _label(self, node: Node, call: Call | None, sources: int, is_last: bool) -> tuple[str, str] | None:
        kind = _kind(call) if call else None
        if call and kind:
            return call.path, kind
        if node.op.name in JOINS and sources > 1:
            return node.op.name, "join"
        return ("output", "output") if is_last and _shape(node) != self.shapes[-1] else None

    def index_arrows(self, calls: Sequence[Call]) -> list[Arrow]:
        """From poolings to the layers that put values back to where the maxima were."""
        origins = {id(indices): call for call in calls for indices in call.outputs[1:]}
        pairs = [(origins[id(tensor)], call) for call in calls for tensor in call.inputs[1:] if id(tensor) in origins]
        nodes = [(a.outputs[0].node, b.outputs[0].node) for a, b in pairs]
        return [Arrow(self.places[a][0], self.places[b][0], True) for a, b in nodes if a and b]


def _nodes(root: Node | None) -> list[Node]:
    """All nodes that the root was computed from, and itself, the oldest first."""
    found: set[Node] = set()
    todo: list[Source | None] = [root]
    while todo:
        node = todo.pop()
        if isinstance(node, Node) and node not in found:
            found.add(node)
            todo += node.parents
    return sorted(found, key=lambda node: node.created)


def _parts(nodes: Sequence[Node]) -> set[Node]:
    """Sums and concatenations that are only a step of a longer one."""
    users = Counter(parent for node in nodes for parent in node.parents if isinstance(parent, Node))
    return {parent for node in nodes if node.op.name in JOINS for parent in node.parents
            if isinstance(parent, Node) and parent.op is node.op and users[parent] == 1}


def _kind(call: Call) -> str | None:
    """None for what keeps the shape."""
    if isinstance(call.layer, nn.ConvTranspose2d):
        return "upsampling"
    if isinstance(call.layer, (nn.Conv2d, nn.Linear)):
        return "convolution"
    if isinstance(call.layer, POOLING):
        return "pooling"
    plane = [math.prod(tensor.shape[2:]) for tensor in (call.images[0], call.outputs[0])]
    return "upsampling" if plane[1] > plane[0] else None


def _shape(source: Source) -> Shape:
    channels, height, width = (*source.shape[1:], 1, 1)[:3]
    return channels, height, width


def _columns(sources: Sequence[Sequence[int]]) -> list[int]:
    """As far to the left as possible."""
    columns: list[int] = []
    for mine in sources:
        columns.append(max((columns[source] + 1 for source in mine), default=0))
    return columns


def _lanes(on_longest: Sequence[bool], columns: Sequence[int]) -> list[int]:
    """In a column one above another, as they are computed; the first that is on a longest way is in lane 0."""
    lanes = [0] * len(columns)
    for column in set(columns):
        members = [k for k, c in enumerate(columns) if c == column]
        middle = next(n for n, k in enumerate(members) if on_longest[k])
        for n, k in enumerate(members):
            lanes[k] = n - middle
    return lanes


def _levels(made: _Maps) -> list[int]:
    """From one map to the next that is computed from it: by how many powers of two it is smaller."""
    levels = [0]
    for shape, sources in zip(made.shapes[1:], made.sources[1:]):
        before, now = made.shapes[sources[-1]][1], shape[1]
        levels.append(levels[sources[-1]] + round(math.log2(before / now)))
    return levels
