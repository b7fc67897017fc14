"""Reductions over all dimensions, or over the given one(s)."""
from __future__ import annotations

import numpy as np

from ..op import Op, Sample
from .sampling import distinct, normal


def _samples(rng, draw):
    for shape, dim, keepdim in [((2, 3, 4), None, False), ((2, 3, 4), 1, True), ((2, 3, 4), (0, -1), False), ((), None, False)]:
        yield Sample((draw(rng, *shape),), {"dim": dim, "keepdim": keepdim})


def _spread(dy, shape, dim, keepdim):
    """Broadcast a reduced array back over the dimensions that it was reduced over."""
    if not keepdim:
        dy = np.expand_dims(dy, tuple(range(len(shape))) if dim is None else dim)
    return np.broadcast_to(dy, shape)


class Sum(Op):
    """y = Σ x;   dx = dy at every element"""
    linear = (0,)

    def forward(ctx, x, *, dim, keepdim):
        ctx.spread = (x.shape, dim, keepdim)
        return x.sum(axis=dim, keepdims=keepdim)

    def backward(ctx, dy): return (_spread(dy, *ctx.spread),)
    def reference(x, *, dim, keepdim): return np.sum(x, axis=dim, keepdims=keepdim)
    def samples(rng): return _samples(rng, normal)


class Mean(Op):
    """y = Σ x / n;   dx = dy / n at every element"""
    linear = (0,)

    def forward(ctx, x, *, dim, keepdim):
        y = x.mean(axis=dim, keepdims=keepdim)
        ctx.spread, ctx.count = (x.shape, dim, keepdim), x.size / max(y.size, 1)
        return y

    def backward(ctx, dy): return (_spread(dy / dy.dtype.type(ctx.count), *ctx.spread),)
    def reference(x, *, dim, keepdim): return np.mean(x, axis=dim, keepdims=keepdim)
    def samples(rng): return _samples(rng, normal)


class Max(Op):
    """y = max x;   dx = dy at the maximum, shared evenly where several are equal (as torch.amax)"""

    def forward(ctx, x, *, dim, keepdim): return _extreme(ctx, x, np.max, dim, keepdim)
    def backward(ctx, dy): return _share(ctx, dy)

    def reference(x, *, dim, keepdim):
        at = np.max(x.real, axis=dim, keepdims=True) == x.real
        return (x * at).sum(axis=dim, keepdims=keepdim) / at.sum(axis=dim, keepdims=keepdim)

    def samples(rng): return _samples(rng, distinct)


class Min(Op):
    """y = min x;   dx = dy at the minimum, shared evenly where several are equal (as torch.amin)"""

    def forward(ctx, x, *, dim, keepdim): return _extreme(ctx, x, np.min, dim, keepdim)
    def backward(ctx, dy): return _share(ctx, dy)

    def reference(x, *, dim, keepdim):
        at = np.min(x.real, axis=dim, keepdims=True) == x.real
        return (x * at).sum(axis=dim, keepdims=keepdim) / at.sum(axis=dim, keepdims=keepdim)

    def samples(rng): return _samples(rng, distinct)


def _extreme(ctx, x, reduce, dim, keepdim):
    y = reduce(x, axis=dim, keepdims=True)
    ctx.x, ctx.y, ctx.spread = x, y, (x.shape, dim, keepdim)
    return y if keepdim else y.reshape(()) if dim is None else np.squeeze(y, dim)


def _share(ctx, dy):
    at = ctx.x == ctx.y
    return (_spread(dy, *ctx.spread) * at / at.sum(axis=ctx.spread[1], keepdims=True, dtype=dy.dtype),)
