"""The weight gradient of a 3x3 convolution at stride 1 by Winograd's F(3x3, m x m), m = 2 or 4, in float32.

A weight gradient is a correlation, too: of x with dy, tile by tile, each of which gives 3 x 3 results.  In the terms of
`winograd.py`, where dy takes the way of y back, and dw that of g,

    V[ξ, c, t]  =  (Bᵀ d B)[ξ]                    d: the e x e tile of x
    Y[ξ, o, t]  =  (A δ Aᵀ)[ξ]                    δ[i, j] = dy[n, o, t_i·m + i, t_j·m + j],        i, j < m
    S[ξ, o, c]  =  Σ_t Y[ξ, o, t] · V[ξ, c, t]                                                    e·e matrix products
    dw[o, c]    =  Gᵀ S G

It is the transpose of Lavin & Gray's formula: y is bilinear in d and g, and its derivative by g needs no other products.

A task has a part of the tiles and of the outputs for itself.  It takes its tiles block by block: V and Y of a block are
computed, and multiplied for every ξ, while they are in the second-level cache.  At the end the sums of all parts are added up,
in order.  How tiles are divided depends on shapes alone, so the bits are the same at any number of threads, and no sum is so
long that it loses digits.

Rows of V, Y and S are odd numbers of vectors, so that they do not all begin in the same sets of the caches.
"""
from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numba import get_num_threads

from .. import buffers
from .inner import inner
from .side_by_side import find, parts_of
from .simd import REGISTERS, add_outer, add_tile, lanes, lanes_of, store_tile, zero_tile
from .tasks import each_task
from .winograd_tiles import (block_of, ceil_div, collect_kernel2, collect_kernel4, corners_of, fill, places_of, plan,
                             transform_input2, transform_input4, transform_upstream2, transform_upstream4)

ROWS = 8 if REGISTERS == 32 else 4       # outputs of a register tile, with two vectors of channels for each, or the last one
PAIR = 2 * ROWS
CACHED = 1 << 17                         # values of V and Y of a block: they stay in the second-level cache
PARTS, PART = 8, 256                     # so many parts of the tiles at the most, of so many tiles at least


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
def transform_block(v, step, row, x, shape, owned, places, pitch, block, padding, dilation, m, is_input):
    """V or Y of the owned blocks of channels of x for a block of tiles; `row`: from one block of channels to the next."""
    width, channels, (dh, dw) = lanes(v), shape[1], dilation
    phases, (first, last), (begin, end) = block
    rows = (last - first) * m + (2 if is_input else 0)
    flat = np.empty((rows * pitch + 1) * width, v.dtype)
    corners = corners_of(last - first, end - begin, pitch, dw, m, width)
    for c in range(owned[0], owned[1]):
        for n in range(phases[0], phases[1]):
            image, start = find(x, shape, n // dh, c * width)
            fill(flat, places, image, start, min(width, channels - c * width), shape[2:], n % dh + first * m * dh - padding[0],
                 dh, begin * m * dw - padding[1], rows, pitch)
            transform_band(v, (c - owned[0]) * row + (n - phases[0]) * corners.size * width, step, flat, corners, pitch * width,
                           dw * width, m, is_input)


@inner
def owned_blocks(owner, owners, outputs, width):
    """[first, last) of the blocks of `width` outputs that one of the owners has."""
    blocks = ceil_div(outputs, width)
    return owner * blocks // owners, (owner + 1) * blocks // owners


@inner
def add_tiles(tile, y, at, v, start, row, count):
    """tile[r, n] + Σ_t Y[t, r] · V[n, t, …]"""
    width = lanes(v)
    for t in range(0, count * width, width):
        tile = add_outer(tile, ROWS, y, at + t, 1, v, start + t, row)
    return tile


@inner
def add_block(s, at, outputs, channels, y, y_at, v, v_at, row, count, seen):
    """S[ξ, o, c] += Σ_t Y[ξ, o, t] V[ξ, c, t] for one ξ; `seen`: not the first block."""
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
def add_part(task, s, step, x, x_shape, dy, dy_shape, padding, none, dilation, m, cuts, from_x, from_y, blocks, parts):
    """S of a part of the tiles, which are in so many blocks, for a part of the outputs."""
    width, places, (part, owner), dw = lanes(s), (m + 2) * (m + 2), (task // parts[1], task % parts[1]), dilation[1]
    x_blocks, owned = ceil_div(x_shape[1], width), owned_blocks(owner, parts[1], dy_shape[1], width)
    outputs, row = min(dy_shape[1], owned[1] * width) - owned[0] * width, (cuts[6] | 1) * width
    v_step, y_step = (x_blocks * (cuts[6] | 1) | 1) * width, ((owned[1] - owned[0]) * (cuts[6] | 1) | 1) * width
    v, y = np.empty(places * v_step, s.dtype), np.empty(places * y_step, s.dtype)
    first, last = part * blocks // parts[0], (part + 1) * blocks // parts[0]
    for b in range(first, last):
        phases, (i0, i1), (j0, j1) = block = block_of(b, cuts)
        transform_block(v, v_step, row, x, x_shape, (0, x_blocks), from_x, cuts[8] + 2 * dw, block, padding, dilation, m, True)
        transform_block(y, y_step, row, dy, dy_shape, owned, from_y, cuts[8], block, none, dilation, m, False)
        for place in range(places):
            add_block(s, (task * places + place) * step, outputs, x_shape[1], y, place * y_step, v, place * v_step, row,
                      (phases[1] - phases[0]) * (i1 - i0) * (j1 - j0) * dw, b > first)
    if first == last:                                     # an empty batch
        s[task * places * step:(task + 1) * places * step] = 0


@inner
def collect_weights(task, dw, s, step, outputs, channels, m, parts):
    """dw[o, c] for a part of the outputs o, and c // lanes = block."""
    width, places, owner, block = lanes(s), (m + 2) * (m + 2), task % parts[1], task // parts[1]
    owned, c = owned_blocks(owner, parts[1], outputs, width), block * width
    pair = c // (2 * width) * 2 * width
    first, last, vectors = owned[0] * width, min(outputs, owned[1] * width), 2 if pair + width < channels else 1
    g, total = np.empty(9 * width, s.dtype), np.empty(places * width, s.dtype)
    for o in range(last - first):
        at = pair * ceil_div(last - first, ROWS) * ROWS + (o * vectors + (c - pair) // width) * width
        for place in range(places):
            tile = zero_tile(s, 1)
            for part in range(parts[0]):
                tile = add_tile(tile, s, ((part * parts[1] + owner) * places + place) * step + at)
            store_tile(tile, total, place * width)
        if m == 4:
            collect_kernel4(g, 0, 3 * width, width, total, 0, 6 * width, width)
        else:
            collect_kernel2(g, 0, 3 * width, width, total, 0, 4 * width, width)
        for i in range(min(width, channels - c)):
            for k in range(9):
                dw[((first + o) * channels + c + i) * 9 + k] = g[k * width + i]


def weigh(dw, x, dy, padding, dilation, m):
    """dw[o, c, u, v] = Σ_nij dy[n, o, i, j] x[n, c, i + u·δ - p, j + v·δ - p], by F(3 x 3, m x m)."""
    width, channels, outputs = lanes_of(dy), x.shape[1], dy.shape[1]
    parts, step, shares = divided(x.shape, dy.shape, padding, dilation, m, width, get_num_threads())
    s = buffers.empty((math.prod(parts) * (m + 2)**2 * step,), dy.dtype)
    each_task(add_part, math.prod(parts), (s, step, parts_of(x), x.shape, parts_of(dy), dy.shape, padding, (0, 0), dilation,
                                           m, *shares, parts))
    each_task(collect_weights, -(-channels // width) * parts[1], (dw.ravel(), s, step, outputs, channels, m, parts))


@lru_cache(maxsize=128)
def divided(x_shape, dy_shape, padding, dilation, m, width, threads):
    """(parts of the tiles, of the outputs), values from S[ξ] to S[ξ + 1], and what is the same for all of `add_part`."""
    x_blocks, y_blocks = -(-x_shape[1] // width), -(-dy_shape[1] // width)
    tiles = max(64, CACHED // ((m + 2)**2 * width * (x_blocks + y_blocks)))
    cuts = plan(x_shape[0], dy_shape[2:], dilation, m, tiles)
    blocks = -(-cuts.phases // cuts.together) * cuts.bands * cuts.parts
    tile_parts = max(1, min(PARTS, blocks, blocks * cuts.tiles // PART))
    parts = (tile_parts, min(y_blocks, -(-threads // tile_parts)))
    from_x = places_of(cuts.rows + 2, x_shape[3], cuts.pitch + 2 * dilation[1], -padding[1], width)
    from_y = places_of(cuts.rows, dy_shape[3], cuts.pitch, 0, width)
    return parts, (x_blocks * -(-y_blocks // parts[1]) * width | 1) * width, (tuple(cuts), from_x, from_y, blocks)
