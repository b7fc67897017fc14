"""3x3 convolution at stride 1 and its input gradient by Winograd's F(2x2, 3x3) and F(4x4, 3x3), in float32.

`winograd_tiles.py` has the algorithms, as three matrices each.  With tiles t = (image, row, column), e = m + 2, and ξ one of
the e·e places of a transformed tile, a convolution is

    V[ξ, c, t]  =  (Bᵀ d B)[ξ]           d[i, j] = x[n, c, t_i·m + i - p, t_j·m + j - p],         i, j < e
    U[ξ, o, c]  =  (G g Gᵀ)[ξ]           g[u, v] = weight[o, c, u, v]
    M[ξ, o, t]  =  Σ_c U[ξ, o, c] · V[ξ, c, t]                                                    e·e matrix products
    y[n, o, t_i·m + i, t_j·m + j]  =  bias[o] + (Aᵀ M A)[i, j]                                    i, j < m

A block of tiles goes through all of it while it is in the second-level cache.  Vectors run over channels: c in V, o in U and M.
So the transforms are arithmetic between whole vectors, and tiles at the border of an image are tiles like others.  The input
gradient is the convolution of dy with the flipped kernels, input and output channels exchanged.

Sums run over c in order, however the work is divided: the same bits at any number of threads.  Where a pixel is infinite, the
tiles around it are NaN: transforms subtract.
"""
from __future__ import annotations

import numpy as np
from numba import get_num_threads, njit, prange

from .simd import REGISTERS, add_outer, lanes, store_tile, zero_tile
from .winograd_tiles import (block_of, ceil_div, collect, cuts_of, fill, places_of, transform_input2, transform_input4,
                             transform_kernel2, transform_kernel4, transform_output2, transform_output4)
from .winograd_weights import weigh

TILES = 8 if REGISTERS == 32 else 4      # of a register tile, which has two vectors of outputs for each, or the last one
PAIR = 2 * TILES
CACHED = 1 << 18                         # values of V and M: they stay in the second-level cache

TAPS = np.arange(9)
FLIPPED = TAPS[::-1].copy()


@njit(cache=True)
def transform_kernels(u, step, block, weight, taps, outputs, channels, out_step, in_step, m):
    """U[ξ, block, c, l], l < lanes; kernel (o, c) has its values at weight[o·out_step + c·in_step + taps[…]]."""
    width = lanes(u)
    g = np.zeros(9 * width, u.dtype)
    for c in range(channels):
        for k in range(9):
            start = block * width * out_step + c * in_step + taps[k]
            for o in range(min(width, outputs - block * width)):
                g[k * width + o] = weight[start + o * out_step]
        to = (block * channels + c) * width
        if m == 4:
            transform_kernel4(u, to, 6 * step, step, g, 0, 3 * width, width)
        else:
            transform_kernel2(u, to, 4 * step, step, g, 0, 3 * width, width)


@njit(cache=True)
def transform_inputs(v, at, step, flat, tall, wide, pitch, m):
    """V[ξ, t, l], l < lanes, for tall x wide tiles of a band."""
    width = lanes(v)
    for i in range(tall):
        for j in range(wide):
            of = (i * pitch + j) * m * width
            if m == 4:
                transform_input4(v, at, 6 * step, step, flat, of, pitch * width, width)
            else:
                transform_input2(v, at, 4 * step, step, flat, of, pitch * width, width)
            at += width


@njit(cache=True)
def transform_outputs(flat, tall, wide, pitch, products, at, step, each, m):
    """The outputs of tall x wide tiles, whose products stand `each` apart."""
    width = lanes(flat)
    for i in range(tall):
        for j in range(wide):
            to = (i * pitch + j) * m * width
            if m == 4:
                transform_output4(flat, to, pitch * width, width, products, at, 6 * step, step)
            else:
                transform_output2(flat, to, pitch * width, width, products, at, 4 * step, step)
            at += each


@njit(cache=True)
def add_channels(tile, v, at, v_step, u, start, u_step, channels):
    """tile[r, n] + Σ_c V[c // lanes, r, c % lanes] · U[n, c, …]"""
    width = lanes(v)
    for first in range(0, channels, width):
        for c in range(min(width, channels - first)):
            tile = add_outer(tile, TILES, v, at + c, width, u, start, u_step)
            start += width
        at += v_step
    return tile


@njit(cache=True)
def multiply(products, step, v, v_step, v_row, u, u_step, start, channels, count, vectors, places):
    """M[ξ, t, n, l] = Σ_c V[ξ, c, t] U[ξ, n, c, l] for `count` tiles and one or two vectors n of outputs."""
    width = lanes(v)
    for place in range(places):
        for t in range(0, count, TILES):
            at, to, of = place * v_step + t * width, place * step + t * vectors * width, start + place * u_step
            if vectors == 2:
                store_tile(add_channels(zero_tile(v, PAIR), v, at, v_row, u, of, channels * width, channels), products, to)
            else:
                store_tile(add_channels(zero_tile(v, TILES), v, at, v_row, u, of, channels * width, channels), products, to)


@njit(cache=True)
def convolve_tasks(y, y_shape, x, x_shape, u, u_step, bias, padding, m, cuts, parts, first, last):
    """Tasks first ≤ task < last, each a block of tiles and a part of the outputs."""
    width, places = lanes(x), (m + 2) * (m + 2)
    batch, outputs, out_h, out_w = y_shape
    channels, area = x_shape[1], x_shape[2] * x_shape[3]
    tall, wide = ceil_div(out_h, m), ceil_div(out_w, m)
    most = cuts[0] * ceil_div(tall, cuts[1]) * ceil_div(wide, cuts[2])
    count = ceil_div(most, TILES) * TILES
    blocks, rows, pitch = ceil_div(channels, width), ceil_div(tall, cuts[1]) * m, ceil_div(wide, cuts[2]) * m
    v_row = (count + 1) * width                           # an odd number of vectors: not all in the same cache sets
    v_step, step = (blocks * (count + 1) | 1) * width, (2 * count + 1) * width
    v, products = np.zeros(places * v_step, x.dtype), np.empty(places * step, x.dtype)
    flat, flat_y = np.empty(((rows + 2) * (pitch + 2) + 1) * width, x.dtype), np.empty((rows * pitch + 1) * width, x.dtype)
    from_x = places_of(rows + 2, x_shape[3], pitch + 2, -padding[1], width)
    to_y = places_of(rows, out_w, pitch, 0, width)
    pairs, present = ceil_div(outputs, 2 * width), -1
    for task in range(first, last):
        block, part = task // parts, task % parts
        images, (top, bottom), (left, right) = block_of(block, batch, tall, wide, cuts)
        area_t = (bottom - top) * (right - left)
        if block != present:
            present = block
            for c in range(blocks):
                for n in range(images[0], images[1]):
                    fill(flat, from_x, x, (n * channels + c * width) * area, min(width, channels - c * width), x_shape[2:],
                         top * m - padding[0], left * m - padding[1], (bottom - top) * m + 2, pitch + 2)
                    transform_inputs(v, c * v_row + (n - images[0]) * area_t * width, v_step, flat, bottom - top, right - left,
                                     pitch + 2, m)
        for o in range(part * pairs // parts * 2 * width, min(outputs, (part + 1) * pairs // parts * 2 * width), 2 * width):
            vectors = min(2, ceil_div(outputs - o, width))
            multiply(products, step, v, v_step, v_row, u, u_step, o * channels, channels, (images[1] - images[0]) * area_t,
                     vectors, places)
            for b in range(vectors):
                for n in range(images[0], images[1]):
                    at = ((n - images[0]) * area_t * vectors + b) * width
                    transform_outputs(flat_y, bottom - top, right - left, pitch, products, at, step, vectors * width, m)
                    channel = o + b * width
                    collect(y, (n * outputs + channel) * out_h * out_w, min(width, outputs - channel), bias, channel,
                            (out_h, out_w), top * m, left * m, (bottom - top) * m, (right - left) * m, flat_y, to_y)


@njit(cache=True, parallel=True, nogil=True)
def convolve(y, x, weight, bias, taps, out_step, in_step, padding, m, threads):
    """y[n, o, i, j] = bias[o] + Σ_cuv weight[o, c, u, v] x[n, c, i + u - p, j + v - p], by F(m x m, 3 x 3)."""
    (batch, channels), (outputs, out_h, out_w) = x.shape[:2], y.shape[1:]
    blocks = ceil_div(outputs, lanes(x))
    u_step = (blocks * channels | 1) * lanes(x)
    u = np.empty((m + 2) * (m + 2) * u_step, x.dtype)
    for block in prange(blocks):
        transform_kernels(u, u_step, block, weight, taps, outputs, channels, out_step, in_step, m)
    tall, wide = ceil_div(out_h, m), ceil_div(out_w, m)
    size = min(max(CACHED // ((m + 2) * (m + 2) * (channels + 2 * lanes(x))), 32), 512 // m)
    cuts = cuts_of(batch, tall, wide, size)
    tasks = ceil_div(batch, cuts[0]) * cuts[1] * cuts[2]
    parts = max(1, min(ceil_div(outputs, 2 * lanes(x)), ceil_div(2 * threads, max(tasks, 1))))
    tasks *= parts
    flat_y, flat_x = y.reshape(y.size), x.reshape(x.size)
    for worker in prange(threads):
        convolve_tasks(flat_y, y.shape, flat_x, x.shape, u, u_step, bias, padding, m, cuts, parts, worker * tasks // threads,
                       (worker + 1) * tasks // threads)


class Winograd:
    """The three tasks, with the arguments of `conv.py`, by F(m x m, 3 x 3)."""

    def __init__(self, m):
        self.m = m

    def conv2d(self, y, x, weight, bias, geometry):
        convolve(y, x, weight.ravel(), bias, TAPS, weight[0].size, 9, geometry[2:4], self.m, get_num_threads())

    def conv2d_input_grad(self, dx, dy, weight, bias, geometry):
        padding = (2 - geometry[2], 2 - geometry[3])
        convolve(dx, dy, weight.ravel(), bias, FLIPPED, 9, weight[0].size, padding, self.m, get_num_threads())

    def conv2d_weight_grad(self, dw, x, dy, geometry):
        weigh(dw, x, dy, geometry[2:4], self.m)


f2, f4 = Winograd(2), Winograd(4)
