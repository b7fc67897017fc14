"""How much of the image an output pixel sees, computed from the layers.

As a gradient goes, from a pixel back through the graph, only that an interval of pixels goes back instead of a number.
`measured_field.py` asks the gradient itself.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import nn
from ..graph import Node, Source
from ..nn.module import watch
from ..op import Array
from ..sizes import pair, same_padding
from ..tensor import Tensor


class Box(NamedTuple):
    """A rectangle of pixels; with a corner outside of the image where the field reaches into the padding."""

    top: float
    left: float
    height: float
    width: float


class Axis(NamedTuple):
    """Along one axis: output pixel x sees pixels first[x] to last[x] of the image.

    stride: image pixels from one output pixel to the next; offset: where in the image the field of output pixel 0 has
    its middle.  So the middle for pixel x is at stride·x + offset: FCN's coordinate map.  NaN where it is not known.
    """

    first: Array
    last: Array
    stride: float
    offset: float

    @property
    def size(self) -> float:
        """Pixels of the image in the largest field."""
        return float((self.last - self.first + 1).max())


class ReceptiveField(NamedTuple):
    """What the output pixels see of the image, as if the image had no border."""

    rows: Axis
    columns: Axis

    @property
    def size(self) -> tuple[float, float]:
        """(height, width) of the largest field."""
        return self.rows.size, self.columns.size

    @property
    def stride(self) -> tuple[float, float]:
        return self.rows.stride, self.columns.stride

    @property
    def offset(self) -> tuple[float, float]:
        return self.rows.offset, self.columns.offset

    def box(self, i: int, j: int) -> Box:
        """The field of output pixel (i, j)."""
        (top, bottom), (left, right) = ((float(axis.first[x]), float(axis.last[x]))
                                        for axis, x in ((self.rows, i), (self.columns, j)))
        return Box(top, left, bottom - top + 1, right - left + 1)


class View(NamedTuple):
    """Along one axis: output pixel x sees the input pixels ⌈(step·x + first) / over⌉ to ⌊(step·x + last) / over⌋."""

    step: float = 1
    over: float = 1
    first: float = 0
    last: float = 0


Views = tuple[View, View]                    # of height and width
Links = dict[Node, list[tuple[Source, Views]]]
Windows = dict[Node, tuple[nn.Module, list[Source]]]
UNKNOWN = View(math.nan, 1, math.nan, math.nan)
WINDOWED = (nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool2d, nn.AvgPool2d, nn.MaxUnpool2d, nn.PixelShuffle)


class Call(NamedTuple):
    """One call of a layer, as `run_empty` notes it."""

    path: str
    layer: nn.Module
    inputs: tuple[Any, ...]
    outputs: tuple[Tensor, ...]

    @property
    def images(self) -> tuple[Tensor, ...]:
        """What the layer works on: the first of the inputs, or both of a pair that stands there."""
        return self.inputs[0] if isinstance(self.inputs[0], tuple) else self.inputs[:1]


def receptive_field(model: nn.Module, input_shape: Sequence[int]) -> ReceptiveField:
    """What the pixels of a model's output see of an image (N, C, H, W), from kernel sizes, strides and dilations.

    Araujo et al. 2019, "Computing receptive fields of convolutional neural networks".  The statistics of GroupNorm, in
    which every pixel has a part, are left out.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3))
    >>> field = receptive_field(model, (1, 3, 32, 32))
    >>> field.size, field.stride, field.offset
    ((8.0, 8.0), (2.0, 2.0), (2.5, 2.5))
    >>> field.box(0, 1)
    Box(top=-1.0, left=1.0, height=8.0, width=8.0)
    """
    image, output, calls = run_empty(model, input_shape)
    return field_of(output, image, windows_of(calls))


def run_empty(model: nn.Module, input_shape: Sequence[int]) -> tuple[Tensor, Tensor, list[Call]]:
    """Run a model on a batch of no images (N, C, H, W): every shape comes out, and no work is done.

    Returns the batch, the output (the first, of several) and all calls of layers, in their order.
    """
    dtype = next((parameter.dtype for parameter in model.parameters()), np.dtype(np.float32))
    image = Tensor(np.zeros((0, *input_shape[1:]), dtype), requires_grad=True)
    calls: list[Call] = []

    def note(path: str, module: nn.Module, inputs: tuple, output: Any) -> None:
        if not any(module.children()) and not isinstance(module, nn.Identity):
            calls.append(Call(path, module, inputs, output if isinstance(output, tuple) else (output,)))

    modes = {module: module.training for module in model.modules()}
    try:
        with watch(model.eval(), note):
            output = model(image)
    finally:
        for module, training in modes.items():
            module.training = training
    return image, output[0] if isinstance(output, tuple) else output, calls


def windows_of(calls: Sequence[Call]) -> Windows:
    """What is known of the nodes that layers in WINDOWED made: the layer, and where its images came from."""
    return {call.outputs[0].node: (call.layer, [image.node or image for image in call.images]) for call in calls
            if isinstance(call.layer, WINDOWED) and call.outputs[0].node is not None}


def field_of(output: Tensor, image: Tensor, windows: Windows) -> ReceptiveField:
    """What the pixels of `output` see of `image`."""
    links: Links = {}
    todo: list[Source] = [output.node or output]
    while todo:
        node = todo.pop()
        if isinstance(node, Node) and node not in links:
            links[node] = _links(node, image, windows)
            todo += [source for source, _ in links[node]]
    nodes = sorted(links, key=lambda node: node.created, reverse=True)
    return ReceptiveField(*(_axis(axis, nodes, image, links) for axis in (0, 1)))


class _Seen(NamedTuple):
    """Of one node, along one axis: what the output's pixels see of it.

    first, last: for every output pixel.  stride·x + near and stride·x + far: the same without rounding to whole pixels.
    """

    first: Array
    last: Array
    stride: float = 1.0
    near: float = 0.0
    far: float = 0.0

    def through(self, view: View) -> _Seen:
        """The same, one step further back."""
        return _Seen(np.ceil((view.step * self.first + view.first) / view.over),
                     np.floor((view.step * self.last + view.last) / view.over), self.stride * view.step / view.over,
                     (view.step * self.near + view.first) / view.over, (view.step * self.far + view.last) / view.over)

    def joined(self, other: _Seen) -> _Seen:
        """What is seen on two ways."""
        return _Seen(np.minimum(self.first, other.first), np.maximum(self.last, other.last), self.stride,
                     min(self.near, other.near), max(self.far, other.far))


def _axis(axis: int, nodes: list[Node], image: Tensor, links: Links) -> Axis:
    """What the pixels of nodes[0] see of the image along one axis.  nodes: the youngest first."""
    x = np.arange(_plane(nodes[0])[axis] if nodes else 0, dtype=float)
    seen: dict[Source, _Seen] = {node: _Seen(x, x) for node in nodes[:1]}
    for node in nodes:
        for source, views in links[node]:
            back = seen[node].through(views[axis])
            seen[source] = back.joined(seen[source]) if source in seen else back
    nowhere = np.array([math.nan])
    found = seen.get(image, _Seen(nowhere, nowhere, math.nan, math.nan, math.nan))
    return Axis(found.first, found.last, found.stride, (found.near + found.far) / 2)


def _links(node: Node, image: Tensor, windows: Windows) -> list[tuple[Source, Views]]:
    """From where a node's pixels come; weights are left out."""
    if node in windows:
        layer, sources = windows[node]
        return [(source, _window_views(layer)) for source in sources]
    return [(parent, _views(node, parent)) for parent in node.parents if isinstance(parent, Node) or parent is image]


def _window_views(layer: Any) -> Views:
    """How a convolution, a pooling, or a layer that undoes one of them looks at its input."""
    if isinstance(layer, nn.PixelShuffle):
        r = layer.upscale_factor
        return View(1, r, 1 - r, 0), View(1, r, 1 - r, 0)
    kernel, stride = pair("kernel_size", layer.kernel_size), pair("stride", layer.stride)
    dilation = pair("dilation", getattr(layer, "dilation", 1))
    if layer.padding == "same":
        padding = tuple(same_padding(k, d)[0] for k, d in zip(kernel, dilation))
    else:
        padding = pair("padding", 0 if layer.padding == "valid" else layer.padding, minimum=0)
    reach = [d * (k - 1) for k, d in zip(kernel, dilation)]
    if isinstance(layer, (nn.ConvTranspose2d, nn.MaxUnpool2d)):               # x = stride·(input pixel) + tap - padding
        rows, columns = (View(1, s, p - r, p) for s, p, r in zip(stride, padding, reach))
    else:                                                                     # input pixel = stride·x + tap - padding
        rows, columns = (View(s, 1, -p, r - p) for s, p, r in zip(stride, padding, reach))
    return rows, columns


def _views(node: Node, parent: Source) -> Views:
    """How any other op looks at an argument: at the pixel of the same place, unless it resizes, crops or pads."""
    if max(len(node.shape), len(parent.shape)) > 4:
        return UNKNOWN, UNKNOWN
    views = [_view(node, outputs, inputs) for outputs, inputs in zip(_plane(node), _plane(parent))]
    kept = vars(node.context)
    if node.op.name == "index" and len(node.shape) == len(parent.shape) == 4:
        parts = [*kept["index"], *[slice(None)] * 4][:4]
        starts = [part.indices(n) if isinstance(part, slice) else None for part, n in zip(parts[2:], parent.shape[2:])]
        views = [View(start[2], 1, start[0], start[0]) if start else UNKNOWN for start in starts]
    elif node.op.name == "bilinear":
        top, _, down, left, _, across = kept["axes"]
        views = [_between(top + down, parent.shape[2]), _between(left + across, parent.shape[3])]
    elif node.op.name == "bed_of_nails":
        views = [View(1, nails.step) for nails in kept["nails"][2:]]
    elif node.op.name == "pad":
        views = [View(1, 1, -before, -before) for before in _padded_before(kept["sources"])]
    return views[0], views[1]


def _between(places: Array, inputs: int) -> View:
    """Of bilinear interpolation: the two pixels around each place, or the one that it falls on."""
    x, outputs = np.arange(places.size), places.size
    if outputs > 1 and np.allclose(places, x * (inputs - 1) / (outputs - 1), atol=1e-3):    # align_corners
        return View(inputs - 1, outputs - 1, 2 - outputs, outputs - 2)
    return View(2 * inputs, 2 * outputs, inputs - 3 * outputs + 1, inputs + outputs - 1)    # (x + ½)·inputs/outputs - ½


def _padded_before(sources: Sequence[tuple[int, Array]]) -> list[int]:
    """By how much most pixels have moved, along rows and columns.  sources: (axis, where each pixel was; -1 is new)."""
    before = [0, 0, 0, 0]
    for axis, source in sources:
        moved, counts = np.unique((np.arange(source.size) - source)[source >= 0], return_counts=True)
        before[axis] = int(moved[counts.argmax()]) if counts.size else 0
    return before[2:]


def _view(node: Node, outputs: int, inputs: int) -> View:
    """Along one axis, from the op and the sizes alone."""
    name = node.op.name
    if name == "nearest":                                 # pixel ⌊x·inputs/outputs⌋
        inputs, outputs = inputs // math.gcd(inputs, outputs), outputs // math.gcd(inputs, outputs)
        return View(inputs, outputs, 1 - outputs, 0)
    if name == "adaptive_avg_pool2d":
        return View(inputs, outputs, 1 - outputs, inputs - 1)
    if name in ("conv2d", "conv_transpose2d", "max_pool2d", "avg_pool2d", "max_unpool2d"):
        return UNKNOWN                                    # called as a function, so its settings are not to be seen
    if outputs == inputs:
        return View()
    if outputs == 1 or inputs == 1:
        return View(0, 1, 0, inputs - 1)                  # all of the plane, or one value for all of it
    return UNKNOWN


def _plane(source: Source) -> tuple[int, int]:
    """(H, W); what has no plane is one pixel."""
    return (source.shape[2], source.shape[3]) if len(source.shape) == 4 else (1, 1)
