"""The weight gradient of a 3x3 convolution at stride 1 by Winograd's F(3x3, m x m), m = 2 or 4, in float32.

A weight gradient is a correlation, too: of x with dy, tile by tile, each of which gives 3 x 3 results.  In the terms of
`winograd.py`, where dy takes the way of y back, and dw that of g,

    V[ξ, c, t]  =  (Bᵀ d B)[ξ]                    d: the e x e tile of x
    Y[ξ, o, t]  =  (A δ Aᵀ)[ξ]                    δ[i, j] = dy[n, o, t_i·m + i, t_j·m + j],        i, j < m
    S[ξ, o, c]  =  Σ_t Y[ξ, o, t] · V[ξ, c, t]                                                    e·e matrix products
    dw[o, c]    =  Gᵀ S G

It is the transpose of Lavin & Gray's formula: y is bilinear in d and g, and its derivative by g needs no other products.

V and Y of a chunk of tiles are computed first; then, for every ξ, one thread adds all tiles of the chunk to S[ξ], in order: the
same bits at any number of threads.
"""
from __future__ import annotations

import numpy as np
from numba import njit, prange

from .simd import REGISTERS, add_outer, add_tile, lanes, store_tile, zero_tile
from .winograd_tiles import (block_of, ceil_div, collect_kernel2, collect_kernel4, cuts_of, fill, places_of, transform_input2,
                             transform_input4, transform_upstream2, transform_upstream4)

ROWS = 8 if REGISTERS == 32 else 4       # outputs of a register tile, with two vectors of channels for each, or the last one
PAIR = 2 * ROWS
CHUNK = 1 << 19                          # values of V and Y: they stay in the caches


@njit(cache=True)
def transform_band(v, at, step, flat, tall, wide, pitch, m, is_input):
    """V[ξ, t, l] or Y[ξ, t, l], l < lanes, for tall x wide tiles of a band."""
    width = lanes(v)
    for i in range(tall):
        for j in range(wide):
            of = (i * pitch + j) * m * width
            if is_input and m == 4:
                transform_input4(v, at, 6 * step, step, flat, of, pitch * width, width)
            elif is_input:
                transform_input2(v, at, 4 * step, step, flat, of, pitch * width, width)
            elif m == 4:
                transform_upstream4(v, at, 6 * step, step, flat, of, pitch * width, width)
            else:
                transform_upstream2(v, at, 4 * step, step, flat, of, pitch * width, width)
            at += width


@njit(cache=True)
def transform_block(v, at, step, row, x, shape, places, pitch, block, top, left, m, is_input):
    """V or Y of all channels of x for a block of tiles, the first of which sees pixel (top, left); `row` values a channel."""
    width, (_, channels, height, wide) = lanes(v), shape
    images, (first, last), (begin, end) = block
    rows = (last - first) * m + (2 if is_input else 0)
    flat = np.empty((rows * pitch + 1) * width, v.dtype)
    tiles = (last - first) * (end - begin)
    for c in range(ceil_div(channels, width)):
        for n in range(images[0], images[1]):
            fill(flat, places, x, (n * channels + c * width) * height * wide, min(width, channels - c * width), (height, wide),
                 first * m + top, begin * m + left, rows, pitch)
            transform_band(v, at + c * row + (n - images[0]) * tiles * width, step, flat, last - first, end - begin, pitch, m,
                           is_input)


@njit(cache=True)
def add_tiles(tile, y, at, v, start, row, count):
    """tile[r, n] + Σ_t Y[t, r] · V[n, t, …]"""
    width = lanes(v)
    for t in range(0, count * width, width):
        tile = add_outer(tile, ROWS, y, at + t, 1, v, start + t, row)
    return tile


@njit(cache=True)
def add_chunk(s, at, outputs, channels, y, y_at, v, v_at, row, count, seen):
    """S[ξ, o, c] += Σ_t Y[ξ, o, t] V[ξ, c, t] for one ξ; `seen`: not the first chunk."""
    width = lanes(v)
    for c in range(0, channels, 2 * width):
        for o in range(0, outputs, ROWS):
            left, right = y_at + o // width * row + o % width, v_at + c // width * row
            if c + width < channels:
                pair = zero_tile(v, PAIR)
                if seen:
                    pair = add_tile(pair, s, at)
                store_tile(add_tiles(pair, y, left, v, right, row, count), s, at)
                at += PAIR * width
            else:
                single = zero_tile(v, ROWS)
                if seen:
                    single = add_tile(single, s, at)
                store_tile(add_tiles(single, y, left, v, right, row, count), s, at)
                at += ROWS * width


@njit(cache=True)
def collect_weights(dw, c, s, step, outputs, channels, m):
    """dw[o, c:c + lanes] for all o."""
    width = lanes(s)
    g = np.empty(9 * width, s.dtype)
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


@njit(cache=True, parallel=True, nogil=True)
def weigh(dw, x, dy, padding, m):
    """dw[o, c, u, v] = Σ_nij dy[n, o, i, j] x[n, c, i + u - p, j + v - p], by F(3 x 3, m x m)."""
    width, places, (top, left) = lanes(x), (m + 2) * (m + 2), padding
    (batch, channels), (outputs, out_h, out_w) = x.shape[:2], dy.shape[1:]
    tall, wide = ceil_div(out_h, m), ceil_div(out_w, m)
    x_blocks, y_blocks = ceil_div(channels, width), ceil_div(outputs, width)
    chunk = max(128, CHUNK // (places * width * (x_blocks + y_blocks)))
    cuts = cuts_of(batch, tall, wide, chunk // 4)
    blocks = ceil_div(batch, cuts[0]) * cuts[1] * cuts[2]
    starts = np.zeros(blocks + 1, np.int64)
    for b in range(blocks):
        images, rows, cols = block_of(b, batch, tall, wide, cuts)
        starts[b + 1] = starts[b] + (images[1] - images[0]) * (rows[1] - rows[0]) * (cols[1] - cols[0])
    row = (chunk + 1) * width                             # an odd number of vectors: not all in the same cache sets
    v_step, y_step = (x_blocks * (chunk + 1) | 1) * width, (y_blocks * (chunk + 1) | 1) * width
    step = (x_blocks * ceil_div(outputs, ROWS) * ROWS | 1) * width
    v, y, s = np.empty(places * v_step, x.dtype), np.empty(places * y_step, x.dtype), np.zeros(places * step, x.dtype)
    rows, pitch = ceil_div(tall, cuts[1]) * m, ceil_div(wide, cuts[2]) * m
    from_x = places_of(rows + 2, x.shape[3], pitch + 2, -left, width)
    from_y = places_of(rows, out_w, pitch, 0, width)
    flat_x, flat_y, flat_dw = x.reshape(x.size), dy.reshape(dy.size), dw.reshape(dw.size)
    first = 0
    while first < blocks:
        last = first + 1
        while last < blocks and starts[last + 1] - starts[first] <= chunk:
            last += 1
        for task in prange(2 * (last - first)):
            b = first + task // 2
            at = (starts[b] - starts[first]) * width
            block = block_of(b, batch, tall, wide, cuts)
            if task % 2 == 0:
                transform_block(v, at, v_step, row, flat_x, x.shape, from_x, pitch + 2, block, -top, -left, m, True)
            else:
                transform_block(y, at, y_step, row, flat_y, dy.shape, from_y, pitch, block, 0, 0, m, False)
        for place in prange(places):
            add_chunk(s, place * step, outputs, channels, y, place * y_step, v, place * v_step, row,
                      starts[last] - starts[first], first > 0)
        first = last
    for block in prange(x_blocks):
        collect_weights(flat_dw, block * width, s, step, outputs, channels, m)
