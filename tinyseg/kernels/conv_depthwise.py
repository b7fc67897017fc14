"""Depthwise convolution: every channel has a kernel of its own, so nothing is shared between channels, and memory is the limit.

A band of one plane is copied with its zeros around it, for stride s as s·s planes of every s-th pixel.  In these all taps read
the same array at different offsets, row after row, and a vector of outputs stays in its register for all of them:

    product[q + l]  =  bias[c] + Σ_t weight[c, t] · flat[offsets[t] + q + l],       q = i·pitch + j,   l < lanes

The last positions of each row mean nothing: rows are pitch - WO longer than the output's.  The weight gradient has 0 there:

    dw[c, t]  =  Σ_q Σ_l upstream[q + l] · flat[offsets[t] + q + l]

`geometry` is (stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w), as in `conv.py`.
"""
from __future__ import annotations

import numpy as np
from numba import njit, prange

from .bands import ceil_div, fill_image
from .simd import COLS, add_lane_products, add_products, add_sums, copy_run, lanes, store_rows, zero_tile

BAND = 1 << 13        # positions of a band: 32 KiB in float32


@njit(cache=True)
def plane_size(rows, out_w, kernel_h, kernel_w, geometry):
    """(rows, pitch) of a plane of every s-th pixel that taps of `rows` output rows read."""
    stride_h, stride_w, _, _, dilation_h, dilation_w = geometry
    return rows + dilation_h * (kernel_h - 1) // stride_h, out_w + dilation_w * (kernel_w - 1) // stride_w


@njit(cache=True)
def tap_offsets(rows, pitch, kernel_h, kernel_w, geometry):
    """offsets[t]; the last one is repeated up to whole tiles."""
    stride_h, stride_w, _, _, dilation_h, dilation_w = geometry
    offsets = np.empty(ceil_div(kernel_h * kernel_w, COLS) * COLS, np.int64)
    for t in range(offsets.size):
        tap = min(t, kernel_h * kernel_w - 1)
        h, w = tap // kernel_w * dilation_h, tap % kernel_w * dilation_w
        plane = h % stride_h * stride_w + w % stride_w
        offsets[t] = (plane * rows + h // stride_h) * pitch + w // stride_w
    return offsets


@njit(cache=True)
def fill_planes(flat, x, source, height, width, start, rows, pitch, geometry):
    """Every s-th pixel, s·s times, of the image at x[source …], for output rows from `start` on."""
    stride_h, stride_w, top, left, _, _ = geometry
    for a in range(stride_h):
        for b in range(stride_w):
            fill_image(flat, (a * stride_w + b) * rows * pitch, x, source, height, width, rows, start * stride_h + a - top,
                       b - left, pitch, stride_h, stride_w)


@njit(cache=True)
def convolve_band(y, x, planes, channels, height, width, weight, bias, rows, out_h, out_w, kernel, geometry):
    """Rows (first, last) of planes (first, last) of y."""
    count, step = rows[1] - rows[0], COLS * lanes(y)
    tall, pitch = plane_size(count, out_w, kernel[0], kernel[1], geometry)
    steps = ceil_div(count * pitch, step) * step
    flat = np.empty(geometry[0] * geometry[1] * tall * pitch + steps, y.dtype)
    product = np.empty(steps, y.dtype)
    offsets = tap_offsets(tall, pitch, kernel[0], kernel[1], geometry)
    places = np.arange(COLS) * lanes(y)
    taps = kernel[0] * kernel[1]
    for plane in range(planes[0], planes[1]):
        fill_planes(flat, x, plane * height * width, height, width, rows[0], tall, pitch, geometry)
        c = plane % channels
        for q in range(0, steps, step):
            tile = zero_tile(flat, COLS)
            for t in range(taps):
                tile = add_products(tile, 1, weight, c * taps + t, flat, places, 0, offsets[t] + q)
            store_rows(tile, 1, product, q, 0, places, 0, bias, c, 1)
        for i in range(count):
            copy_run(y, (plane * out_h + rows[0] + i) * out_w, product, i * pitch, out_w)


@njit(cache=True)
def weigh_band(total, c, x, shape, dy, rows, out_h, out_w, kernel, geometry):
    """total[t] += what rows (first, last) of channel c of all dy give to the gradient of weight[c, t]; x is of that shape."""
    count, (batch, channels, height, width) = rows[1] - rows[0], shape
    tall, pitch = plane_size(count, out_w, kernel[0], kernel[1], geometry)
    steps = ceil_div(count * pitch, lanes(dy)) * lanes(dy)
    flat = np.zeros(geometry[0] * geometry[1] * tall * pitch + steps, dy.dtype)
    upstream = np.zeros(steps, dy.dtype)                                 # 0 where a position means nothing
    offsets = tap_offsets(tall, pitch, kernel[0], kernel[1], geometry)
    for plane in range(c, batch * channels, channels):
        fill_planes(flat, x, plane * height * width, height, width, rows[0], tall, pitch, geometry)
        for i in range(count):
            copy_run(upstream, i * pitch, dy, (plane * out_h + rows[0] + i) * out_w, out_w)
        for t in range(0, offsets.size, COLS):
            tile = zero_tile(flat, COLS)
            for q in range(0, steps, lanes(dy)):
                tile = add_lane_products(tile, 1, upstream, q, flat, offsets, t, q)
            add_sums(tile, total, t)


@njit(cache=True, parallel=True, nogil=True)
def convolve(y, x, weight, bias, kernel, geometry):
    """y[n, c, i, j] = bias[c] + Σ_uv weight[c, u, v] x[n, c, i·s + u·d - p, j·s + v·d - p].

    A task owns a band of one plane, or some whole planes.
    """
    batch, channels, height, width = x.shape
    out_h, out_w = y.shape[2:]
    bands = min(out_h, ceil_div(out_h * out_w, BAND))
    some = max(1, BAND // (out_h * out_w))
    flat_y, flat_x = y.reshape(y.size), x.reshape(x.size)
    for task in prange(ceil_div(batch * channels, some) * bands):
        first, band = task // bands * some, task % bands
        convolve_band(flat_y, flat_x, (first, min(batch * channels, first + some)), channels, height, width, weight, bias,
                      (band * out_h // bands, (band + 1) * out_h // bands), out_h, out_w, kernel, geometry)


@njit(cache=True, parallel=True, nogil=True)
def weigh_channels(dw, x, dy, kernel, geometry):
    """dw[c, u, v] = Σ_nij dy[n, c, i, j] x[n, c, i·s + u·d - p, j·s + v·d - p].  A task owns one channel."""
    out_h, out_w = dy.shape[2:]
    bands = min(out_h, ceil_div(out_h * out_w, BAND))
    flat_dy, flat_x = dy.reshape(dy.size), x.reshape(x.size)
    for c in prange(x.shape[1]):
        total = np.zeros(ceil_div(kernel[0] * kernel[1], COLS) * COLS + lanes(x), dw.dtype)
        for band in range(bands):
            weigh_band(total, c, flat_x, x.shape, flat_dy, (band * out_h // bands, (band + 1) * out_h // bands), out_h, out_w,
                       kernel, geometry)
        for t in range(kernel[0] * kernel[1]):
            dw[c, 0, t // kernel[1], t % kernel[1]] = total[t]


def conv2d(y, x, weight, bias, geometry):
    """As `conv.conv2d`, for weights (C, 1, KH, KW) and as many groups as channels."""
    convolve(y, x, weight.ravel(), bias, weight.shape[2:], geometry)


def conv2d_input_grad(dx, dy, weight, bias, geometry):
    """As `conv.conv2d_input_grad` at stride 1: with the flipped kernel."""
    padding = [d * (k - 1) - p for k, p, d in zip(weight.shape[2:], geometry[2:4], geometry[4:])]
    conv2d(dx, dy, weight[:, :, ::-1, ::-1], bias, (1, 1, *padding, *geometry[4:]))


def conv2d_weight_grad(dw, x, dy, geometry):
    """As `conv.conv2d_weight_grad`."""
    weigh_channels(dw, x, dy, dw.shape[2:], geometry)
