"""3x3 convolution at stride 1 and its input gradient by Winograd's F(2x2, 3x3) and F(4x4, 3x3), in float32.

`winograd_tiles.py` has the algorithms, as three matrices each.  With a tile t of image n whose first output is (t_i, t_j),
e = m + 2, and ξ one of the e·e places of a transformed tile, a convolution of dilation δ is

    V[ξ, c, t]  =  (Bᵀ d B)[ξ]           d[i, j] = x[n, c, t_i + i·δ - p, t_j + j·δ - p],         i, j < e
    U[ξ, o, c]  =  (G g Gᵀ)[ξ]           g[u, v] = weight[o, c, u, v]
    M[ξ, o, t]  =  Σ_c U[ξ, o, c] · V[ξ, c, t]                                                    e·e matrix products
    y[n, o, t_i + i·δ, t_j + j·δ]  =  bias[o] + (Aᵀ M A)[i, j]                                    i, j < m

A block of tiles goes through all of it while it is in the second-level cache.  Vectors run over channels: c in V, o in U and M.
So the transforms are arithmetic between whole vectors, and tiles at the border of an image are tiles like others.  The input
gradient is the convolution of dy with the flipped kernels, input and output channels exchanged.

Sums run over c in order, however the work is divided: the same bits at any number of threads.  Where a pixel is infinite, the
tiles around it are NaN: transforms subtract.
"""
from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import get_num_threads

from .. import buffers
from .inner import inner
from .side_by_side import find, parts_of
from .simd import REGISTERS, add_outer, lanes, lanes_of, store_tile, zero_tile
from .simd_memory import end_streams, should_stream
from .tasks import each_task
from .winograd_tiles import (block_of, ceil_div, collect, corners_of, fill, places_of, plan, spread_run, transform_input2,
                             transform_input4, transform_kernel2, transform_kernel4, transform_output2, transform_output4)
from .winograd_weights import weigh

TILES = 8 if REGISTERS == 32 else 4      # of a register tile, which has two vectors of outputs for each, or the last one
PAIR = 2 * TILES
CACHED = 1 << 18                         # values of V and M: they stay in the second-level cache
KERNELS = 32                             # channels whose kernels are transformed together


@inner
def gather_kernels(g, weight, start, out_step, in_step, outputs, channels):
    """g[c, k, o] = weight[start + o·out_step + c·in_step + k],  k < 9, o < lanes"""
    width = lanes(g)
    if in_step == 9:                                      # one run of memory for each output
        spread_run(g, np.arange(9 * channels) * width, 0, weight, start, out_step, outputs, 0, 9 * channels)
        return
    for c in range(channels):
        for k in range(9):
            for o in range(outputs):
                g[(c * 9 + k) * width + o] = weight[start + c * in_step + o * out_step + k]


@inner
def transform_kernels(task, u, step, weight, flipped, outputs, channels, out_step, in_step, m):
    """U[ξ, c, o] for o // lanes = block and some c; kernel (o, c) is weight[o·out_step + c·in_step …], flipped or not."""
    width, parts = lanes(u), ceil_div(channels, KERNELS)
    block, first = task // parts, task % parts * KERNELS
    count, outputs = min(KERNELS, channels - first), min(width, outputs - block * width)
    g = np.zeros(KERNELS * 9 * width, u.dtype)
    gather_kernels(g, weight, block * width * out_step + first * in_step, out_step, in_step, outputs, count)
    corner, down, right = (8 * width, -3 * width, -width) if flipped else (0, 3 * width, width)
    for c in range(count):
        of, to = c * 9 * width + corner, (block * channels + first + c) * width
        if m == 4:
            transform_kernel4(u, to, 6 * step, step, g, of, down, right)
        else:
            transform_kernel2(u, to, 4 * step, step, g, of, down, right)


@inner
def transform_inputs(v, at, step, flat, corners, down, right, m):
    """V[ξ, t, l], l < lanes, for the tiles of a band, whose next pixels are `down` and `right` in flat."""
    for t in range(corners.size):
        if m == 4:
            transform_input4(v, at, 6 * step, step, flat, corners[t], down, right)
        else:
            transform_input2(v, at, 4 * step, step, flat, corners[t], down, right)
        at += lanes(v)


@inner
def transform_outputs(flat, corners, down, right, products, at, step, each, m):
    """The outputs of the tiles of a band, whose products stand `each` apart."""
    for t in range(corners.size):
        if m == 4:
            transform_output4(flat, corners[t], down, right, products, at, 6 * step, step)
        else:
            transform_output2(flat, corners[t], down, right, products, at, 4 * step, step)
        at += each


@inner
def add_channels(tile, v, at, v_step, u, start, u_step, channels):
    """tile[r, n] + Σ_c V[c // lanes, r, c % lanes] · U[n, c, …]"""
    width = lanes(v)
    for first in range(0, channels, width):
        for c in range(min(width, channels - first)):
            tile = add_outer(tile, TILES, v, at + c, width, u, start, u_step)
            start += width
        at += v_step
    return tile


@inner
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


@inner
def convolve_blocks(worker, y, y_shape, x, x_shape, u, u_step, bias, padding, dilation, m, cuts, from_x, to_y, parts, tasks,
                    workers):
    """This worker's share of all tasks, each a block of tiles and a part of the outputs."""
    width, places, (dh, dw), dtype = lanes(u), (m + 2) * (m + 2), dilation, u.dtype
    outputs, channels = y_shape[1], x_shape[1]
    most, highest, pitch = cuts[6:]
    count, blocks = ceil_div(most, TILES) * TILES, ceil_div(channels, width)
    v_row = (count + 1) * width                           # an odd number of vectors: not all in the same cache sets
    v_step, step = (blocks * (count + 1) | 1) * width, (2 * count + 1) * width
    v, products = np.zeros(places * v_step, dtype), np.empty(places * step, dtype)
    flat_x = np.empty(((highest + 2) * (pitch + 2 * dw) + 1) * width, dtype)
    flat_y = np.empty((highest * pitch + 1) * width, dtype)
    down_x, down_y, right = (pitch + 2 * dw) * width, pitch * width, dw * width
    pairs, present = ceil_div(outputs, 2 * width), -1
    for task in range(worker * tasks // workers, (worker + 1) * tasks // workers):
        block, part = task // parts, task % parts
        phases, (i0, i1), (j0, j1) = block_of(block, cuts)
        rows, top, left = (i1 - i0) * m, i0 * m * dh, j0 * m * dw
        from_corners = corners_of(i1 - i0, j1 - j0, pitch + 2 * dw, dw, m, width)
        to_corners = corners_of(i1 - i0, j1 - j0, pitch, dw, m, width)
        tiles = to_corners.size
        if block != present:
            present = block
            for c in range(blocks):
                for n in range(phases[0], phases[1]):
                    image, start = find(x, x_shape, n // dh, c * width)
                    fill(flat_x, from_x, image, start, min(width, channels - c * width), x_shape[2:],
                         n % dh + top - padding[0], dh, left - padding[1], rows + 2, pitch + 2 * dw)
                    transform_inputs(v, c * v_row + (n - phases[0]) * tiles * width, v_step, flat_x, from_corners, down_x,
                                     right, m)
        for o in range(part * pairs // parts * 2 * width, min(outputs, (part + 1) * pairs // parts * 2 * width), 2 * width):
            vectors = min(2, ceil_div(outputs - o, width))
            multiply(products, step, v, v_step, v_row, u, u_step, o * channels, channels, (phases[1] - phases[0]) * tiles,
                     vectors, places)
            for b in range(vectors):
                for n in range(phases[0], phases[1]):
                    at, channel = ((n - phases[0]) * tiles * vectors + b) * width, o + b * width
                    transform_outputs(flat_y, to_corners, down_y, right, products, at, step, vectors * width, m)
                    image, start = find(y, y_shape, n // dh, channel)
                    collect(image, start, min(width, outputs - channel), bias, channel, y_shape[2:], n % dh + top, dh, left,
                            rows, (j1 - j0) * m * dw, flat_y, to_y, should_stream(image, y_shape[2] * y_shape[3]))
    end_streams()


class Winograd:
    """The three tasks, with the arguments of `conv.py`, by F(m x m, 3 x 3)."""

    def __init__(self, m):
        self.m = m

    def conv2d(self, y, x, weight, bias, geometry):
        self.convolve(y, x, weight, bias, False, weight[0].size, 9, geometry[2:4], geometry[4:])

    def conv2d_input_grad(self, dx, dy, weight, bias, geometry):
        (top, left), dilation = geometry[2:4], geometry[4:]
        padding = (2 * dilation[0] - top, 2 * dilation[1] - left)
        self.convolve(dx, dy, weight, bias, True, 9, weight[0].size, padding, dilation)

    def conv2d_weight_grad(self, dw, x, dy, geometry):
        weigh(dw, x, dy, geometry[2:4], geometry[4:], self.m)

    def convolve(self, y, x, weight, bias, flipped, out_step, in_step, padding, dilation):
        """y[n, o, i, j] = bias[o] + Σ_cuv weight[o·out_step + c·in_step + 3u + v] x[n, c, i + u·δ - p, j + v·δ - p]

        If flipped, the last tap comes first: 8 - 3u - v.
        """
        m, threads, (outputs, channels) = self.m, get_num_threads(), (y.shape[1], x.shape[1])
        blocks, u_step, shares = divided(y.shape, x.shape, padding, dilation, m, lanes_of(weight), threads)
        u = buffers.empty(((m + 2)**2 * u_step,), weight.dtype)
        each_task(transform_kernels, blocks * -(-channels // KERNELS),
                  (u, u_step, weight.ravel(), flipped, outputs, channels, out_step, in_step, m))
        each_task(convolve_blocks, threads, (parts_of(y), y.shape, parts_of(x), x.shape, u, u_step, bias, padding, dilation,
                                             m, *shares, threads))


@lru_cache(maxsize=128)
def divided(y_shape, x_shape, padding, dilation, m, width, threads):
    """Blocks of outputs, values of U from one place to the next, and what is the same for all workers of `convolve_blocks`."""
    blocks, channels = -(-y_shape[1] // width), x_shape[1]
    tiles = min(max(CACHED // ((m + 2)**2 * (channels + 2 * width)), 32), 512 // m)
    cuts = plan(x_shape[0], y_shape[2:], dilation, m, tiles)
    tasks = -(-cuts.phases // cuts.together) * cuts.bands * cuts.parts
    parts = max(1, min(-(-blocks // 2), -(-2 * threads // max(tasks, 1))))
    from_x = places_of(cuts.rows + 2, x_shape[3], cuts.pitch + 2 * dilation[1], -padding[1], width)
    to_y = places_of(cuts.rows, y_shape[3], cuts.pitch, 0, width)
    return blocks, (blocks * channels | 1) * width, (tuple(cuts), from_x, to_y, parts, tasks * parts)


f2, f4 = Winograd(2), Winograd(4)
