"""Overlap-tile prediction: images of any size in bounded memory, with no seam (Ronneberger et al. 2015, figure 2).

A tile's scores are exact where all that they look at is in the tile.  So each tile is cut out with as much around it as
the model's receptive field reaches over, and only its middle is kept.  Pooling must fall on the same pixels as in the
whole image: cuts lie at multiples of the model's stride.  At the image's edges the tile ends where the image does, so
that the model finds the same padding there.
"""
from __future__ import annotations

import contextvars
import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from .data.transforms import normalize
from .graph import no_grad
from .inference import _input_size, _mirrored, evaluating
from .models.receptive_field import Axis, ReceptiveField, field_of, receptive_field, run_empty, windows_of
from .nn import GroupNorm, Module
from .tensor import Tensor


class Piece(NamedTuple):
    """Along one axis: which pixels of the prediction, from which of the mirrored image, and where in their scores."""

    core: slice
    window: slice
    inside: slice


def tiled_scores(model: Module, image: np.ndarray, tile: int = 512) -> np.ndarray:
    """As `inference.scores`, one tile after the other: (H, W, 3) uint8 RGB -> (num_classes, H, W) float32.

    tile: side of the squares that are kept; what goes into the model is larger by the receptive field.
    The result is that of one pass over the whole image, up to rounding, mirrored as `inference.scores` does.  (A model
    that stretches its scores to the size of the image, and so makes them a little denser or coarser than its stride
    says, gets the image mirrored to the next multiple of the stride.)
    ValueError if tiles cannot be exact: the model looks at the whole image (global pooling, GroupNorm), or what it
    looks at is not known; and for what is not such an image.

    >>> from tinyseg.models import UNet
    >>> tiled_scores(UNet(3, width=2, depth=1), np.zeros((40, 30, 3), np.uint8), tile=16).shape
    (3, 40, 30)
    """
    result = None
    for rows, columns, scores in tiles(model, image, tile):
        if result is None:
            result = np.empty((len(scores), *image.shape[:2]), np.float32)
        result[:, rows, columns] = scores
    assert result is not None
    return result


def tiled_predict(model: Module, image: np.ndarray, tile: int = 512) -> np.ndarray:
    """As `inference.predict`, one tile after the other: (H, W, 3) uint8 RGB -> (H, W) uint8.

    Memory for activations and scores is that of one tile, however large the image.  tile, errors: as `tiled_scores`.
    """
    labels = np.empty(image.shape[:2], np.uint8)
    for rows, columns, scores in tiles(model, image, tile):
        labels[rows, columns] = scores.argmax(axis=0)
    return labels


def tiles(model: Module, image: np.ndarray, tile: int = 512) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """One tile after the other: its rows, its columns, its scores (num_classes, h, w).  Errors as `tiled_scores`."""
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape or image.dtype != np.uint8:
        raise ValueError(f"tiles: the image is {image.shape} {image.dtype}; expected (H, W, 3) uint8 with at least "
                         f"one pixel")
    if tile < 1:
        raise ValueError(f"tiles: tile={tile}; expected at least one pixel")
    height, width = image.shape[:2]
    plan = contextvars.Context().run(_plan, model, height, width)              # graphs are on in a fresh context
    whole = _mirrored(image.transpose(2, 0, 1), *plan.size)
    rows, columns = (_pieces(model, axis, n, length, tile, plan.stride)
                     for axis, n, length in zip(plan.field, (height, width), plan.size))
    for row in rows:
        for column in columns:
            planes = normalize(whole[:, row.window, column.window].transpose(1, 2, 0))
            with no_grad(), evaluating(model):
                scores = model(Tensor(planes[None])).numpy()[0]
            yield row.core, column.core, scores[:, row.inside, column.inside]


class Plan(NamedTuple):
    """size: of the mirrored image; field: what the scores see of it; stride: where it may be cut."""

    size: tuple[int, int]
    field: ReceptiveField
    stride: int


def _plan(model: Module, height: int, width: int) -> Plan:
    stride = common_stride(model)
    _check_local(model, stride)
    size = _input_size(model, height, width)
    field = receptive_field(model, (1, 3, *size))
    if not _as_dense_as_pixels(field) and not hasattr(model, "legal_size"):
        size = math.ceil(height / stride) * stride, math.ceil(width / stride) * stride
        field = receptive_field(model, (1, 3, *size))
    if not _as_dense_as_pixels(field):
        raise ValueError(f"tiles: {type(model).__name__} makes scores {field.stride} pixels apart, not for each pixel; "
                         f"give a model whose scores are as large as the image")
    if field.rows.first.size < height or field.columns.first.size < width:
        raise ValueError(f"tiles: {type(model).__name__} makes scores for {field.rows.first.size}x"
                         f"{field.columns.first.size} pixels of {size[0]}x{size[1]}; it needs a legal_size and an "
                         f"output_size that say so, as UNet has them")
    return Plan(size, field, stride)


def common_stride(model: Module) -> int:
    """Tiles that start at multiples of this are halved and pooled as the whole image is: 2^depth for a U-Net.

    >>> from tinyseg.models import UNet
    >>> common_stride(UNet(2, width=1, depth=3))
    8
    """
    image, _, calls = run_empty(model, (1, 3, *_input_size(model, 512, 512)))
    windows = windows_of(calls)
    strides = [stride for call in calls if call.outputs[0].node in windows
               for stride in field_of(call.outputs[0], image, windows).stride if stride > 0]
    return math.lcm(*(Fraction(stride).limit_denominator(64).numerator for stride in strides))


def _check_local(model: Module, stride: int) -> None:
    """Refuse a model whose pixels look at all of the image, however large it is."""
    name = type(model).__name__
    if any(isinstance(layer, GroupNorm) for layer in model.modules()):
        raise ValueError(f"tiles: {name} has GroupNorm, whose statistics are the whole image's: tiles would differ; "
                         f"predict the whole image")
    small, large = (receptive_field(model, (1, 3, *_input_size(model, n * stride, n * stride))).size for n in (8, 16))
    if any(map(math.isnan, large)):
        raise ValueError(f"tiles: what {name} sees of the image is not known, since its forward pools, convolves or "
                         f"reshapes by functions; use the layers of nn, or predict the whole image")
    if any(n > m for n, m in zip(large, small)):
        raise ValueError(f"tiles: every pixel of {name} looks at the whole image (global pooling, as in DeepLab v3): "
                         f"tiles would differ; predict the whole image")


def _as_dense_as_pixels(field: ReceptiveField) -> bool:
    return all(abs(stride - 1) < 1e-9 for stride in field.stride)


def _pieces(model: Any, axis: Axis, n: int, length: int, tile: int, stride: int) -> list[Piece]:
    """Cut n pixels, for which `length` pixels of mirrored image go into the model, into tiles."""
    def legal(size: int) -> int:
        return model.legal_size(size, size)[0] if hasattr(model, "legal_size") else math.ceil(size / stride) * stride

    outputs = axis.first.size
    border, lost, pieces = (outputs - n) // 2, length - outputs, []
    for core in range(0, n, tile):
        first, last = border + core, border + min(core + tile, n) - 1          # in the output
        start = max(0, int(axis.first[first]) // stride * stride)
        stop = start + legal(max(int(axis.last[last]) + 1, last + 1 + lost) - start)
        if stop >= length:                                 # end where the image ends, as the whole image does
            start, stop = max(0, min(start, (length - legal(stop - start)) // stride * stride)), length
        pieces.append(Piece(slice(core, min(core + tile, n)), slice(start, stop),
                            slice(first - start, last + 1 - start)))
    return pieces
