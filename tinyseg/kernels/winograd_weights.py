"""The weight gradient of a 3x3 convolution at stride 1 by Winograd's F(3x3, m x m), m = 2 or 4, in float32.

A weight gradient is a correlation, too: of x with dy, tile by tile, each of which gives 3 x 3 results.  In the terms of
`winograd.py`, where dy takes the way of y back, and dw that of g,

    V[ξ, c, t]  =  (Bᵀ d B)[ξ]                    d: the e x e tile of x
    Y[ξ, o, t]  =  (A δ Aᵀ)[ξ]                    δ[i, j] = dy[n, o, t_i·m + i, t_j·m + j],        i, j < m
    S[ξ, o, c]  =  Σ_t Y[ξ, o, t] · V[ξ, c, t]                                                    e·e matrix products
    dw[o, c]    =  Gᵀ S G

It is the transpose of Lavin & Gray's formula: y is bilinear in d and g, and its derivative by g needs no other products.

V and Y of a chunk of tiles are computed first; then, for every ξ, one thread sums all tiles of the chunk, in order, and adds
that to S[ξ].  So the bits are the same at any number of threads, and no sum is so long that it loses digits.  These stages are
tasks of one parallel loop, since each such loop takes seconds to compile.
"""
from __future__ import annotations

import math

import numpy as np

from .. import buffers
from .inner import inner
from .simd import REGISTERS, add_outer, add_tile, lanes, lanes_of, store_tile, zero_tile
from .tasks import each_task
from .winograd_tiles import (block_of, ceil_div, collect_kernel2, collect_kernel4, corners_of, fill, places_of, plan,
                             transform_input2, transform_input4, transform_upstream2, transform_upstream4)

ROWS = 8 if REGISTERS == 32 else 4       # outputs of a register tile, with two vectors of channels for each, or the last one
PAIR = 2 * ROWS
CHUNK = 1 << 19                          # values of V and Y: they stay in the caches
TRANSFORM, ADD, COLLECT = range(3)       # stages of the work: every thread finishes one before the next begins


@inner
def transform_band(v, at, step, flat, corners, down, right, m, is_input):
    """V[ξ, t, l] or Y[ξ, t, l], l < lanes, for the tiles of a band, whose next pixels are `down` and `right` in flat."""
    for t in range(corners.size):
        if is_input and m == 4:
            transform_input4(v, at, 6 * step, step, flat, corners[t], down, right)
        elif is_input:
            transform_input2(v, at, 4 * step, step, flat, corners[t], down, right)
        elif m == 4:
            transform_upstream4(v, at, 6 * step, step, flat, corners[t], down, right)
        else:
            transform_upstream2(v, at, 4 * step, step, flat, corners[t], down, right)
        at += lanes(v)


@inner
def transform_block(v, at, step, row, x, shape, places, pitch, block, padding, dilation, m, is_input):
    """V or Y of all channels of x for a block of tiles; `row`: from one block of channels to the next."""
    width, (_, channels, height, wide), (dh, dw) = lanes(v), shape, dilation
    phases, (first, last), (begin, end) = block
    rows = (last - first) * m + (2 if is_input else 0)
    flat = np.empty((rows * pitch + 1) * width, v.dtype)
    corners = corners_of(last - first, end - begin, pitch, dw, m, width)
    for c in range(ceil_div(channels, width)):
        for n in range(phases[0], phases[1]):
            fill(flat, places, x, (n // dh * channels + c * width) * height * wide, min(width, channels - c * width),
                 (height, wide), n % dh + first * m * dh - padding[0], dh, begin * m * dw - padding[1], rows, pitch)
            transform_band(v, at + c * row + (n - phases[0]) * corners.size * width, step, flat, corners, pitch * width,
                           dw * width, m, is_input)


@inner
def add_tiles(tile, y, at, v, start, row, count):
    """tile[r, n] + Σ_t Y[t, r] · V[n, t, …]"""
    width = lanes(v)
    for t in range(0, count * width, width):
        tile = add_outer(tile, ROWS, y, at + t, 1, v, start + t, row)
    return tile


@inner
def add_chunk(s, at, outputs, channels, y, y_at, v, v_at, row, count, seen):
    """S[ξ, o, c] += Σ_t Y[ξ, o, t] V[ξ, c, t] for one ξ; `seen`: not the first chunk."""
    width = lanes(v)
    for c in range(0, channels, 2 * width):
        for o in range(0, outputs, ROWS):
            left, right = y_at + o // width * row + o % width, v_at + c // width * row
            if c + width < channels:
                pair = add_tiles(zero_tile(v, PAIR), y, left, v, right, row, count)
                if seen:
                    pair = add_tile(pair, s, at)
                store_tile(pair, s, at)
                at += PAIR * width
            else:
                single = add_tiles(zero_tile(v, ROWS), y, left, v, right, row, count)
                if seen:
                    single = add_tile(single, s, at)
                store_tile(single, s, at)
                at += ROWS * width


@inner
def collect_weights(dw, block, s, step, outputs, channels, m):
    """dw[o, c] for all o, c // lanes = block."""
    width = lanes(s)
    g, c = np.empty(9 * width, s.dtype), block * width
    pair = c // (2 * width) * 2 * width
    vectors = 2 if pair + width < channels else 1
    for o in range(outputs):
        at = pair * ceil_div(outputs, ROWS) * ROWS + (o * vectors + (c - pair) // width) * width
        if m == 4:
            collect_kernel4(g, 0, 3 * width, width, s, at, 6 * step, step)
        else:
            collect_kernel2(g, 0, 3 * width, width, s, at, 4 * step, step)
        for i in range(min(width, channels - c)):
            for k in range(9):
                dw[(o * channels + c + i) * 9 + k] = g[k * width + i]


@inner
def work(task, stage, dw, x, x_shape, dy, dy_shape, padding, none, dilation, m, cuts, from_x, from_y, starts, first, last, v,
         y, s, row, steps):
    """A task of a stage for the blocks first ≤ b < last, of which b begins with tile starts[b]."""
    if stage == TRANSFORM:
        b, is_input = first + task // 2, task % 2 == 0
        at, block = (starts[b] - starts[first]) * lanes(x), block_of(b, cuts)
        if is_input:
            pitch = cuts[8] + 2 * dilation[1]
            transform_block(v, at, steps[0], row, x, x_shape, from_x, pitch, block, padding, dilation, m, is_input)
        else:
            transform_block(y, at, steps[1], row, dy, dy_shape, from_y, cuts[8], block, none, dilation, m, is_input)
    elif stage == ADD:
        add_chunk(s, task * steps[2], dy_shape[1], x_shape[1], y, task * steps[1], v, task * steps[0], row,
                  starts[last] - starts[first], first > 0)
    else:
        collect_weights(dw, task, s, steps[2], dy_shape[1], x_shape[1], m)


def weigh(dw, x, dy, padding, dilation, m):
    """dw[o, c, u, v] = Σ_nij dy[n, o, i, j] x[n, c, i + u·δ - p, j + v·δ - p], by F(3 x 3, m x m)."""
    (batch, channels), outputs, width, places = x.shape[:2], dy.shape[1], lanes_of(x), (m + 2)**2
    x_blocks, y_blocks = -(-channels // width), -(-outputs // width)
    chunk = max(128, CHUNK // (places * width * (x_blocks + y_blocks)), 2 * dilation[1])
    cuts = tuple(plan(batch, dy.shape[2:], dilation, m, chunk // 4))
    blocks = [block_of(b, cuts) for b in range(-(-cuts[0] // cuts[3]) * cuts[4] * cuts[5])]
    sizes = [math.prod(last - first for first, last in block) * dilation[1] for block in blocks]
    starts = np.cumsum([0, *sizes])
    row = (chunk + 1) * width                             # an odd number of vectors: not all in the same cache sets
    steps = ((x_blocks * (chunk + 1) | 1) * width, (y_blocks * (chunk + 1) | 1) * width,
             (x_blocks * -(-outputs // ROWS) * ROWS | 1) * width)
    v, y, s = (buffers.empty((places * step,), x.dtype) for step in steps)
    from_x = places_of(cuts[7] + 2, x.shape[3], cuts[8] + 2 * dilation[1], -padding[1], width)
    from_y = places_of(cuts[7], dy.shape[3], cuts[8], 0, width)

    def stage(which, tasks, first, last):
        each_task(work, tasks, (which, dw.ravel(), x.ravel(), x.shape, dy.ravel(), dy.shape, padding, (0, 0), dilation, m, cuts,
                                from_x, from_y, starts, first, last, v, y, s, row, steps))

    first = 0
    if not blocks:
        s[...] = 0                                        # an empty batch
    while first < len(blocks):
        last = int(np.searchsorted(starts, starts[first] + chunk, "right")) - 1
        stage(TRANSFORM, 2 * (last - first), first, last)
        stage(ADD, places, first, last)
        first = last
    stage(COLLECT, x_blocks, 0, 0)
