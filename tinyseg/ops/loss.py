"""Softmax and the training loss."""
from __future__ import annotations

import numpy as np

from .. import buffers
from ..kernels import dense
from ..kernels import loss as kernels
from ..op import Op, Sample
from .sampling import labels, normal, positive


class Softmax(Op):
    """y_k = exp x_k / Σ_j exp x_j  along one dimension;   dx = y (dy - Σ_j dy_j y_j)"""

    def forward(ctx, x, *, dim):
        e = np.exp(x - x.max(axis=dim, keepdims=True, initial=-np.inf))
        ctx.y, ctx.dim = e / e.sum(axis=dim, keepdims=True), dim
        return ctx.y

    def backward(ctx, dy):
        return (ctx.y * (dy - (dy * ctx.y).sum(axis=ctx.dim, keepdims=True)),)

    def reference(x, *, dim): return np.exp(x) / np.exp(x).sum(axis=dim, keepdims=True)
    def samples(rng): return _along_dim(rng)


class LogSoftmax(Op):
    """y_k = x_k - ln Σ_j exp x_j  along one dimension;   dx = dy - softmax(x) Σ_j dy_j"""

    def forward(ctx, x, *, dim):
        shifted = x - x.max(axis=dim, keepdims=True, initial=-np.inf)
        ctx.y, ctx.dim = shifted - np.log(np.exp(shifted).sum(axis=dim, keepdims=True)), dim
        return ctx.y

    def backward(ctx, dy):
        return (dy - np.exp(ctx.y) * dy.sum(axis=ctx.dim, keepdims=True),)

    def reference(x, *, dim): return x - np.log(np.exp(x).sum(axis=dim, keepdims=True))
    def samples(rng): return _along_dim(rng)


def _along_dim(rng):
    for shape, dim in [((2, 3, 2, 2), 1), ((4,), 0), ((2, 3), -1)]:
        yield Sample((normal(rng, *shape),), {"dim": dim})


class CrossEntropy(Op):
    """ℓ(p) = -(1 - ε) w_y ln σ_y - ε/K Σ_k w_k ln σ_k  at each pixel p with label y, σ = softmax of its K logits;  0 at void

    reduction: "sum" is Σ_p ℓ(p), the lecture's loss; "mean" divides it by Σ_p w_y over the pixels that are not void (nan if
    there are none, with zero gradient); "none" leaves one ℓ a pixel.  The gradient is the famous one:
    dx_k = w_y (σ_k - [k = y])  for ε = 0, times the gradient of ℓ(p).   x (N, K, …), target (N, …), weight (K,)
    """

    def forward(ctx, x, target, weight=None, *, ignore_index, reduction, label_smoothing):
        x3, t2 = dense(x).reshape(*x.shape[:2], -1 if x.size else 0), dense(target).reshape(len(x), -1 if x.size else 0)
        w = np.ones(x.shape[1], x.dtype) if weight is None else weight.astype(x.dtype)
        loss, log_sum = buffers.empty(t2.shape, x.dtype), buffers.empty(t2.shape, x.dtype)
        kernels.cross_entropy(loss, log_sum, x3, t2, w, ignore_index, label_smoothing)
        ctx.x, ctx.target, ctx.weight, ctx.log_sum, ctx.shape = x3, t2, w, log_sum, x.shape
        ctx.ignore_index, ctx.smoothing, ctx.reduction = ignore_index, label_smoothing, reduction
        if reduction == "none":
            return loss.reshape(target.shape)
        ctx.divisor = 1
        if reduction == "mean":
            counts = t2 != ignore_index
            ctx.divisor = np.count_nonzero(counts) if weight is None else w[t2[counts]].sum(dtype=np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            return (loss.sum(dtype=np.float64) / ctx.divisor).astype(x.dtype)

    def backward(ctx, dy):
        dx = buffers.empty_like(ctx.x)
        with np.errstate(invalid="ignore", divide="ignore"):
            if ctx.reduction != "none":
                dy = np.full(ctx.target.shape, dy / ctx.divisor, dx.dtype)
        dloss = dense(dy.reshape(ctx.target.shape))
        kernels.cross_entropy_grad(dx, dloss, ctx.log_sum, ctx.x, ctx.target, ctx.weight, ctx.ignore_index, ctx.smoothing)
        return (dx.reshape(ctx.shape), None, None)[:len(ctx.needs_input_grad)]

    def reference(x, target, weight=None, *, ignore_index, reduction, label_smoothing):
        w = np.ones(x.shape[1]) if weight is None else weight
        x, target = np.moveaxis(x, 1, -1).reshape(-1, x.shape[1]), target.astype(np.int64)     # one row a pixel
        log_p = x - np.log(np.exp(x).sum(axis=1, keepdims=True))
        one_hot = np.eye(x.shape[1])[np.where(target == ignore_index, 0, target).ravel()]
        smooth = (1 - label_smoothing) * one_hot + label_smoothing / x.shape[1]
        void = (target == ignore_index).ravel()
        loss = np.where(void, 0, -(smooth * w * log_p).sum(axis=1))
        if reduction == "none":
            return loss.reshape(target.shape)
        return loss.sum() / (np.where(void, 0, one_hot @ w).sum() if reduction == "mean" else 1)

    def samples(rng):
        for shape, reduction, smoothing, weighted, dtype in [
            ((2, 4, 3, 3), "mean", 0.0, False, np.uint8), ((2, 3, 2, 5), "mean", 0.1, True, np.int64),
            ((1, 5, 4, 4), "sum", 0.0, True, np.uint8), ((2, 3, 4), "none", 0.2, True, np.int32),
            ((6, 3), "none", 0.0, False, np.int64),
        ]:
            target = labels(rng, shape[1], shape[0], *shape[2:]).astype(dtype)
            target.flat[0] = 1                                                     # at least one pixel that counts
            yield Sample((normal(rng, *shape), target, positive(rng, shape[1]) if weighted else None),
                         {"ignore_index": 255, "reduction": reduction, "label_smoothing": smoothing})
