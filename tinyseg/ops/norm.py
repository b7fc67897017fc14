"""Normalisation.  x (N, C, …): everything behind the channel counts as positions."""
from __future__ import annotations

import numpy as np

from .. import buffers
from ..kernels import dense, positions
from ..kernels import norm as kernels
from ..op import Op, Sample
from .sampling import normal, positive


class BatchNorm(Op):
    """y = γ x̂ + β,   x̂ = (x - μ) / √(σ² + ε),   per channel, μ and σ² over the batch's M values (σ² divided by M)

    dγ = Σ dy x̂,   dβ = Σ dy,   dx = γ / √(σ² + ε) · (dy - dβ / M - x̂ dγ / M)

    With given statistics (evaluation) they are constants: dx = γ / √(σ² + ε) · dy.  The second and third result are μ and σ².
    Ioffe & Szegedy 2015, algorithm 1.

    The activation behind it costs nothing when it is computed in the same pass: y = min(max(γ x̂ + β, low), high) is a ReLU
    with bounds (0, ∞), a ReLU6 with (0, 6) and none at all with (-∞, ∞).  Beyond a bound dy counts as 0.
    """

    def forward(ctx, x, weight, bias, mean=None, var=None, *, eps, low, high):
        ctx.x, ctx.from_batch, number = positions(dense(x)), mean is None, x.dtype.type
        ctx.bounds, ctx.statistics = (number(low), number(high)), np.empty((5, x.shape[1]), x.dtype)
        y = buffers.empty_like(ctx.x)
        if ctx.from_batch:
            kernels.normalise(y, ctx.statistics, ctx.x, dense(weight), dense(bias), number(eps), *ctx.bounds)
        else:
            inverse_std = 1 / np.sqrt(var + number(eps))
            scale = weight * inverse_std
            ctx.statistics[:] = mean, var, inverse_std, scale, bias - mean * scale
            kernels.scale_and_shift(y, ctx.x, *ctx.statistics[kernels.SCALE:], *ctx.bounds)
        return y.reshape(x.shape), ctx.statistics[kernels.MEAN], ctx.statistics[kernels.VAR]

    def backward(ctx, dy):
        dx, dweight, dbias = buffers.empty_like(ctx.x), np.empty(dy.shape[1], dy.dtype), np.empty(dy.shape[1], dy.dtype)
        kernels.normalise_grad(dx, dweight, dbias, positions(dense(dy)), ctx.x, ctx.statistics, *ctx.bounds, ctx.from_batch)
        return (dx.reshape(dy.shape), dweight, dbias, None, None)[:len(ctx.needs_input_grad)]

    def reference(x, weight, bias, mean=None, var=None, *, eps, low, high):
        others = (0, *range(2, x.ndim))
        if mean is None:
            mean = x.mean(axis=others)
            var = ((x - _per_channel(mean, x)) ** 2).mean(axis=others)
        normalised = (x - _per_channel(mean, x)) / np.sqrt(_per_channel(var, x) + eps)
        y = _per_channel(weight, x) * normalised + _per_channel(bias, x)
        return np.where(y.real > low, np.where(y.real < high, y, high), low), mean, var

    def samples(rng):
        for shape, low, high in [((2, 3, 4, 5), -np.inf, np.inf), ((4, 2), -np.inf, np.inf), ((1, 2, 3, 1), -np.inf, np.inf),
                                 ((2, 3, 4, 5), 0.0, np.inf), ((3, 2, 5, 2), -0.5, 0.5)]:
            c = shape[1]
            yield Sample((normal(rng, *shape), normal(rng, c), normal(rng, c)), {"eps": 1e-5, "low": low, "high": high})
        for low, high in [(-np.inf, np.inf), (0.0, 6.0)]:
            yield Sample((normal(rng, 2, 3, 2, 2), normal(rng, 3), normal(rng, 3), normal(rng, 3), positive(rng, 3)),
                         {"eps": 1e-3, "low": low, "high": high})


class GroupNorm(Op):
    """y = γ x̂ + β,   x̂ = (x - μ) / √(σ² + ε),   μ and σ² over each image's channels of one group (no batch involved)

    dγ = Σ dy x̂,   dβ = Σ dy,   dx = (g - mean g - x̂ · mean(g x̂)) / √(σ² + ε)  with g = γ dy.   Wu & He 2018, equation 7.
    """

    def forward(ctx, x, weight, bias, *, num_groups, eps):
        ctx.x, ctx.weight = positions(dense(x)), dense(weight)
        ctx.mean, ctx.inverse_std = (np.empty((len(x), num_groups), x.dtype) for _ in range(2))
        y = buffers.empty_like(ctx.x)
        kernels.normalise_groups(y, ctx.mean, ctx.inverse_std, ctx.x, ctx.weight, dense(bias), x.dtype.type(eps))
        return y.reshape(x.shape)

    def backward(ctx, dy):
        dx, (dweight, dbias) = buffers.empty_like(ctx.x), np.empty((2, *dy.shape[:2]), dy.dtype)
        kernels.normalise_groups_grad(dx, dweight, dbias, positions(dense(dy)), ctx.x, ctx.mean, ctx.inverse_std, ctx.weight)
        return dx.reshape(dy.shape), dweight.sum(axis=0), dbias.sum(axis=0)

    def reference(x, weight, bias, *, num_groups, eps):
        y = np.empty(x.shape, np.result_type(x, weight, bias))
        for image, out in zip(x, y):
            for part, out_part in zip(np.split(image, num_groups), np.split(out, num_groups)):
                mean = part.mean()
                out_part[:] = (part - mean) / np.sqrt(((part - mean) ** 2).mean() + eps)
        return _per_channel(weight, x) * y + _per_channel(bias, x)

    def samples(rng):
        for (n, c, *size), groups in [((2, 4, 3, 2), 2), ((1, 3, 2, 2), 3), ((2, 2, 5), 1)]:
            yield Sample((normal(rng, n, c, *size), normal(rng, c), normal(rng, c)), {"num_groups": groups, "eps": 1e-5})


def _per_channel(values, x):
    """(C,) -> (1, C, 1, 1)"""
    return values.reshape(1, -1, *(1,) * (x.ndim - 2))
