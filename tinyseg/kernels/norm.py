"""Batch normalisation, and the activation behind it: y = scale·x + shift of the channel, held between `low` and `high`.

One task owns one channel and does all there is to do for it, so that the channel is still in the cache when its statistics
are known.  In group normalisation it owns one group of channels of one image.  Sums run in the array's own precision over
one plane and in float64 across planes.
"""
from __future__ import annotations

import numpy as np
from numba import njit, prange

from .inner import inner, stamped
from .simd_memory import NEAR, end_streams, should_stream, stream_run
from .sums import SUM, total
from .tasks import each_task

FAR = 2 * NEAR       # bytes: the next operation still finds part of a smaller result in the cache that cores share
BLOCK = 1024         # values that are computed in the first-level cache before they are streamed
MEAN, VAR, INVERSE_STD, SCALE, SHIFT = range(5)      # rows of `statistics` (5, C), what is known of each channel


@inner
def affine(scale, x, shift):
    """scale·x + shift, rounded twice wherever it is used: forward and backward must agree on what lies beyond a bound."""
    return scale * x + shift


@inner(fastmath=SUM)
def squared_deviation(a, mean):
    """Σ_q (a[q] - mean)²"""
    result = a.dtype.type(0)
    for q in range(a.size):
        result += (a[q] - mean) * (a[q] - mean)
    return np.float64(result)


@inner
def held(y, x, scale, shift, low, high):
    """y[q] = scale·x[q] + shift, but at least `low` and at most `high`; NaN stays NaN."""
    for q in range(x.size):
        value = affine(scale, x[q], shift)
        y[q] = low if value < low else high if value > high else value


@inner
def stream_held(y, x, block, scale, shift, low, high):
    """As `held`, past the caches."""
    for q in range(0, x.size, BLOCK):
        part = block[:min(BLOCK, x.size - q)]
        held(part, x[q:q + BLOCK], scale, shift, low, high)
        stream_run(y, q, part)


@inner(fastmath=SUM)
def gradient_sums(dy, x, mean, scale, shift, low, high):
    """Σ_q g[q]  and  Σ_q g[q] (x[q] - mean),  with g = dy where the value lay between the bounds, else 0."""
    zero = dy.dtype.type(0)
    s, t = zero, zero
    for q in range(x.size):
        g = dy[q] if low < affine(scale, x[q], shift) < high else zero
        s += g
        t += g * (x[q] - mean)
    return np.float64(s), np.float64(t)


@inner
def combined(dx, dy, x, scale, shift, low, high, x_scale, offset):
    """dx[q] = scale·g[q] + x_scale·x[q] + offset"""
    zero = dy.dtype.type(0)
    for q in range(x.size):
        g = dy[q] if low < affine(scale, x[q], shift) < high else zero
        dx[q] = scale * g + x_scale * x[q] + offset


@inner
def stream_combined(dx, dy, x, block, scale, shift, low, high, x_scale, offset):
    """As `combined`, past the caches."""
    for q in range(0, x.size, BLOCK):
        part = block[:min(BLOCK, x.size - q)]
        combined(part, dy[q:q + BLOCK], x[q:q + BLOCK], scale, shift, low, high, x_scale, offset)
        stream_run(dx, q, part)


@inner
def normalise_channel(c, y, statistics, x, weight, bias, eps, low, high):
    batch, own = len(x), statistics[:, c]
    count = max(1, batch * x.shape[2])           # an empty batch has mean and variance 0
    s = 0.0
    for n in range(batch):
        s += total(x[n, c])
    own[MEAN] = s / count
    s = 0.0
    for n in range(batch):
        s += squared_deviation(x[n, c], own[MEAN])
    own[VAR] = s / count
    own[INVERSE_STD] = 1 / np.sqrt(own[VAR] + eps)
    own[SCALE] = weight[c] * own[INVERSE_STD]
    own[SHIFT] = bias[c] - own[MEAN] * own[SCALE]
    if y.nbytes >= FAR and should_stream(y, y.shape[2]):
        block = np.empty(BLOCK, y.dtype)
        for n in range(batch):
            stream_held(y[n, c], x[n, c], block, own[SCALE], own[SHIFT], low, high)
        end_streams()
    else:
        for n in range(batch):
            held(y[n, c], x[n, c], own[SCALE], own[SHIFT], low, high)


def normalise(y, statistics, x, weight, bias, eps, low, high):
    """mean[c] = Σ_nq x[n, c, q] / M;  var[c] = Σ_nq (x[n, c, q] - mean[c])² / M, with M = N·Q values a channel;

    inverse_std = 1 / √(var + eps);  scale = weight·inverse_std;  shift = bias - mean·scale: the rows of `statistics`;

    y[n, c, q] = scale[c] x[n, c, q] + shift[c], within bounds.
    """
    each_task(normalise_channel, x.shape[1], (y, statistics, x, weight, bias, eps, low, high))


@njit(cache=True, parallel=True, nogil=True)
def scale_and_shift(y, x, scale, shift, low, high):
    """y[n, c, q] = scale[c] x[n, c, q] + shift[c], within bounds."""
    for c in prange(x.shape[1]):
        for n in range(x.shape[0]):
            held(y[n, c], x[n, c], scale[c], shift[c], low, high)


@inner
def channel_gradient(c, dx, dweight, dbias, dy, x, statistics, low, high, from_batch):
    batch, size = len(x), x.shape[2]
    mean, inverse_std = statistics[MEAN, c], statistics[INVERSE_STD, c]
    scale, shift = statistics[SCALE, c], statistics[SHIFT, c]
    s, t = 0.0, 0.0
    for n in range(batch):
        image_s, image_t = gradient_sums(dy[n, c], x[n, c], mean, scale, shift, low, high)
        s += image_s
        t += image_t
    dbias[c], dweight[c] = s, t * inverse_std
    x_scale = offset = dx.dtype.type(0)
    if from_batch and batch * size > 0:
        per_value = scale / dx.dtype.type(batch * size)
        x_scale = -per_value * inverse_std * dweight[c]
        offset = -per_value * dbias[c] - x_scale * mean
    if dx.nbytes >= FAR and should_stream(dx, size):
        block = np.empty(BLOCK, dx.dtype)
        for n in range(batch):
            stream_combined(dx[n, c], dy[n, c], x[n, c], block, scale, shift, low, high, x_scale, offset)
        end_streams()
    else:
        for n in range(batch):
            combined(dx[n, c], dy[n, c], x[n, c], scale, shift, low, high, x_scale, offset)


def normalise_grad(dx, dweight, dbias, dy, x, statistics, low, high, from_batch):
    """dbias = Σ g;  dweight = Σ g x̂;  dx = scale·(g - dbias/M - x̂·dweight/M),  x̂ = (x - mean)·inverse_std,

    with g = dy where the value lay between the bounds, else 0.  Statistics not from the batch are constants: dx = scale·g.
    """
    each_task(channel_gradient, x.shape[1], (dx, dweight, dbias, dy, x, statistics, low, high, from_batch))


@stamped
@njit(cache=True, parallel=True, nogil=True)
def normalise_groups(y, mean, inverse_std, x, weight, bias, eps):
    """mean[n, g] and inverse_std[n, g] = 1 / √(σ² + eps) over the M values of group g of image n;

    y[n, c, q] = weight[c] (x[n, c, q] - mean[n, g]) inverse_std[n, g] + bias[c], with g the group of channel c.
    """
    groups, channels, infinity = mean.shape[1], x.shape[1] // mean.shape[1], x.dtype.type(np.inf)
    count = max(1, channels * x.shape[2])
    for task in prange(x.shape[0] * groups):
        n, g = task // groups, task % groups
        s = 0.0
        for c in range(g * channels, (g + 1) * channels):
            s += total(x[n, c])
        mean[n, g] = s / count
        s = 0.0
        for c in range(g * channels, (g + 1) * channels):
            s += squared_deviation(x[n, c], mean[n, g])
        inverse_std[n, g] = 1 / np.sqrt(s / count + eps)
        for c in range(g * channels, (g + 1) * channels):
            scale = weight[c] * inverse_std[n, g]
            held(y[n, c], x[n, c], scale, bias[c] - mean[n, g] * scale, -infinity, infinity)


@njit(cache=True, parallel=True, nogil=True)
def normalise_groups_grad(dx, dweight, dbias, dy, x, mean, inverse_std, weight):
    """Of each image: dbias[n, c] = Σ_q dy;  dweight[n, c] = Σ_q dy x̂;  and, with g = weight·dy and the group's mean values,

    dx = (g - mean g - x̂·mean(g x̂)) inverse_std,  x̂ = (x - mean) inverse_std.
    """
    groups, channels, infinity = mean.shape[1], x.shape[1] // mean.shape[1], x.dtype.type(np.inf)
    count, zero = max(1, channels * x.shape[2]), dx.dtype.type(0)
    for task in prange(x.shape[0] * groups):
        n, g = task // groups, task % groups
        centre, inverse = mean[n, g], inverse_std[n, g]
        s, t = 0.0, 0.0
        for c in range(g * channels, (g + 1) * channels):
            plane_s, plane_t = gradient_sums(dy[n, c], x[n, c], centre, zero, zero, -infinity, infinity)
            dbias[n, c], dweight[n, c] = plane_s, plane_t * inverse
            s += weight[c] * dbias[n, c]
            t += weight[c] * dweight[n, c]
        x_scale = dx.dtype.type(-inverse * inverse * t / count)
        offset = dx.dtype.type(-inverse * s / count - x_scale * centre)
        for c in range(g * channels, (g + 1) * channels):
            combined(dx[n, c], dy[n, c], x[n, c], weight[c] * inverse, zero, -infinity, infinity, x_scale, offset)
