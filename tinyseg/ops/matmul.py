"""Matrix products."""
from __future__ import annotations

import numpy as np

from ..op import Op, Sample
from .sampling import normal


class Matmul(Op):
    """y[…, i, j] = Σ_k a[…, i, k] b[…, k, j];   da = dy bᵀ,   db = aᵀ dy

    A vector on the left is a row, on the right a column; leading dimensions broadcast.
    """
    linear = (0, 1)

    def forward(ctx, a, b):
        ctx.a, ctx.b = a, b
        return a @ b

    def backward(ctx, dy):
        a, b = ctx.a, ctx.b
        if a.ndim == 1:
            a, dy = a[None, :], dy[..., None, :] if b.ndim > 1 else dy[..., None]
        if b.ndim == 1:
            b, dy = b[:, None], dy[..., None]
        da, db = dy @ b.swapaxes(-1, -2), a.swapaxes(-1, -2) @ dy
        return (da[..., 0, :] if ctx.a.ndim == 1 else da), (db[..., 0] if ctx.b.ndim == 1 else db)

    def reference(a, b):
        rows, cols = (a[None, :] if a.ndim == 1 else a), (b[:, None] if b.ndim == 1 else b)
        y = (rows[..., :, :, None] * cols[..., None, :, :]).sum(axis=-2)
        y = y[..., 0, :] if a.ndim == 1 else y
        return y[..., 0] if b.ndim == 1 else y

    def samples(rng):
        for a, b in [((2, 3), (3, 4)), ((3, 3), (3, 3)), ((3,), (3, 2)), ((2, 3), (3,)), ((3,), (3,)),
                     ((2, 1, 2, 3), (4, 3, 2)), ((5, 2, 3), (3, 1))]:
            yield Sample((normal(rng, *a), normal(rng, *b)))


class Linear(Op):
    """y[…, o] = b[o] + Σ_i w[o, i] x[…, i];   dx = dy w,   dw[o, i] = Σ dy[…, o] x[…, i],   db = Σ dy"""
    linear = (0, 1, 2)

    def forward(ctx, x, w, b=None):
        ctx.x, ctx.w = x, w
        y = x @ w.T
        return y if b is None else y + b

    def backward(ctx, dy):
        flat = dy.reshape(-1, len(ctx.w))                                   # (…, O) -> (M, O)
        dw = flat.T @ ctx.x.reshape(-1, ctx.w.shape[1])
        return (dy @ ctx.w, dw, flat.sum(axis=0))[:len(ctx.needs_input_grad)]

    def reference(x, w, b=None):
        y = np.einsum("...i,oi->...o", x, w)
        return y if b is None else y + b

    def samples(rng):
        yield Sample((normal(rng, 2, 3), normal(rng, 4, 3), normal(rng, 4)))
        yield Sample((normal(rng, 2, 3, 3), normal(rng, 1, 3), None))
        yield Sample((normal(rng, 3), normal(rng, 2, 3), normal(rng, 2)))
