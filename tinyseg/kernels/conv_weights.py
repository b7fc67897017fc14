"""The weight gradient of convolution on register tiles: inner products of dy and of what is under a tap, over all positions.

With `flat` and its offsets from `bands.py`, v running over vectors of positions and k over (channel, tap),

    dw[o, k]  =  Σ_v Σ_l dy[o, places[v] + l] · flat[offsets[k] + positions[v] + l],         l < lanes

A tile holds ROWS outputs times COLS taps, and each of its vectors sums products lane by lane; only at the end of a run of
vectors are the lanes added up.  dy is copied first, so that a tile reads it in order, with 0 where a position comes twice.
"""
from __future__ import annotations

import numpy as np

from .bands import CACHED, bands_of, ceil_div, extent, fill, keeps_rows, offsets_of, places_of, zero_run
from .inner import inner
from .simd import COLS, ROWS, TILE, add_lane_products, add_sums, copy_run, lanes, lanes_of, zero_tile
from .tasks import each_task

RUN = 64          # vectors to sum before lanes are added up
TASKS = 8         # fixed, since the order of sums depends on it: the same bits at any number of threads


@inner
def pack_upstream(packed, dy, at, pitch, outputs, places, vectors):
    """packed[block, v, r, l] = dy[at + (block·ROWS + r)·pitch + places[v] + l]; 0 where the vector before v has it already."""
    width = lanes(dy)
    to = 0
    for b in range(ceil_div(outputs, ROWS)):
        for v in range(vectors):
            repeated = max(0, places[v - 1] + width - places[v]) if v > 0 and places[v] > places[v - 1] else 0
            for r in range(ROWS):
                if b * ROWS + r < outputs:
                    copy_run(packed, to, dy, at + (b * ROWS + r) * pitch + places[v], width)
                    zero_run(packed, to, repeated)
                else:
                    zero_run(packed, to, width)
                to += width


@inner
def add_band(total, at, packed, flat, positions, offsets, vectors, blocks, tiles):
    """total[at + (block, k//COLS, r, k%COLS)] += Σ_v Σ_l packed[block, v, r, l] · flat[offsets[k] + positions[v] + l]"""
    width = lanes(flat)
    room = ceil_div(TILE, width) * width
    for v0 in range(0, vectors, RUN):
        v1 = min(vectors, v0 + RUN)
        for b in range(blocks):
            for k in range(0, offsets.size, COLS):
                tile = zero_tile(flat, TILE)
                for v in range(v0, v1):
                    dy = (b * vectors + v) * ROWS * width
                    tile = add_lane_products(tile, ROWS, packed, dy, flat, offsets, k, positions[v])
                add_sums(tile, total, at + (b * tiles + k // COLS) * room)


@inner
def weigh_band(total, at, x, x_shape, dy, dy_shape, taps, kernel, geometry, group, outputs, channels, images, rows, by_rows,
               tiles):
    """Adds what rows (first, last) of images (first, last) give to dw for channels (first, last), as `add_band` orders it."""
    width = lanes(x)
    many, tall, out_w = images[1] - images[0], rows[1] - rows[0], dy_shape[3]
    pitch, plane, planes = extent(tall, out_w, kernel, geometry, by_rows)
    area = dy_shape[2] * out_w
    positions, places, vectors = places_of(many, tall, out_w, pitch, plane, dy_shape[1] * area, width, by_rows)
    blocks = ceil_div(outputs, ROWS)
    packed = np.empty(blocks * vectors * ROWS * width, x.dtype)
    start = (images[0] * dy_shape[1] + group * outputs) * area + rows[0] * out_w
    pack_upstream(packed, dy, start, area, outputs, places, vectors)
    depth = channels[1] - channels[0]
    flat = np.empty(depth * planes * many * plane, x.dtype)
    fill(flat, x, x_shape, images, channels, rows, out_w, kernel, geometry, by_rows)
    offsets = offsets_of(depth, taps, kernel, pitch, many * plane, geometry, by_rows)
    add_band(total, at, packed, flat, positions, offsets, vectors, blocks, tiles)


@inner
def weigh_bands(task, total, size, x, x_shape, dy, dy_shape, taps, kernel, geometry, groups, pieces, sums, cuts, by_rows,
                tiles):
    """A task owns some channels of one group, and goes through a part of the bands for them."""
    outputs, channels, (many, bands) = dy_shape[1] // groups, x_shape[1] // groups, cuts
    all_cuts = ceil_div(x_shape[0], many) * bands
    s, group, piece = task // (groups * pieces), task // pieces % groups, task % pieces
    owned = (group * channels + piece * channels // pieces, group * channels + (piece + 1) * channels // pieces)
    for cut in range(s * all_cuts // sums, (s + 1) * all_cuts // sums):
        n, band = cut // bands * many, cut % bands
        weigh_band(total, task * size, x, x_shape, dy, dy_shape, taps, kernel, geometry, group, outputs, owned,
                   (n, min(x_shape[0], n + many)), (band * dy_shape[2] // bands, (band + 1) * dy_shape[2] // bands), by_rows,
                   tiles)


@inner
def collect(o, dw, total, size, outputs, channels, columns, pieces, sums, step, tiles, room):
    """dw[o, …], added up from the parts of the sums."""
    group, b, r = o // outputs, o % outputs // ROWS, o % outputs % ROWS
    for piece in range(pieces):
        first, last = piece * channels // pieces * columns, (piece + 1) * channels // pieces * columns
        for k in range(0, last - first, COLS):
            at = (group * pieces + piece) * size + (b * tiles + k // COLS) * room + r * COLS
            for n in range(min(COLS, last - first - k)):
                value = total[at + n]
                for s in range(1, sums):
                    value += total[at + n + s * step]
                dw[(o * channels * columns) + first + k + n] = value


def weigh(dw, x, dy, taps, kernel, geometry):
    """dw[o, k] = Σ_nij dy[n, o, i, j] x[n, c, i·s + u·d - p, j·s + v·d - p], k = (c, tap), for each group of channels.

    x (N, G·C, H, W), dy (N, G·O, HO, WO), dw (G·O, C, KH, KW).
    """
    channels, columns, width = dw.shape[1], len(taps), lanes_of(x)
    groups = x.shape[1] // channels
    outputs = dw.shape[0] // groups
    out_h, out_w = dy.shape[2:]
    by_rows = keeps_rows(out_w, width, geometry[0], geometry[1], columns)
    planes = extent(out_h, out_w, kernel, geometry, by_rows)[2]
    wanted = max(1, CACHED // 1024 // planes)                                 # channels of a band of so many positions
    sums = max(1, min(TASKS, (1 << 19) // dw.size))
    pieces = max(-(-channels // wanted), min(channels, -(-TASKS // (sums * groups))))
    depth = -(-channels // pieces)
    tiles, room = -(-depth * columns // COLS), -(-TILE // width) * width
    cuts = bands_of(len(x), out_h, out_w, min(max(CACHED // (depth * planes + outputs), 256), 4096))
    sums = max(1, min(sums, -(-len(x) // cuts[0]) * cuts[1]))
    size, tasks = -(-outputs // ROWS) * tiles * room, groups * pieces
    total = np.zeros(sums * tasks * size, dw.dtype)
    each_task(weigh_bands, sums * tasks, (total, size, x.ravel(), x.shape, dy.ravel(), dy.shape, taps, kernel, geometry, groups,
                                          pieces, sums, cuts, by_rows, tiles))
    each_task(collect, len(dw), (dw.ravel(), total, size, outputs, channels, columns, pieces, sums, tasks * size, tiles, room))
