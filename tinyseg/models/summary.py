"""What each layer of a model makes of an image: shape, parameters, work, memory, and how much of the image it sees.

The model runs on a batch of no images: every shape comes out, and no work is done.  The receptive field is then found
as a gradient is, from a pixel back through the graph, only that an interval of pixels goes back instead of a number.
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


class Row(NamedTuple):
    """One layer at work.

    output_shape: (N, C, H, W).
    multiply_adds: for all N images; only convolutions and linear layers count.
    receptive_field: rows and columns of the image that can change one output pixel, of all pixels the largest, as if
    the image had no border; NaN if it is not known.
    stride: image pixels from one output pixel to the next.
    memory: bytes of the output.
    """

    path: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    receptive_field: tuple[float, float]
    stride: tuple[float, float]
    memory: int


class View(NamedTuple):
    """Along one axis: output pixel x sees the input pixels ⌈(step·x + first) / over⌉ to ⌊(step·x + last) / over⌋."""

    step: float = 1
    over: float = 1
    first: float = 0
    last: float = 0


Views = tuple[View, View]                    # of height and width
Links = dict[Node, list[tuple[Source, Views]]]
UNKNOWN = View(math.nan, 1, math.nan, math.nan)
WINDOWED = (nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool2d, nn.AvgPool2d, nn.MaxUnpool2d)


def layer_rows(model: nn.Module, input_shape: Sequence[int]) -> list[Row]:
    """One row for each call of a layer, in the order of the calls.  input_shape: (N, C, H, W).

    >>> rows = layer_rows(nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3)), (1, 3, 32, 32))
    >>> [(row.path, row.output_shape, row.receptive_field, row.stride) for row in rows][-1]
    ('2', (1, 8, 13, 13), (8.0, 8.0), (2.0, 2.0))
    """
    batch, *image_shape = input_shape
    dtype = next((parameter.dtype for parameter in model.parameters()), np.dtype(np.float32))
    image = Tensor(np.zeros((0, *image_shape), dtype), requires_grad=True)
    calls: list[tuple[str, nn.Module, Tensor, tuple[Tensor, ...]]] = []

    def note(path: str, module: nn.Module, inputs: tuple, output: Any) -> None:
        if not any(module.children()) and not isinstance(module, nn.Identity):
            calls.append((path, module, inputs[0], output if isinstance(output, tuple) else (output,)))

    modes = {module: module.training for module in model.modules()}
    try:
        with watch(model.eval(), note):
            model(image)
    finally:
        for module, training in modes.items():
            module.training = training

    windows = {output.node: (module, input.node or input) for _, module, input, (output, *_) in calls
               if isinstance(module, WINDOWED) and output.node is not None}
    counted: set[nn.Module] = set()
    rows = []
    for path, module, input, outputs in calls:
        field, stride = _receptive_field(outputs[0], image, windows)
        parameters = 0 if module in counted else sum(parameter.size for parameter in module.parameters())
        counted.add(module)
        values = [batch * math.prod(output.shape[1:]) for output in outputs]
        memory = sum(n * output.dtype.itemsize for n, output in zip(values, outputs))
        rows.append(Row(path, type(module).__name__, (batch, *outputs[0].shape[1:]), parameters,
                        batch * _multiply_adds(module, input, outputs[0]), field, stride, memory))
    return rows


def summary(model: nn.Module, input_shape: Sequence[int]) -> str:
    """`layer_rows` as a table, with totals.

    >>> print(summary(nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU()), (1, 3, 32, 32)))
    layer  type    output            parameters  multiply-adds  receptive field  stride   memory
    0      Conv2d  (1, 8, 15, 15)           224         48,600                3       2  7.0 KiB
    1      ReLU    (1, 8, 15, 15)             0              0                3       2  7.0 KiB
    total                                   224         48,600                           14.1 KiB
    """
    rows = layer_rows(model, input_shape)
    table = [("layer", "type", "output", "parameters", "multiply-adds", "receptive field", "stride", "memory")]
    table += [(row.path, row.kind, str(row.output_shape), f"{row.parameters:,}", f"{row.multiply_adds:,}",
               _both(row.receptive_field), _both(row.stride), _bytes(row.memory)) for row in rows]
    parameters, multiply_adds = sum(p.size for p in model.parameters()), sum(row.multiply_adds for row in rows)
    memory = sum(row.memory for row in rows)
    table.append(("total", "", "", f"{parameters:,}", f"{multiply_adds:,}", "", "", _bytes(memory)))
    widths = [max(map(len, column)) for column in zip(*table)]
    return "\n".join("  ".join(cell.ljust(width) if i < 3 else cell.rjust(width)
                               for i, (cell, width) in enumerate(zip(line, widths))) for line in table)


# Receptive fields -----------------------------------------------------------------------------------------------------

def _receptive_field(output: Tensor, image: Tensor, windows: dict) -> tuple[tuple[float, float], tuple[float, float]]:
    """(field, stride), each (rows, columns), of the pixels of `output`.

    windows: for the node of each layer in WINDOWED, (layer, source of its input).
    """
    links: Links = {}
    todo: list[Source] = [output.node or output]
    while todo:
        node = todo.pop()
        if isinstance(node, Node) and node not in links:
            links[node] = _links(node, image, windows)
            todo += [source for source, _ in links[node]]
    nodes = sorted(links, key=lambda node: node.created, reverse=True)
    (rows, row_stride), (columns, column_stride) = (_field_along(axis, nodes, image, links) for axis in (0, 1))
    return (rows, columns), (row_stride, column_stride)


def _field_along(axis: int, nodes: list[Node], image: Tensor, links: Links) -> tuple[float, float]:
    """The largest field of all pixels of nodes[0] along one axis, and their stride.  nodes: the youngest first."""
    if not nodes:
        return math.nan, math.nan
    x = np.arange(_plane(nodes[0])[axis], dtype=float)
    seen: dict[Source, tuple[Array, Array, float]] = {nodes[0]: (x, x, 1.0)}      # (first pixels, last pixels, stride)
    for node in nodes:
        first, last, stride = seen[node]
        for source, views in links[node]:
            view = views[axis]
            low = np.ceil((view.step * first + view.first) / view.over)
            high = np.floor((view.step * last + view.last) / view.over)
            if source in seen:
                low, high = np.minimum(low, seen[source][0]), np.maximum(high, seen[source][1])
            seen[source] = low, high, stride * view.step / view.over
    low, high, stride = seen.get(image, (np.array(math.nan), np.array(math.nan), math.nan))
    return float((high - low + 1).max()), stride


def _links(node: Node, image: Tensor, windows: dict) -> list[tuple[Source, Views]]:
    """From where a node's pixels come; weights are left out."""
    if node in windows:
        layer, source = windows[node]
        return [(source, _window_views(layer))]
    return [(parent, _views(node, parent)) for parent in node.parents if isinstance(parent, Node) or parent is image]


def _window_views(layer: Any) -> Views:
    """How a convolution, a pooling, or one of their transposes looks at its input."""
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
    """How any other op looks at an argument: at the pixel of the same place, unless it resizes or crops."""
    views = [_view(node, outputs, inputs) for outputs, inputs in zip(_plane(node), _plane(parent))]
    if node.op.name == "index" and len(node.shape) == len(parent.shape) == 4:
        parts = [*vars(node.context)["index"], *[slice(None)] * 4][:4]
        views = [View(part.step or 1, 1, part.start or 0, part.start or 0) if isinstance(part, slice) else UNKNOWN
                 for part in parts[2:]]
    return views[0], views[1]


def _view(node: Node, outputs: int, inputs: int) -> View:
    """Along one axis, from the op and the sizes alone."""
    name = node.op.name
    if name == "nearest":
        return View(inputs, outputs, 1 - outputs, 0)
    if name == "bilinear":                                # the two pixels around (x + ½)·inputs/outputs - ½
        return View(2 * inputs, 2 * outputs, inputs - 3 * outputs + 1, inputs + outputs - 1)
    if name == "adaptive_avg_pool2d":
        return View(inputs, outputs, 1 - outputs, inputs - 1)
    if name in ("conv2d", "conv_transpose2d", "max_pool2d", "avg_pool2d", "max_unpool2d", "pad", "bed_of_nails"):
        return UNKNOWN                                    # called as a function, so its settings are not to be seen
    if outputs == inputs:
        return View()
    if outputs == 1 or inputs == 1:
        return View(0, 1, 0, inputs - 1)                  # all of the plane, or one value for all of it
    return UNKNOWN


def _plane(source: Source) -> tuple[int, int]:
    """(H, W); what has no plane is one pixel."""
    return (source.shape[2], source.shape[3]) if len(source.shape) == 4 else (1, 1)


# The rest -------------------------------------------------------------------------------------------------------------

def _multiply_adds(layer: nn.Module, input: Tensor, output: Tensor) -> int:
    """For one image."""
    if isinstance(layer, (nn.Conv2d, nn.Linear)):         # each output value sums over one row of the kernel
        return math.prod(output.shape[1:]) * math.prod(layer.weight.shape[1:])
    if isinstance(layer, nn.ConvTranspose2d):             # each input value is multiplied with its part of the kernel
        return math.prod(input.shape[1:]) * math.prod(layer.weight.shape[1:])
    return 0


def _both(pair: tuple[float, float]) -> str:
    """"3", "3x5", or "?" if unknown."""
    height, width = ("?" if math.isnan(n) else f"{n:g}" for n in pair)
    return height if height == width else f"{height}x{width}"


def _bytes(n: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if n < 1024:
            return f"{n:.1f} {unit}"
        n /= 1024
    return f"{n:.1f} GiB"
