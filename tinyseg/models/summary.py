"""What each layer of a model makes of an image: shape, parameters, work, memory, and how much of the image it sees.

The model runs on a batch of no images: every shape comes out, and no work is done.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from .. import nn
from ..tensor import Tensor
from .receptive_field import field_of, run_empty, windows_of


class Row(NamedTuple):
    """One layer at work.

    output_shape: (N, C, H, W).
    multiply_adds: for all N images; only convolutions and linear layers count.
    receptive_field: rows and columns of the image that can change one output pixel, of all pixels the largest, as if
    the image had no border; NaN if it is not known.
    stride: image pixels from one output pixel to the next.
    memory: bytes of the output.
    offset: row and column of the image where the field of the first output pixel has its middle.
    """

    path: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    receptive_field: tuple[float, float]
    stride: tuple[float, float]
    memory: int
    offset: tuple[float, float]


def layer_rows(model: nn.Module, input_shape: Sequence[int]) -> list[Row]:
    """One row for each call of a layer, in the order of the calls.  input_shape: (N, C, H, W).

    >>> rows = layer_rows(nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3)), (1, 3, 32, 32))
    >>> [(row.path, row.output_shape, row.receptive_field, row.stride) for row in rows][-1]
    ('2', (1, 8, 13, 13), (8.0, 8.0), (2.0, 2.0))
    """
    image, _, calls = run_empty(model, input_shape)
    windows, modules, batch = windows_of(calls), dict(model.named_modules()), input_shape[0]
    counted: set[nn.Module] = set()
    rows = []
    for call in calls:
        path, module, _, outputs = call
        field = field_of(outputs[0], image, windows)
        parameters = 0 if modules[path] in counted else sum(parameter.size for parameter in modules[path].parameters())
        counted.add(modules[path])
        values = [batch * math.prod(output.shape[1:]) for output in outputs]
        memory = sum(n * output.dtype.itemsize for n, output in zip(values, outputs))
        rows.append(Row(path, type(module).__name__, (batch, *outputs[0].shape[1:]), parameters,
                        batch * _multiply_adds(module, call.images[0], outputs[0]), field.size, field.stride, memory,
                        field.offset))
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
