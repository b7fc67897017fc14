"""Convolutions whose taps share no pixel: 1x1, or a kernel no larger than the stride, without padding.  Plain matrix products.

Each pixel of the image is under one tap k = (c, u, v) at most, so its pixels are a matrix in another order, nothing twice:

    columns[k, p]  =  x[n, c, i·s + u, j·s + v]                               p = (n, i, j),   u, v < K ≤ s
    y[n, o, i, j]  =  bias[o] + Σ_k weight[o, k] · columns[k, p]
    dx[n, c, i·s + u, j·s + v]  =  bias[c] + Σ_o weight[o, k] · dy[n, o, i, j]          (bias[c] alone under no tap)

At stride 1 nothing is moved: row k is channel k of the image itself, `step` behind the one before.  At others the columns of some
positions are gathered first; the gradient's are computed first, and spread then.  In all of these a task computes, for some
rows r and the vectors v of some positions, on tiles of ROWS x COLS,

    out[r, places[v] + l]  =  bias[r] + Σ_k packed[k, r] · flat[k·step + positions[v] + l],         l < lanes

where `packed` has the weights in the order of multiplication.  Sums run over k in order, however the work is divided: the
same bits at any number of threads.  The weight gradient is in `product_weights.py`.
"""
from __future__ import annotations

import numpy as np
from numba import get_num_threads, njit, prange

from .bands import bands_of, ceil_div, places_of
from .product_columns import gather, halves_of, pack, spread, zips
from .product_weights import conv2d_weight_grad
from .simd import REGISTERS, add_products, lanes, store_rows, zero_tile
from .simd_pairs import store_zipped

ROWS, COLS = (6, 4) if REGISTERS == 32 else (4, 3)
TILE = ROWS * COLS
CACHED = 1 << 16           # values of each of the arrays that a task works on: together they stay in the second-level cache


@njit(cache=True)
def multiply(out, at, out_pitch, places, bias, first, rows, packed, pitch, flat, origin, step, positions, vectors, depth, zipped):
    """out[at + r·out_pitch + places[v] …] = bias[first + r] + Σ_k packed[k, r] · flat[origin + k·step + positions[v] …]

    `zipped`: where two rows r make one of the image, its (height of a kernel, values of a plane, of a row); else zeros.
    """
    for v in range(0, vectors, COLS):
        for r in range(0, rows, ROWS):
            tile, count = zero_tile(flat, TILE), min(ROWS, rows - r)
            for k in range(depth):
                tile = add_products(tile, ROWS, packed, k * pitch + r, flat, positions, v, origin + k * step)
            if zipped[0] > 0:
                store_zipped(tile, ROWS, out, at, zipped[0], zipped[1], zipped[2], places, v, bias, first + r, count)
            else:
                store_rows(tile, ROWS, out, at + r * out_pitch, out_pitch, places, v, bias, first + r, count)


@njit(cache=True)
def compute(y, y_shape, x, x_shape, weight, bias, kernel, stride, grid, rows, row_step, step, spreads, cuts, parts, first, last):
    """Tasks first ≤ task < last, each a part of the rows for some positions: rows of some images, as `bands_of` cuts them."""
    (out_h, out_w), (many, bands) = grid, cuts
    area, depth, taps, gathers = out_h * out_w, weight.size // rows, kernel[0] * kernel[1], not spreads and stride != (1, 1)
    unit = ROWS * taps if spreads else ROWS                      # parts have whole tiles, and all taps of a channel
    units, all_cuts = ceil_div(rows, unit), ceil_div(x_shape[0], many) * bands
    most, longest = ceil_div(units, parts) * unit, many * ceil_div(out_h, bands) * out_w
    pitch = (ceil_div(most, lanes(y)) | 1) * lanes(y)            # an odd number of vectors: not all in the same cache sets
    zipped = (kernel[0], y_shape[2] * y_shape[3], y_shape[3]) if spreads and zips(kernel, stride, out_w, lanes(y)) else (0, 0, 0)
    packed, packed_part = np.empty(depth * pitch + ROWS, y.dtype), -1
    columns = np.empty(depth * longest if gathers else 0, y.dtype)
    product = np.empty(most * longest if spreads and zipped[0] == 0 else 0, y.dtype)
    line = np.empty(longest * stride[1] if spreads else 0, y.dtype)
    for task in range(first, last):
        part, cut = task // all_cuts, task % all_cuts
        r0, r1 = part * units // parts * unit, min(rows, (part + 1) * units // parts * unit)
        if part != packed_part:
            pack(packed, 0, pitch, weight, r0 * row_step, r1 - r0, depth, row_step, step)
            packed_part = part
        n, band = cut // bands * many, cut % bands
        images, i = (n, min(x_shape[0], n + many)), (band * out_h // bands, (band + 1) * out_h // bands)
        plane = (i[1] - i[0]) * out_w
        count = (images[1] - images[0]) * plane
        flat, origin, from_channel, from_image = x, n * x_shape[1] * area + i[0] * out_w, area, x_shape[1] * area
        if gathers:
            gather(columns, x, x_shape, images, (0, x_shape[1]), i, out_w, kernel, stride)
            flat, origin, from_channel, from_image = columns, 0, count, plane
        out, at, to_channel, to_image = y, (n * rows + r0) * area + i[0] * out_w, area, rows * area
        if spreads:
            out, at, to_channel, to_image = product, 0, count, plane
        positions, places, vectors = places_of(images[1] - images[0], i[1] - i[0], out_w, out_w, from_image, to_image, lanes(y),
                                               zipped[0] > 0 and out_w >= lanes(y))
        if zipped[0] > 0:
            _, places, vectors = halves_of(images[1] - images[0], i[1] - i[0], out_w, y_shape[1] * zipped[1],
                                           stride[0] * zipped[2], lanes(y))
            out, at = y, n * y_shape[1] * zipped[1] + i[0] * stride[0] * zipped[2]
        multiply(out, at, to_channel, places, bias, r0, r1 - r0, packed, pitch, flat, origin, from_channel, positions, vectors,
                 depth, zipped)
        if spreads and zipped[0] == 0:
            spread(y, y_shape, product, line, bias, (r0 // taps, r1 // taps), images, i, out_w, kernel, stride)


@njit(cache=True, parallel=True, nogil=True)
def run(y, x, weight, bias, kernel, stride, grid, rows, row_step, step, spreads, threads):
    """out[r, p] = bias[r] + Σ_k weight[r·row_step + k·step] · columns[k, p], for all r < rows and positions p of the grid.

    `spreads`: x is the columns, and out goes to where y has them.  Else y is out, and columns are those of x.
    """
    depth = weight.size // rows
    parts = min(ceil_div(weight.size, 2 * CACHED), ceil_div(rows, ROWS))
    wide = ceil_div(rows, parts) if spreads else depth
    cuts = bands_of(len(x), grid[0], grid[1], min(max(CACHED // wide, 128), 1024))
    all_cuts = ceil_div(len(x), cuts[0]) * cuts[1]
    unit = ROWS * (kernel[0] * kernel[1] if spreads else 1)
    parts = min(max(parts, ceil_div(threads, max(all_cuts, 1))), ceil_div(rows, unit))
    flat_y, flat_x, tasks = y.reshape(y.size), x.reshape(x.size), all_cuts * parts
    for worker in prange(threads):
        compute(flat_y, y.shape, flat_x, x.shape, weight, bias, kernel, stride, grid, rows, row_step, step, spreads, cuts, parts,
                worker * tasks // threads, (worker + 1) * tasks // threads)


def conv2d(y, x, weight, bias, geometry):
    """As `conv.conv2d`."""
    depth = weight[0].size
    run(y, x, weight.ravel(), bias, weight.shape[2:], geometry[:2], y.shape[2:], len(weight), depth, 1, False, get_num_threads())


def conv2d_input_grad(dx, dy, weight, bias, geometry):
    """As `conv.conv2d_input_grad`."""
    kernel, stride, rows = weight.shape[2:], geometry[:2], weight[0].size
    run(dx, dy, weight.ravel(), np.repeat(bias, kernel[0] * kernel[1]), kernel, stride, dy.shape[2:], rows, 1, rows,
        stride != (1, 1), get_num_threads())
