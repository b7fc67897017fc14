"""Pooling and unpooling.  Settings are pairs (height, width), resolved by `functional`."""
from __future__ import annotations

import math

import numpy as np

from .. import buffers
from ..kernels import dense, planes, pool_max, pool_mean, pool_places
from ..op import Op, Sample
from ..sizes import pool_output
from .sampling import distinct, normal


class MaxPool2d(Op):
    """y[n, c, i, j] = max_uv x[n, c, i·s + u·d - p, j·s + v·d - p], outside the image -∞;   dx: dy to where the maximum was

    Of equal maxima the first in the window, row by row, takes all the gradient.  The second result holds its place in the
    (unpadded) plane, h·W + w: what SegNet's decoder unpools with.  Backward needs only which tap of the window
    it was under.
    """

    def forward(ctx, x, *, kernel_size, stride, padding, dilation, ceil_mode, return_indices):
        size, geometry = _output_size(x, kernel_size, stride, padding, dilation, ceil_mode), (*stride, *padding, *dilation)
        y, taps, ctx.shape, ctx.windows = buffers.empty((*x.shape[:2], *size), x.dtype), None, x.shape, (kernel_size, geometry)
        if return_indices or ctx.needs_input_grad[0]:
            taps = ctx.taps = planes(buffers.empty(y.shape, np.uint8 if math.prod(kernel_size) <= 255 else np.int32))
        pool_max.max_pool2d(planes(y), taps, planes(dense(x)), kernel_size, geometry)
        if not return_indices:
            return y
        indices = buffers.empty(y.shape, np.int64)
        pool_places.max_pool2d_indices(planes(indices), taps, x.shape[3], kernel_size, geometry)
        return y, indices

    def backward(ctx, dy):
        dx = buffers.empty(ctx.shape, dy.dtype)
        pool_places.max_pool2d_grad(planes(dx), planes(dense(dy)), ctx.taps, *ctx.windows)
        return (dx,)

    def reference(x, *, kernel_size, stride, padding, dilation, ceil_mode, return_indices):
        size = _output_size(x, kernel_size, stride, padding, dilation, ceil_mode)
        y, indices = np.empty((*x.shape[:2], *size), x.dtype), np.empty((*x.shape[:2], *size), np.int64)
        for n, c, i, j in np.ndindex(*y.shape):
            cells = [(h, w) for h in _taps(i, 0, x.shape[2], kernel_size, stride, padding, dilation)
                     for w in _taps(j, 1, x.shape[3], kernel_size, stride, padding, dilation)]
            h, w = max(cells, key=lambda cell: x[(n, c) + cell].real)        # the first of equal ones
            y[n, c, i, j], indices[n, c, i, j] = x[n, c, h, w], h * x.shape[3] + w
        return (y, indices) if return_indices else y

    def samples(rng):
        for shape, kernel, stride, padding, dilation, ceil_mode, return_indices in [
            ((2, 3, 6, 4), (2, 2), (2, 2), (0, 0), (1, 1), False, False),
            ((1, 2, 5, 5), (2, 2), (2, 2), (0, 0), (1, 1), True, True),      # a partial last window
            ((1, 2, 7, 5), (3, 3), (2, 2), (1, 1), (1, 1), False, False),    # overlapping, padded
            ((1, 1, 3, 3), (2, 2), (2, 2), (1, 1), (1, 1), True, False),     # the last window would start in the padding
            ((2, 1, 5, 7), (3, 2), (1, 3), (1, 0), (2, 3), False, True),     # every axis different, tight dilation
            ((1, 1, 4, 4), (1, 1), (3, 3), (0, 0), (1, 1), False, False),    # stride beyond the kernel
        ]:
            yield Sample((distinct(rng, *shape),), {"kernel_size": kernel, "stride": stride, "padding": padding,
                                                    "dilation": dilation, "ceil_mode": ceil_mode,
                                                    "return_indices": return_indices})


class MaxUnpool2d(Op):
    """y[n, c, indices[n, c, q]] = x[n, c, q], all else 0;   dx[n, c, q] = dy[n, c, indices[n, c, q]]

    The indices count through the plane of `output_size`.  Where one comes twice the later value stays (it is not added).
    """

    linear = (0,)

    def forward(ctx, x, indices, *, output_size):
        ctx.indices, y = dense(indices), buffers.empty((*x.shape[:2], *output_size), x.dtype)
        pool_places.unpool_planes(_flat_planes(y), _flat_planes(dense(x)), _flat_planes(ctx.indices))
        return y

    def backward(ctx, dy):
        dx = buffers.empty(ctx.indices.shape, dy.dtype)
        pool_places.gather_planes(_flat_planes(dx), _flat_planes(dense(dy)), _flat_planes(ctx.indices))
        return dx, None

    def reference(x, indices, *, output_size):
        y = np.zeros((*x.shape[:2], output_size[0] * output_size[1]), x.dtype)
        for n, c, i, j in np.ndindex(*x.shape):
            y[n, c, indices[n, c, i, j]] = x[n, c, i, j]
        return y.reshape(*x.shape[:2], *output_size)

    def samples(rng):
        for (n, c, h, w), size in [((2, 3, 3, 2), (6, 4)), ((1, 2, 2, 3), (5, 7)), ((1, 1, 1, 1), (1, 1))]:
            places = [[rng.permutation(size[0] * size[1])[:h * w].reshape(h, w) for _ in range(c)] for _ in range(n)]
            yield Sample((normal(rng, n, c, h, w), np.array(places)), {"output_size": size})


class AvgPool2d(Op):
    """y[n, c, i, j] = Σ_uv x[n, c, i·s + u - p, j·s + v - p] / D;   dx: to every pixel of the window dy / D

    D is the window's area, padding included unless count_include_pad is False; what ceil_mode adds beyond the padding never
    counts.  divisor_override replaces D.
    """

    linear = (0,)

    def forward(ctx, x, *, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
        size = _output_size(x, kernel_size, stride, padding, (1, 1), ceil_mode)
        (rows, row_area), (cols, col_area) = (
            _windows(size[a], x.shape[2 + a], kernel_size[a], stride[a], padding[a], count_include_pad) for a in (0, 1))
        divisor = np.outer(row_area, col_area).astype(x.dtype)
        if divisor_override:
            divisor[:] = divisor_override
        ctx.windows, ctx.shape = (rows, cols, divisor), x.shape
        return _means(x, size, ctx.windows)

    def backward(ctx, dy):
        return (_means_grad(dy, ctx.shape, ctx.windows),)

    def reference(x, *, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
        size = _output_size(x, kernel_size, stride, padding, (1, 1), ceil_mode)
        (kh, kw), (sh, sw), (ph, pw) = kernel_size, stride, padding
        padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
        inside = np.pad(np.ones(x.shape[2:]), ((ph, ph), (pw, pw)), constant_values=float(count_include_pad))
        y = np.empty((*x.shape[:2], *size), x.dtype)
        for i, j in np.ndindex(*size):
            window = np.s_[..., i * sh:i * sh + kh, j * sw:j * sw + kw]
            y[:, :, i, j] = padded[window].sum(axis=(2, 3)) / (divisor_override or inside[window].sum())
        return y

    def samples(rng):
        for shape, kernel, stride, padding, ceil_mode, include, divisor in [
            ((2, 3, 4, 6), (2, 2), (2, 2), (0, 0), False, True, None),
            ((1, 2, 5, 5), (3, 3), (1, 1), (1, 1), False, True, None),
            ((1, 2, 5, 5), (3, 3), (2, 2), (1, 1), True, False, None),
            ((1, 1, 5, 6), (2, 3), (2, 2), (1, 1), True, True, None),        # a last window that reaches beyond the padding
            ((1, 2, 4, 4), (2, 1), (1, 3), (0, 0), False, True, 3),
        ]:
            yield Sample((normal(rng, *shape),), {"kernel_size": kernel, "stride": stride, "padding": padding,
                                                  "ceil_mode": ceil_mode, "count_include_pad": include,
                                                  "divisor_override": divisor})


class AdaptiveAvgPool2d(Op):
    """y[n, c, i, j] = mean of x[n, c, ⌊i·H/O⌋:⌈(i+1)·H/O⌉, …], so that the output has O rows;   dx: to each pixel dy / area"""

    linear = (0,)

    def forward(ctx, x, *, output_size):
        rows, cols = (_adaptive_windows(size, x.shape[2 + a]) for a, size in enumerate(output_size))
        divisor = np.outer(rows[:, 1] - rows[:, 0], cols[:, 1] - cols[:, 0]).astype(x.dtype)
        ctx.windows, ctx.shape = (rows, cols, divisor), x.shape
        return _means(x, output_size, ctx.windows)

    def backward(ctx, dy):
        return (_means_grad(dy, ctx.shape, ctx.windows),)

    def reference(x, *, output_size):
        y = np.empty((*x.shape[:2], *output_size), x.dtype)
        for i, j in np.ndindex(*output_size):
            top, bottom = i * x.shape[2] // output_size[0], -((i + 1) * x.shape[2] // -output_size[0])
            left, right = j * x.shape[3] // output_size[1], -((j + 1) * x.shape[3] // -output_size[1])
            y[:, :, i, j] = x[:, :, top:bottom, left:right].mean(axis=(2, 3))
        return y

    def samples(rng):
        for shape, size in [((2, 3, 4, 6), (2, 3)), ((1, 2, 5, 7), (2, 3)), ((2, 1, 3, 4), (1, 1)), ((1, 1, 2, 3), (4, 5))]:
            yield Sample((normal(rng, *shape),), {"output_size": size})


def _output_size(x, kernel_size, stride, padding, dilation, ceil_mode):
    return tuple(pool_output(x.shape[2 + a], kernel_size[a], stride[a], padding[a], dilation[a], ceil_mode) for a in (0, 1))


def _taps(i, axis, length, kernel_size, stride, padding, dilation):
    """The positions along one axis that window i covers inside the image."""
    taps = (i * stride[axis] + u * dilation[axis] - padding[axis] for u in range(kernel_size[axis]))
    return [t for t in taps if 0 <= t < length]


def _windows(outputs, length, k, s, p, count_include_pad):
    """Along one axis: [start, end) of every window inside the image, and the extent that it is divided by."""
    start = np.arange(outputs) * s - p
    inside = np.stack([start.clip(0), (start + k).clip(max=length)], axis=1)
    extent = (start + k).clip(max=length + p) - start if count_include_pad else inside[:, 1] - inside[:, 0]
    return inside, extent


def _adaptive_windows(outputs, length):
    i = np.arange(outputs)
    return np.stack([i * length // outputs, -((i + 1) * length // -outputs)], axis=1)


def _means(x, size, windows):
    y = buffers.empty((*x.shape[:2], *size), x.dtype)
    pool_mean.window_means(planes(y), planes(dense(x)), *windows)
    return y


def _means_grad(dy, shape, windows):
    dx = buffers.empty(shape, dy.dtype)
    pool_mean.window_means_grad(planes(dx), planes(dense(dy)), *windows)
    return dx


def _flat_planes(a):
    """(N, C, H, W) -> (N·C, H·W)"""
    return a.reshape(a.shape[0] * a.shape[1], a.shape[2] * a.shape[3])
