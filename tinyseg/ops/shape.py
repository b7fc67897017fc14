"""Moving elements about: reshape, permute, index, cat, stack, pad.  All are linear; backward moves them back."""
from __future__ import annotations

import math

import numpy as np

from .. import buffers
from ..kernels import dense
from ..kernels import shape as kernels
from ..op import Op, Sample
from .sampling import normal


class Reshape(Op):
    """y = the elements of x, row by row, in another shape;   dx = dy in the shape of x"""
    linear = (0,)

    def forward(ctx, x, *, shape):
        ctx.shape = x.shape
        return x.reshape(shape)

    def backward(ctx, dy): return (dy.reshape(ctx.shape),)
    def reference(x, *, shape): return np.reshape(x, shape)

    def samples(rng):
        for old, new in [((2, 3, 4), (6, 4)), ((2, 3), (-1,)), ((), (1, 1))]:
            yield Sample((normal(rng, *old),), {"shape": new})


class Permute(Op):
    """y[i_p(0), i_p(1), …] = x[i_0, i_1, …];   dx = dy with its dimensions put back"""
    linear = (0,)

    def forward(ctx, x, *, dims):
        ctx.inverse = np.argsort(dims)
        return x.transpose(dims)

    def backward(ctx, dy): return (dy.transpose(ctx.inverse),)
    def reference(x, *, dims): return np.moveaxis(x, dims, range(x.ndim))

    def samples(rng):
        for shape, dims in [((2, 3, 4), (2, 0, 1)), ((2, 3), (1, 0)), ((2, 1, 3, 4), (0, -1, 2, 1))]:
            yield Sample((normal(rng, *shape),), {"dims": tuple(d % len(shape) for d in dims)})


class Index(Op):
    """y = x[index], with slices, integers, integer arrays and boolean arrays;   dx[index] += dy, all else 0"""
    linear = (0,)

    def forward(ctx, x, *, index):
        ctx.index, ctx.shape = tuple(np.array(i) if isinstance(i, (list, np.ndarray)) else i for i in index), x.shape
        return x[ctx.index]

    def backward(ctx, dy):
        dx = np.zeros(ctx.shape, dy.dtype)
        if any(isinstance(i, np.ndarray) for i in ctx.index):
            np.add.at(dx, ctx.index, dy)                   # an element picked twice gets both gradients
        else:
            dx[ctx.index] = dy
        return (dx,)

    def reference(x, *, index):
        places = np.arange(x.size).reshape(x.shape)[index]
        return np.take(x, places)

    def samples(rng):
        x = normal(rng, 4, 5)
        for index in [(1,), (slice(1, None), slice(None, None, 2)), (slice(None, None, -1), None), (..., -1),
                      (np.array([0, 2, 2, -1]),), (np.array([[0, 1], [1, 1]]), np.array([3, 4])), (x > 0,)]:
            yield Sample((x,), {"index": index})


class Cat(Op):
    """y = x₀, x₁, … one after the other along an existing dimension;   each dxᵢ is its part of dy"""
    linear = (0, 1, 2)

    def forward(ctx, *xs, dim):
        ctx.dim, ctx.shapes, start = dim % xs[0].ndim, [x.shape for x in xs], 0
        length = sum(x.shape[dim] for x in xs)
        y = buffers.empty((*xs[0].shape[:ctx.dim], length, *xs[0].shape[ctx.dim + 1:]), np.result_type(*xs))
        for x in xs:
            rows = _rows(dense(x.astype(y.dtype, copy=False)), ctx.dim)
            kernels.copy_columns(_rows(y, ctx.dim), start, rows, 0, rows.shape[1])
            start += rows.shape[1]
        return y

    def backward(ctx, dy):
        dxs, start = [buffers.empty(shape, dy.dtype) for shape in ctx.shapes], 0
        for dx in dxs:
            rows = _rows(dx, ctx.dim)
            kernels.copy_columns(rows, 0, _rows(dense(dy), ctx.dim), start, rows.shape[1])
            start += rows.shape[1]
        return tuple(dxs)

    def reference(*xs, dim):
        dim %= xs[0].ndim
        shape = [sum(x.shape[d] for x in xs) if d == dim else n for d, n in enumerate(xs[0].shape)]
        y, start = np.empty(shape, np.result_type(*xs)), 0
        for x in xs:
            y[(slice(None),) * dim + (slice(start, start + x.shape[dim]),)] = x
            start += x.shape[dim]
        return y

    def samples(rng):
        yield Sample((normal(rng, 2, 3, 2, 2), normal(rng, 2, 1, 2, 2), normal(rng, 2, 2, 2, 2)), {"dim": 1})
        yield Sample((normal(rng, 2, 3), normal(rng, 2, 1), normal(rng, 2, 2)), {"dim": -1})


class Stack(Op):
    """y = x₀, x₁, … one after the other along a new dimension;   each dxᵢ is its slice of dy"""
    linear = (0, 1, 2)

    def forward(ctx, *xs, dim):
        ctx.dim = dim
        return np.stack(xs, dim)

    def backward(ctx, dy): return tuple(np.moveaxis(dy, ctx.dim, 0))
    def reference(*xs, dim): return np.concatenate([np.expand_dims(x, dim) for x in xs], dim)

    def samples(rng):
        for dim in (0, 1, -1):
            yield Sample(tuple(normal(rng, 2, 3) for _ in range(3)), {"dim": dim})


class Pad(Op):
    """y[…, i, …] = x[…, source(i), …]: zeros (or `value`), or the pixel that the border mode finds;   dx: summed back

    widths: (before, after) for each dimension; negative ones crop.  Mode "reflect" mirrors without repeating the border
    pixel, "replicate" repeats it, "circular" goes round.
    """
    linear = (0,)

    def forward(ctx, x, *, widths, mode, value):
        ctx.shape = x.shape
        ctx.sources = [(axis, _source(x.shape[axis], *width, mode)) for axis, width in enumerate(widths) if any(width)]
        for axis, source in ctx.sources:
            x = x.take(source.clip(0), axis)
            if mode == "constant":
                x[_along(axis, source < 0)] = value
        return x

    def backward(ctx, dy):
        for axis, source in reversed(ctx.sources):
            inside = source >= 0
            shape = (*dy.shape[:axis], ctx.shape[axis], *dy.shape[axis + 1:])
            dx = np.zeros(shape, dy.dtype)
            np.add.at(dx, _along(axis, source[inside]), dy[_along(axis, inside)])
            dy = dx
        return (dy,)

    def reference(x, *, widths, mode, value):
        crop = tuple(slice(max(0, -a), n - max(0, -b)) for (a, b), n in zip(widths, x.shape))
        grow = [(max(0, a), max(0, b)) for a, b in widths]
        options = {"constant_values": value} if mode == "constant" else {}
        return np.pad(x[crop], grow, {"replicate": "edge", "circular": "wrap"}.get(mode, mode), **options)

    def samples(rng):
        for shape, widths, mode in [
            ((2, 2, 3, 4), ((0, 0), (0, 0), (1, 2), (0, 3)), "constant"), ((4, 5), ((-1, 2), (1, -3)), "constant"),
            ((1, 2, 3, 4), ((0, 0), (0, 0), (2, 2), (3, 1)), "reflect"),
            ((1, 1, 2, 3), ((0, 0), (0, 0), (3, 0), (1, 4)), "replicate"),
            ((1, 1, 3, 3), ((0, 0), (0, 0), (3, 1), (0, 2)), "circular"),
        ]:
            yield Sample((normal(rng, *shape),), {"widths": widths, "mode": mode, "value": 0.0})


def _rows(a, dim):
    """(…, n, …) -> (rows, columns): what stands before dimension `dim`, and all the rest."""
    return a.reshape(math.prod(a.shape[:dim]), math.prod(a.shape[dim:]))


def _source(length, before, after, mode):
    """For each padded position along one axis the position that it copies; -1 for none."""
    i = np.arange(-before, length + after)
    if mode == "reflect":
        return (length - 1) - abs((length - 1) - abs(i))
    if mode == "replicate":
        return i.clip(0, length - 1)
    if mode == "circular":
        return i % length
    return np.where((i >= 0) & (i < length), i, -1)


def _along(axis, index):
    """An index for one axis, all of every axis before it."""
    return (slice(None),) * axis + (index,)
