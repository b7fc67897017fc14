"""Convolutions whose taps share no pixel: 1x1, or a kernel no larger than the stride, without padding.  Plain matrix products.

Each pixel of the image is under one tap k = (c, u, v) at most, so its pixels are a matrix in another order, nothing twice:

    columns[k, p]  =  x[n, c, i·s + u, j·s + v]                               p = (n, i, j),   u, v < K ≤ s
    y[n, o, i, j]  =  bias[o] + Σ_k weight[o, k] · columns[k, p]
    dx[n, c, i·s + u, j·s + v]  =  bias[c] + Σ_o weight[o, k] · dy[n, o, i, j]          (bias[c] alone under no tap)

At stride 1 nothing is moved: row k is channel k of the image itself, `step` behind the one before.  At others the columns of
some positions are gathered first; and dx is computed as columns, which are zipped as they leave the registers where K = s = 2,
else spread afterwards (`product_columns.py`).  In all of these a task computes, for some rows r and the vectors v of some
positions, on tiles of ROWS x COLS,

    out[r, places[v] + l]  =  bias[r] + Σ_k packed[k, r] · flat[k·step + positions[v] + l],         l < lanes

where `packed` has the weights in the order of multiplication.  A tile of positions meets all rows before the next does, so
that what it reads of the image is in a near cache from then on, whatever stands between its channels in memory.  There are too
many channels for the CPU to see what is read next, so it is told.

Sums run over k in order, however the work is divided: the same bits at any number of threads.  The weight gradient is in
`product_weights.py`, that of few outputs in `product_few.py`.
"""
from __future__ import annotations

import numpy as np
from numba import get_num_threads

from . import product_few
from .bands import bands_of, ceil_div, places_of
from .inner import inner
from .product_columns import alternates, gather, halves_of, pack_rows, pack_transposed, part_of, spread
from .product_weights import fills_panels, weigh
from .simd import REGISTERS, add_products, lanes, lanes_of, store_rows, zero_tile
from .simd_memory import end_streams, prefetch, should_stream, stream_rows, stream_zipped
from .simd_pairs import store_zipped
from .tasks import each_task

ROWS, COLS = (6, 4) if REGISTERS == 32 else (4, 3)         # an even number of rows, since two may be zipped
TALL = 2 * ROWS            # of a tile half as wide, for so few rows that all of them fit: it reads the image once
AHEAD = 2                  # tiles of positions: so early what they read is asked for
CACHED = 1 << 16           # values of each of the arrays that a task works on: together they stay in the second-level cache


def multiplier(tall, cols):
    """`multiply` on tiles of this size."""
    size = tall * cols

    @inner
    def multiply(out, at, pitch, places, bias, first, rows, packed, row, flat, start, step, positions, vectors, depth, zipped,
                 streams):
        """out[at + r·pitch + places[v] …] = bias[first + r] + Σ_k packed[k·row + r] · flat[start + k·step + positions[v] …]

        `zipped`: (height of a kernel, values of a plane of the image, of a row) if places are the halves of pairs of rows,
        else 0.
        """
        for v in range(0, vectors, cols):
            ahead = start + positions[min(v + AHEAD * cols, vectors - 1)]
            for r in range(0, rows, tall):
                tile, count = zero_tile(flat, size), min(tall, rows - r)
                for n in range(cols):
                    for i in range(r, r if zipped[0] > 0 or streams else r + count):
                        prefetch(out, at + i * pitch + places[v + n], 1)
                for k in range(depth):
                    tile = add_products(tile, tall, packed, k * row + r, flat, positions, v, start + k * step)
                    for n in range(cols if r == 0 else 0):
                        prefetch(flat, ahead + k * step + n * lanes(flat), 0)
                to = at + r * pitch
                if zipped[0] > 0 and streams:
                    stream_zipped(tile, tall, out, at, zipped[0], zipped[1], zipped[2], places, v, bias, first + r, count)
                elif zipped[0] > 0:
                    store_zipped(tile, tall, out, at, zipped[0], zipped[1], zipped[2], places, v, bias, first + r, count)
                elif streams:
                    stream_rows(tile, tall, out, to, pitch, places, v, bias, first + r, count)
                else:
                    store_rows(tile, tall, out, to, pitch, places, v, bias, first + r, count)
    return multiply


multiply, multiply_tall = multiplier(ROWS, COLS), multiplier(TALL, COLS // 2)


@inner
def compute(worker, y, y_shape, x, x_shape, weight, bias, kernel, stride, grid, rows, transposes, spreads, cuts, parts, tasks,
            workers):
    """This worker's share of the tasks, each a part of the rows for some positions: rows of images, as `bands_of` cuts them."""
    (out_h, out_w), (many, bands), width = grid, cuts, lanes(y)
    area, depth, taps, gathers = out_h * out_w, weight.size // rows, kernel[0] * kernel[1], not spreads and stride != (1, 1)
    planes = (kernel[0], y_shape[2] * y_shape[3], y_shape[3])
    zipped = planes if spreads and kernel == stride and alternates(stride, y_shape[3], out_w, width) else (0, 0, 0)
    streams = (not spreads or zipped[0] > 0) and should_stream(y, y_shape[3])
    unit = ROWS * taps if spreads else ROWS                      # parts have whole tiles, and all taps of a channel
    units, all_cuts = ceil_div(rows, unit), ceil_div(x_shape[0], many) * bands
    most, longest = ceil_div(units, parts) * unit, many * ceil_div(out_h, bands) * out_w
    row = (ceil_div(most, width) | 1) * width                    # an odd number of vectors: not all in the same cache sets
    packed, packed_part, channels = np.empty(depth * row + TALL, y.dtype), -1, part_of(0, 1, x_shape[1])
    columns = np.empty((depth + 1) * longest if gathers else 0, y.dtype)
    product = np.empty(most * longest if spreads and zipped[0] == 0 else 0, y.dtype)
    line = np.empty(longest * stride[1] if spreads else 0, y.dtype)
    first_task, last_task = part_of(worker, workers, tasks)
    for task in range(first_task, last_task):
        part, cut = task // all_cuts, task % all_cuts
        r0, r1 = part_of(part, parts, units)
        r0, r1 = r0 * unit, min(rows, r1 * unit)
        if part != packed_part:
            if transposes:
                pack_transposed(packed, row, weight, r0 * depth, depth, r1 - r0, depth)
            else:
                pack_rows(packed, row, weight, r0, rows, r1 - r0, depth)
            packed_part = part
        n, band = cut // bands * many, cut % bands
        last, (i0, i1) = min(x_shape[0], n + many), part_of(band, bands, out_h)
        plane = (i1 - i0) * out_w
        flat, start, from_row, from_image = x, n * x_shape[1] * area + i0 * out_w, area, x_shape[1] * area
        out, at, to_row, to_image = y, (n * rows + r0) * area + i0 * out_w, area, rows * area
        if gathers:
            gather(columns, x, x_shape, (n, last), channels, (i0, i1), out_w, kernel, stride)
            flat, start, from_row, from_image = columns, 0, (last - n) * plane, plane
        elif spreads and zipped[0] == 0:
            out, at, to_row, to_image = product, 0, (last - n) * plane, plane
        by_rows = zipped[0] > 0 and out_w >= width
        positions, places, vectors = places_of(last - n, i1 - i0, out_w, out_w, from_image, to_image, width, by_rows)
        if zipped[0] > 0:
            at = (n * y_shape[1] * y_shape[2] + i0 * stride[0]) * y_shape[3]
            _, places, _ = halves_of(last - n, i1 - i0, out_w, y_shape[1] * planes[1], stride[0] * y_shape[3], width)
        if REGISTERS == 32 and ROWS < r1 - r0 <= TALL and zipped[0] == 0:
            multiply_tall(out, at, to_row, places, bias, r0, r1 - r0, packed, row, flat, start, from_row, positions, vectors,
                          depth, zipped, streams)
        else:
            multiply(out, at, to_row, places, bias, r0, r1 - r0, packed, row, flat, start, from_row, positions, vectors, depth,
                     zipped, streams)
        if spreads and zipped[0] == 0:
            spread(y, y_shape, product, line, bias, (r0 // taps, r1 // taps), (n, last), (i0, i1), out_w, kernel, stride)
    if streams:
        end_streams()


def run(y, x, weight, bias, kernel, stride, grid, rows, transposes, spreads):
    """out[r, p] = bias[r] + Σ_k weight[r, k] · columns[k, p], for all r < rows and positions p of the grid.

    `transposes`: weight is (rows, depth) in memory, else (depth, rows).  `spreads`: x is the columns, and out goes to where y
    has them; else y is out, and the columns are those of x.
    """
    depth, threads = weight.size // rows, get_num_threads()
    parts = min(-(-weight.size // (2 * CACHED)), -(-rows // ROWS))
    wide = -(-rows // parts) if spreads else depth
    cuts = bands_of(len(x), *grid, min(max(CACHED // wide, 128), 1024))
    all_cuts = -(-len(x) // cuts[0]) * cuts[1]
    unit = ROWS * (kernel[0] * kernel[1] if spreads else 1)
    parts = min(max(parts, -(-threads // max(all_cuts, 1))), -(-rows // unit))
    each_task(compute, threads, (y.ravel(), y.shape, x.ravel(), x.shape, weight.ravel(), bias, kernel, stride, grid, rows,
                                 transposes, spreads, cuts, parts, all_cuts * parts, threads))


def conv2d(y, x, weight, bias, geometry):
    """As `conv.conv2d`."""
    run(y, x, weight, bias, weight.shape[2:], geometry[:2], y.shape[2:], len(weight), True, False)


def conv2d_input_grad(dx, dy, weight, bias, geometry):
    """As `conv.conv2d_input_grad`."""
    kernel, rows = weight.shape[2:], weight[0].size
    run(dx, dy, weight, np.repeat(bias, kernel[0] * kernel[1]), kernel, geometry[:2], dy.shape[2:], rows, False,
        geometry[:2] != (1, 1))


def conv2d_weight_grad(dw, x, dy, geometry):
    """As `conv.conv2d_weight_grad`, for outputs and channels that fill vectors, or few of them and no stride."""
    if fills_panels(len(dw), dw[0].size, lanes_of(x)):
        weigh(dw, x, dy, dw.shape[2:], geometry[:2])
    else:
        product_few.weigh(dw, x, dy)
