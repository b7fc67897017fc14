"""Convolution and its two gradients by im2col, a band of output rows at a time, multiplied while it is in cache.

With s = stride, d = dilation, p = padding (all per axis) and tap k = (c, u, v): a kernel's channel, row and column,

    y[n, o, i, j] = b[o] + Σ_k w[o, k] · x[n, c, i·s + u·d - p, j·s + v·d - p]          (x is 0 outside)

is a matrix product W @ columns, where row k of the columns holds the pixel under tap k for every output position.  The whole
column matrix would be K·K times the input; a band of it fits the second-level cache.  And at stride 1 it need not be built at
all: in a copy of the band with its zeros around it, all rows are one array read from different places,

    row k, position (i, j)  =  flat[offsets[k] + i·pitch + j],     pitch = output width + d(K - 1)

(the d(K - 1) positions at the end of each row mean nothing).  The product needs no library: four rows at a time, the compiler
keeps everything in registers.

All arrays are C-contiguous and of one dtype.  `geometry` is (stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w).
"""
from __future__ import annotations

import numpy as np
from numba import njit, prange

from . import dense
from .inner import inner

CACHED_VALUES = 1 << 17       # values of a band: half of a megabyte in float32
CACHED_ROW = 1 << 10          # positions of a band: eight rows of them in the first-level cache
FLAGS = {"contract"}          # a·b + c in one rounding; nothing that NaN or infinity would notice


@inner
def fours(n):
    """n rounded up to a multiple of four."""
    return (n + 3) // 4 * 4


@inner
def band_rows(channels, kernel, out_h, out_w, geometry):
    """How many output rows a band has: at stride 1 a position takes a value of each channel, else one under every tap."""
    values = channels if geometry[0] == geometry[1] == 1 else channels * kernel
    return max(1, min(out_h, CACHED_ROW // out_w, CACHED_VALUES // (values * out_w)))


@inner
def copy(to, source):
    """to[k] = source[k] for all of `to`; written so that it becomes vector instructions."""
    for k in range(to.size):
        to[k] = source[k]


@inner
def covered(left, count, width, step):
    """[first, last) of the `count` positions whose taps, at left, left + step, …, lie inside a row of `width` pixels."""
    first = min(count, max(0, (step - 1 - left) // step))
    return first, max(first, min(count, (width - 1 - left) // step + 1))


@inner
def fill_columns(columns, x, start, out_w, kernel_h, kernel_w, geometry):
    """columns[(c, u, v), (i, j)] = x[c, (start + i)·s + u·d - p, j·s + v·d - p] for a band of whole output rows.

    Rows beyond C·KH·KW (there to make their number a multiple of four) become 0.
    """
    sh, sw, ph, pw, dh, dw = geometry
    channels, height, width = x.shape
    taps, rows = channels * kernel_h * kernel_w, columns.shape[1] // out_w
    by_tap = columns[:taps].reshape(channels, kernel_h, kernel_w, rows, out_w)
    columns[taps:] = 0
    for u in range(kernel_h):
        for v in range(kernel_w):
            left = v * dw - pw
            for i in range(rows):
                h = (start + i) * sh + u * dh - ph
                first, last = covered(left, out_w, width, sw) if 0 <= h < height else (0, 0)
                for c in range(channels):
                    row = by_tap[c, u, v, i]
                    row[:first] = 0
                    for j in range(first, last):
                        row[j] = x[c, h, left + j * sw]
                    row[last:] = 0


@inner
def padded_band(x, start, rows, out_w, kernel_h, kernel_w, geometry):
    """The band at stride 1: a copy of the image rows under it with zeros around them, and where in it each tap reads.

    Taps beyond C·KH·KW (there to make their number a multiple of four) read the zeros at its end.
    """
    _, _, ph, pw, dh, dw = geometry
    channels, height, width = x.shape
    pitch = out_w + dw * (kernel_w - 1)
    plane = (rows + dh * (kernel_h - 1)) * pitch
    length = rows * pitch - dw * (kernel_w - 1)
    flat = np.zeros(channels * plane + length, x.dtype)
    offsets = np.full(fours(channels * kernel_h * kernel_w), channels * plane)
    first, last = max(0, pw), min(pitch, width + pw)
    k = 0
    for c in range(channels):
        for r in range(plane // pitch):
            h = start + r - ph
            if 0 <= h < height and first < last:
                at = c * plane + r * pitch
                copy(flat[at + first:at + last], x[c, h, first - pw:])
        for u in range(kernel_h):
            for v in range(kernel_w):
                offsets[k] = c * plane + u * dh * pitch + v * dw
                k += 1
    return flat, offsets, pitch, length


@inner
def band_of(x, start, rows, out_w, kernel_h, kernel_w, geometry):
    """(flat, offsets, pitch, length): tap k of output position (start + i, j) reads flat[offsets[k] + i·pitch + j]."""
    if geometry[0] == geometry[1] == 1:
        return padded_band(x, start, rows, out_w, kernel_h, kernel_w, geometry)
    length = rows * out_w
    columns = np.empty((fours(x.shape[0] * kernel_h * kernel_w), length), x.dtype)
    fill_columns(columns, x, start, out_w, kernel_h, kernel_w, geometry)
    return columns.reshape(columns.size), np.arange(len(columns)) * length, out_w, length


@inner
def add_columns(columns, dx, start, out_w, kernel_h, kernel_w, geometry):
    """col2im: dx[c, (start + i)·s + u·d - p, j·s + v·d - p] += columns[(c, u, v), (i, j)]: `fill_columns`, transposed."""
    sh, sw, ph, pw, dh, dw = geometry
    channels, height, width = dx.shape
    rows = columns.shape[1] // out_w
    by_tap = columns.reshape(channels, kernel_h, kernel_w, rows, out_w)
    for u in range(kernel_h):
        for v in range(kernel_w):
            left = v * dw - pw
            for i in range(rows):
                h = (start + i) * sh + u * dh - ph
                first, last = covered(left, out_w, width, sw) if 0 <= h < height else (0, 0)
                for c in range(channels):
                    for j in range(first, last):
                        dx[c, h, left + j * sw] += by_tap[c, u, v, i, j]


@inner(fastmath=FLAGS)
def add_product(out, a, flat, offsets):
    """out[m, q] += Σ_k a[m, k] flat[offsets[k] + q] in blocks of 4 x 4 coefficients; k runs to a multiple of four."""
    rows, depth = a.shape
    length = out.shape[1]
    blocked = rows // 4 * 4
    for m in range(0, blocked, 4):
        y0, y1, y2, y3 = out[m], out[m + 1], out[m + 2], out[m + 3]
        for k in range(0, depth, 4):
            b0, b1 = flat[offsets[k]:], flat[offsets[k + 1]:]
            b2, b3 = flat[offsets[k + 2]:], flat[offsets[k + 3]:]
            a00, a01, a02, a03 = a[m, k], a[m, k + 1], a[m, k + 2], a[m, k + 3]
            a10, a11, a12, a13 = a[m + 1, k], a[m + 1, k + 1], a[m + 1, k + 2], a[m + 1, k + 3]
            a20, a21, a22, a23 = a[m + 2, k], a[m + 2, k + 1], a[m + 2, k + 2], a[m + 2, k + 3]
            a30, a31, a32, a33 = a[m + 3, k], a[m + 3, k + 1], a[m + 3, k + 2], a[m + 3, k + 3]
            for q in range(length):
                x0, x1, x2, x3 = b0[q], b1[q], b2[q], b3[q]
                y0[q] = y0[q] + a00 * x0 + a01 * x1 + a02 * x2 + a03 * x3
                y1[q] = y1[q] + a10 * x0 + a11 * x1 + a12 * x2 + a13 * x3
                y2[q] = y2[q] + a20 * x0 + a21 * x1 + a22 * x2 + a23 * x3
                y3[q] = y3[q] + a30 * x0 + a31 * x1 + a32 * x2 + a33 * x3
    for m in range(blocked, rows):
        y0 = out[m]
        for k in range(0, depth, 4):
            b0, b1 = flat[offsets[k]:], flat[offsets[k + 1]:]
            b2, b3 = flat[offsets[k + 2]:], flat[offsets[k + 3]:]
            a00, a01, a02, a03 = a[m, k], a[m, k + 1], a[m, k + 2], a[m, k + 3]
            for q in range(length):
                x0, x1, x2, x3 = b0[q], b1[q], b2[q], b3[q]
                y0[q] = y0[q] + a00 * x0 + a01 * x1 + a02 * x2 + a03 * x3


@inner(fastmath={"contract", "reassoc"})
def add_inner_products(out, a, flat, offsets):
    """out[m, k] += Σ_q a[m, q] flat[offsets[k] + q] in blocks of 2 x 4; m runs to a multiple of two, k of four."""
    rows, length = a.shape
    zero = out.dtype.type(0)
    for k in range(0, offsets.size, 4):
        b0, b1 = flat[offsets[k]:], flat[offsets[k + 1]:]
        b2, b3 = flat[offsets[k + 2]:], flat[offsets[k + 3]:]
        for m in range(0, rows, 2):
            a0, a1 = a[m], a[m + 1]
            s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = zero
            for q in range(length):
                s00 += a0[q] * b0[q]
                s01 += a0[q] * b1[q]
                s02 += a0[q] * b2[q]
                s03 += a0[q] * b3[q]
                s10 += a1[q] * b0[q]
                s11 += a1[q] * b1[q]
                s12 += a1[q] * b2[q]
                s13 += a1[q] * b3[q]
            out[m, k] += s00
            out[m, k + 1] += s01
            out[m, k + 2] += s02
            out[m, k + 3] += s03
            out[m + 1, k] += s10
            out[m + 1, k + 1] += s11
            out[m + 1, k + 2] += s12
            out[m + 1, k + 3] += s13


@njit(cache=True, parallel=True, nogil=True)
def conv2d(y, x, weight, bias, geometry):
    """y[n, o, i, j] = bias[o] + Σ_cuv weight[o, c, u, v] x[n, c, i·s + u·d - p, j·s + v·d - p], for each group of channels.

    x (N, G·C, H, W), weight (G·O, C, KH, KW), bias (G·O,), y (N, G·O, HO, WO).  One task owns a band of rows of one group of
    one image.
    """
    batch, height, width = x.shape[0], x.shape[2], x.shape[3]
    channels, kernel_h, kernel_w = weight.shape[1:]
    out_h, out_w = y.shape[2:]
    groups = x.shape[1] // channels
    outputs = weight.shape[0] // groups
    taps = channels * kernel_h * kernel_w
    w = np.zeros((groups, outputs, fours(taps)), weight.dtype)
    w[:, :, :taps] = weight.reshape(groups, outputs, taps)             # (G·O, C, KH, KW) -> (G, O, C·KH·KW)
    xs = x.reshape(batch * groups, channels, height, width)
    ys = y.reshape(batch * groups, outputs, out_h, out_w)
    band = band_rows(channels, kernel_h * kernel_w, out_h, out_w, geometry)
    bands = (out_h + band - 1) // band
    for task in prange(batch * groups * bands):
        image, start = task // bands, task % bands * band
        rows, group = min(band, out_h - start), image % groups
        flat, offsets, pitch, length = band_of(xs[image], start, rows, out_w, kernel_h, kernel_w, geometry)
        product = np.empty((outputs, length), x.dtype)
        for o in range(outputs):
            product[o] = bias[group * outputs + o]
        add_product(product, w[group], flat, offsets)
        for o in range(outputs):
            for i in range(rows):
                copy(ys[image, o, start + i], product[o, i * pitch:])


def conv2d_input_grad(dx, dy, weight, bias, geometry):
    """As `conv2d_spread`; at stride 1 by a convolution with the flipped kernel, which adds nothing into place.

    dx[n, c, h, w] = bias[c] + Σ_ouv weight[o, c, KH-1-u, KW-1-v] dy[n, o, h + u·d - p', w + v·d - p'],  p' = d(K - 1) - p.
    """
    if geometry[:2] != (1, 1):
        return conv2d_spread(dx, dy, weight, bias, geometry)
    flipped = weight.reshape(-1, dy.shape[1] * weight.shape[1] // dx.shape[1], *weight.shape[1:])[..., ::-1, ::-1]
    flipped = dense(flipped.swapaxes(1, 2)).reshape(dx.shape[1], -1, *weight.shape[2:])             # (G·C, O, KH, KW)
    padding = [d * (k - 1) - p for k, p, d in zip(weight.shape[2:], geometry[2:4], geometry[4:])]
    conv2d(dx, dy, flipped, bias, (1, 1, *padding, *geometry[4:]))


@njit(cache=True, parallel=True, nogil=True)
def conv2d_spread(dx, dy, weight, bias, geometry):
    """dx[n, c, h, w] = bias[c] + Σ_ouv weight[o, c, u, v] dy[n, o, i, j], over all i·s + u·d - p = h, j·s + v·d - p = w.

    Also the forward pass of transposed convolution (hence the bias).  dx (N, G·C, H, W), dy (N, G·O, HO, WO), weight
    (G·O, C, KH, KW), bias (G·C,).  A task owns a few channels of one group of one image: one thread adds what overlaps.
    """
    batch, height, width = dx.shape[0], dx.shape[2], dx.shape[3]
    channels, kernel_h, kernel_w = weight.shape[1:]
    out_h, out_w = dy.shape[2:]
    groups = dx.shape[1] // channels
    outputs = weight.shape[0] // groups
    kernel = kernel_h * kernel_w
    w = np.zeros((groups, channels * kernel, fours(outputs)), weight.dtype)
    for g in range(groups):                                            # (G·O, C, KH, KW) -> (G, C·KH·KW, O)
        w[g, :, :outputs] = weight[g * outputs:(g + 1) * outputs].reshape(outputs, channels * kernel).T
    dxs = dx.reshape(batch * groups, channels, height, width)
    dys = dy.reshape(batch * groups, outputs, out_h * out_w)
    block = owned_channels(channels, batch * groups)
    blocks = (channels + block - 1) // block
    band = band_rows(max(block, outputs // kernel), kernel, out_h, out_w, geometry)
    for task in prange(batch * groups * blocks):
        image, c0 = task // blocks, task % blocks * block
        c1 = min(channels, c0 + block)
        group = image % groups
        for c in range(c0, c1):
            dxs[image, c] = bias[group * channels + c]
        for start in range(0, out_h, band):
            rows = min(band, out_h - start)
            upstream = np.zeros((fours(outputs), rows * out_w), dx.dtype)
            upstream[:outputs] = dys[image, :, start * out_w:(start + rows) * out_w]
            columns = np.zeros(((c1 - c0) * kernel, rows * out_w), dx.dtype)
            add_product(columns, w[group, c0 * kernel:c1 * kernel], upstream.reshape(upstream.size),
                        np.arange(len(upstream)) * rows * out_w)
            add_columns(columns, dxs[image, c0:c1], start, out_w, kernel_h, kernel_w, geometry)


@inner
def owned_channels(channels, images):
    """How many channels one task takes: at most 4, and fewer where that leaves less than 4 tasks."""
    return max(1, min(4, channels * images // 4))


@njit(cache=True, parallel=True, nogil=True)
def conv2d_weight_grad(dw, x, dy, geometry):
    """dw[o, c, u, v] = Σ_nij dy[n, o, i, j] x[n, c, i·s + u·d - p, j·s + v·d - p], for each group of channels.

    x (N, G·C, H, W), dy (N, G·O, HO, WO), dw (G·O, C, KH, KW).  A task owns a few input channels, and sums over all images.
    """
    batch, height, width = x.shape[0], x.shape[2], x.shape[3]
    (channels, kernel_h, kernel_w), (out_h, out_w) = dw.shape[1:], dy.shape[2:]
    groups = x.shape[1] // channels
    outputs = dw.shape[0] // groups
    kernel = kernel_h * kernel_w
    xs = x.reshape(batch, groups, channels, height, width)
    dys = dy.reshape(batch, groups, outputs, out_h, out_w)
    dws = dw.reshape(groups, outputs, channels * kernel)               # (G·O, C, KH, KW) -> (G, O, C·KH·KW)
    block = owned_channels(channels, groups)
    blocks = (channels + block - 1) // block
    band = band_rows(max(block, outputs // kernel), kernel, out_h, out_w, geometry)
    for task in prange(groups * blocks):
        group, c0 = task // blocks, task % blocks * block
        c1 = min(channels, c0 + block)
        total = np.zeros((fours(outputs), fours((c1 - c0) * kernel)), dw.dtype)
        for n in range(batch):
            for start in range(0, out_h, band):
                rows = min(band, out_h - start)
                flat, offsets, pitch, length = band_of(xs[n, group, c0:c1], start, rows, out_w, kernel_h, kernel_w, geometry)
                upstream = np.zeros((fours(outputs), length), dw.dtype)              # 0 where a position means nothing
                for o in range(outputs):
                    for i in range(rows):
                        copy(upstream[o, i * pitch:i * pitch + out_w], dys[n, group, o, start + i])
                add_inner_products(total, upstream, flat, offsets)
        dws[group, :, c0 * kernel:c1 * kernel] = total[:outputs, :(c1 - c0) * kernel]
