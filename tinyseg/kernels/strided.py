"""Convolutions at a stride, and their gradients: vectors run over outputs, and pixels are read one by one.

`conv_direct.py` has vectors of positions.  At stride s these are every s-th pixel of a row, so the image must be sorted first,
and on small maps few vectors are full.  Here a vector holds the same position of `lanes` outputs, and is multiplied with one
pixel, wherever that is: nothing is sorted, and rows may be as short as they like.  With i a position, k = (channel, tap),

    total[i, o]  =  Σ_k flat[positions[i] + offsets[k]] · packed[k, o]               y[o, i]   =  bias[o] + total[i, o]
    total[k, o]  =  Σ_i flat[offsets[k] + positions[i]] · dy[i, o]                   dw[o, k]  =  total[k, o]

The two sums are one, with positions and taps exchanged.  `flat` is the image itself where no tap is beside it, else a copy
with its zeros around it.  A tile holds ROWS positions (or taps) times a *panel*: two vectors of outputs, or one if that is all.

The input gradient at stride s (the forward pass of transposed convolution) is s·s convolutions of dy at stride 1, one for each
phase of the image, as in `conv_direct.py`.  A row of the image is picked from the totals of its phases in turn.

Sums run over k in order, or over parts of the positions that are fixed: the same bits at any number of threads.
"""
from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import get_num_threads

from .bands import CACHED, bands_of, ceil_div
from .conv_direct import kernel_taps, phase_taps
from .inner import inner
from .product_columns import pack_transposed
from .simd import REGISTERS, add_picked, add_tile, lanes, lanes_of, store_tile, zero_tile
from .simd_squares import gather_columns
from .tasks import each_task

ROWS = 9 if REGISTERS == 32 else 4        # 9: the 27 taps of a 3x3 kernel on an image are whole tiles
PAIRS = 2 * ROWS
RUN = 160         # of what is summed: so much of a panel, and the pixels it meets, stay in the first-level cache
BLOCK = 8         # channels whose weights are packed together
TASKS = 8         # of the weight gradient: fixed, since the order of sums depends on it


@inner
def multiply(total, at, flat, rows, cols, panel, start, wide, seen):
    """total[at + (i, o)] = Σ_t flat[rows[i] + cols[t]] · panel[start + (t, o)] for `wide` vectors of o.  `seen`: += it.

    The number of rows is a multiple of ROWS.  A run of t, which stays in the first-level cache, meets all rows.  The two loops
    over t differ in nothing but how many vectors they know of: a number from outside costs them a fifth of their speed.
    """
    width, runs = lanes(flat), max(1, ceil_div(cols.size, RUN))
    for run in range(runs):
        adds, first, last = seen or run > 0, run * cols.size // runs, (run + 1) * cols.size // runs
        for i in range(0, rows.size, ROWS):
            if wide == 2:
                to, pairs = at + i * 2 * width, zero_tile(flat, PAIRS)
                for t in range(first, last):
                    pairs = add_picked(pairs, ROWS, flat, rows, i, cols[t], panel, start + t * 2 * width)
                store_tile(add_tile(pairs, total, to) if adds else pairs, total, to)
            else:
                to, tile = at + i * width, zero_tile(flat, ROWS)
                for t in range(first, last):
                    tile = add_picked(tile, ROWS, flat, rows, i, cols[t], panel, start + t * width)
                store_tile(add_tile(tile, total, to) if adds else tile, total, to)


@inner
def copy_padded(flat, x, shape, images, channels, top, left, rows, pitch):
    """flat[c, n, i, j] = x[n, c, i + top, j + left] for channels and images (first, last), i < rows, j < pitch; 0 beside x.

    All in one function: a call for each row would count references to the arrays, which takes as long as copying.
    """
    height, width, step, at = shape[2], shape[3], lanes(x), 0
    first = min(pitch, max(0, -left))
    last = max(first, min(pitch, width - left))
    for c in range(channels[0], channels[1]):
        for n in range(images[0], images[1]):
            for h in range(top, top + rows):
                inside = last if 0 <= h < height else first
                source = ((n * shape[1] + c) * height + h) * width + left
                for j in range(first):
                    flat[at + j] = 0
                for j in range(first, inside - step + 1, step):
                    store_tile(add_tile(zero_tile(flat, 1), x, source + j), flat, at + j)
                for j in range(inside - (inside - first) % step, inside):
                    flat[at + j] = x[source + j]
                for j in range(inside, pitch):
                    flat[at + j] = 0
                at += pitch


@inner
def band_of(x, shape, images, channels, rows, out_w, kernel, geometry, copies):
    """(flat, where it begins, how far apart its rows, channels, images are): what is under the taps for some output rows."""
    stride_h, stride_w, top, left, dilation_h, dilation_w = geometry
    if not copies:
        area = shape[2] * shape[3]
        return x, (images[0] * shape[1] + channels[0]) * area + rows[0] * stride_h * shape[3], shape[3], area, shape[1] * area
    pitch = (out_w - 1) * stride_w + (kernel[1] - 1) * dilation_w + 1
    seen = (rows[1] - rows[0] - 1) * stride_h + (kernel[0] - 1) * dilation_h + 1
    many, plane = images[1] - images[0], seen * pitch
    flat = np.empty((channels[1] - channels[0]) * many * plane, x.dtype)
    copy_padded(flat, x, shape, images, channels, rows[0] * stride_h - top, -left, seen, pitch)
    return flat, 0, pitch, many * plane, plane


@inner
def positions_of(start, images, rows, out_w, image, pitch, stride):
    """start + n·image + i·s·pitch + j·s for n < images, i < rows, j < out_w; the last is repeated to whole tiles."""
    positions = np.empty(ceil_div(images * rows * out_w, ROWS) * ROWS, np.int64)
    k = 0
    for n in range(images):
        for i in range(rows):
            for j in range(out_w):
                positions[k] = start + n * image + i * stride[0] * pitch + j * stride[1]
                k += 1
    positions[k:] = positions[k - 1]
    return positions


@inner
def offsets_of(channels, taps, pitch, plane, dilation):
    """c·plane + u·d·pitch + v·d for every tap (c, u, v); zeros behind them fill up a tile."""
    offsets = np.zeros(ceil_div(channels * len(taps), ROWS) * ROWS, np.int64)
    k = 0
    for c in range(channels):
        for t in range(len(taps)):
            offsets[k] = c * plane + taps[t, 1] * dilation[0] * pitch + taps[t, 2] * dilation[1]
            k += 1
    return offsets


@inner
def pack(task, packed, weight, taps, firsts, outputs, channels, out_step, in_step):
    """packed[at + (c, t, o)] = weight[o·out_step + c·in_step + taps[t]] for a panel of outputs o and BLOCK channels c."""
    width = lanes(packed)
    vectors, blocks = ceil_div(outputs, width), ceil_div(channels, BLOCK)
    n, first = task // blocks * 2, task % blocks * BLOCK
    wide = min(2, vectors - n) * width
    for p in range(len(firsts) - 1):
        here = taps[firsts[p]:firsts[p + 1]]
        for c in range(first, min(channels, first + BLOCK)):
            at = (firsts[p] * vectors + n * len(here)) * channels * width + c * len(here) * wide
            for t in range(len(here)):
                source = n * width * out_step + c * in_step + here[t, 0]
                for o in range(wide):
                    packed[at + o] = weight[source + o * out_step] if n * width + o < outputs else 0
                at += wide


@inner
def pick_places(places, first, last, width, up, row0, out_w, step, phase):
    """places[(h, w)] = where position (h // s, w // s) of phase (h mod s, w mod s) is, for rows first ≤ h < last."""
    for h in range(first, last):
        row = h % up[0] * up[1] * phase + (h // up[0] - row0) * out_w * step
        for q in range(up[1]):
            for j in range(ceil_div(width - q, up[1])):
                places[(h - first) * width + j * up[1] + q] = row + q * phase + j * step


@inner
def correlate_band(task, y, y_shape, x, x_shape, packed, bias, taps, firsts, kernel, geometry, up, grid, cuts, parts, copies):
    """A task owns some panels of outputs for a band of rows of one image, or for some whole images."""
    width, phases, (out_h, out_w), (outputs, height, wide) = lanes(y), up[0] * up[1], grid, y_shape[1:]
    vectors, channels, (cut, part) = ceil_div(outputs, width), x_shape[1], (task // parts, task % parts)
    panels = ceil_div(vectors, 2)
    n, band = cut // cuts[1] * cuts[0], cut % cuts[1]
    images, rows = (n, min(x_shape[0], n + cuts[0])), (band * out_h // cuts[1], (band + 1) * out_h // cuts[1])
    many, tall = images[1] - images[0], rows[1] - rows[0]
    flat, start, pitch, plane, image = band_of(x, x_shape, images, (0, channels), rows, out_w, kernel, geometry, copies)
    positions = positions_of(start, many, tall, out_w, image, pitch, geometry)
    total = np.empty(phases * positions.size * 2 * width, y.dtype)
    first, last = rows[0] * up[0], min(height, rows[1] * up[0])
    places = np.empty((last - first) * wide, np.int64)
    for v in range(part * panels // parts * 2, min(vectors, (part + 1) * panels // parts * 2), 2):
        step = min(2, vectors - v) * width
        for p in range(phases):
            here = taps[firsts[p]:firsts[p + 1]]
            offsets = offsets_of(channels, here, pitch, plane, geometry[4:])[:channels * len(here)]
            multiply(total, p * positions.size * step, flat, positions, offsets, packed,
                     (firsts[p] * vectors + v * len(here)) * channels * width, step // width, False)
        pick_places(places, first, last, wide, up, rows[0], out_w, step, positions.size * step)
        for m in range(many):
            for o in range(v * width, min(outputs, v * width + step), width):
                at = (((n + m) * outputs + o) * height + first) * wide
                for k in range(0, places.size, width):
                    k = min(k, places.size - width)
                    gather_columns(y, at + k, height * wide, min(width, outputs - o), bias, o, total, places, k,
                                   m * tall * out_w * step + o - v * width)


@lru_cache(maxsize=1024)
def plan(y_shape, x_shape, kernel, geometry, up, width, threads):
    """(grid, vectors of outputs, (images, bands) of a task, parts of the outputs, tasks, copies): how work is divided."""
    batch, channels = x_shape[:2]
    grid = -(-y_shape[2] // up[0]), -(-y_shape[3] // up[1])
    vectors = -(-y_shape[1] // width)
    each = channels * geometry[0] * geometry[1] + up[0] * up[1] * min(vectors, 2) * width
    most = 768 if channels < width else 2048                  # rows that two bands copy are short where channels are few
    many, bands = bands_of(batch, *grid, min(max(2 * CACHED // each, 256), most))
    share = -(-batch // threads)
    if many > share and share * grid[0] * grid[1] >= 64:
        many = share
    cuts = -(-batch // many) * bands
    parts = 1 if cuts % threads == 0 else min(-(-vectors // 2), -(-2 * threads // max(cuts, 1)))
    return grid, vectors, (many, bands), parts, cuts * parts, sees_beside(x_shape, grid, kernel, geometry)


def correlate(y, x, weight, bias, taps, firsts, kernel, geometry, out_step, in_step, up):
    """As `conv_direct.correlate`, without groups, for images of at least `lanes` pixels."""
    outputs, channels, width = y.shape[1], x.shape[1], lanes_of(y)
    grid, vectors, cuts, parts, tasks, copies = plan(y.shape, x.shape, kernel, geometry, up, width, get_num_threads())
    packed = np.empty(len(taps) * channels * vectors * width, weight.dtype)
    each_task(pack, -(-vectors // 2) * -(-channels // BLOCK),
              (packed, weight, taps, firsts, outputs, channels, out_step, in_step))
    each_task(correlate_band, tasks, (y.ravel(), y.shape, x.ravel(), x.shape, packed, bias, taps, firsts, kernel, geometry, up,
                                      grid, cuts, parts, copies))


def sees_beside(shape, grid, kernel, geometry):
    """Is a tap beside the image at some position of the grid?"""
    return geometry[2:4] != (0, 0) or any((out - 1) * s + d * (k - 1) >= size for size, out, k, s, d in
                                          zip(shape[2:], grid, kernel, geometry[:2], geometry[4:]))


# The weight gradient --------------------------------------------------------------------------------------------------

@inner
def weigh_bands(task, total, size, x, x_shape, dy, dy_shape, taps, kernel, geometry, pieces, sums, cuts, copies):
    """A task owns some channels, and goes through a part of the bands for them."""
    width, (outputs, out_h, out_w), channels, (many, bands) = lanes(x), dy_shape[1:], x_shape[1], cuts
    all_cuts, vectors, area = ceil_div(x_shape[0], many) * bands, ceil_div(outputs, width), out_h * out_w
    s, piece = task // pieces, task % pieces
    owned = (piece * channels // pieces, (piece + 1) * channels // pieces)
    room = ceil_div((owned[1] - owned[0]) * len(taps), ROWS) * ROWS
    upstream = np.empty(many * ceil_div(out_h, bands) * out_w * vectors * width, x.dtype)
    for cut in range(s * all_cuts // sums, (s + 1) * all_cuts // sums):
        n, band = cut // bands * many, cut % bands
        images, rows = (n, min(x_shape[0], n + many)), (band * out_h // bands, (band + 1) * out_h // bands)
        flat, start, pitch, plane, image = band_of(x, x_shape, images, owned, rows, out_w, kernel, geometry, copies)
        count = (rows[1] - rows[0]) * out_w
        positions = positions_of(start, images[1] - n, rows[1] - rows[0], out_w, image, pitch, geometry)
        positions = positions[:(images[1] - n) * count]
        offsets = offsets_of(owned[1] - owned[0], taps, pitch, plane, geometry[4:])
        for v in range(0, vectors, 2):
            step = min(2, vectors - v) * width
            at = v * width * positions.size
            for m in range(images[1] - n):
                source = ((n + m) * outputs + v * width) * area + rows[0] * out_w
                pack_transposed(upstream[at + m * count * step:], step, dy, source, area, min(step, outputs - v * width),
                                count)
            multiply(total, task * size + v * width * room, flat, offsets, positions, upstream, at, step // width,
                     cut > s * all_cuts // sums)


@inner
def collect(task, dw, total, size, outputs, channels, columns, pieces, sums):
    """dw[o, k] for as many taps k of one piece as a vector has lanes, added up from the parts of the sums."""
    width, piece, vectors = lanes(dw), task % pieces, ceil_div(outputs, lanes(dw))
    first, last = piece * channels // pieces * columns, (piece + 1) * channels // pieces * columns
    start, room, taps = task // pieces * width, ceil_div(last - first, ROWS) * ROWS, channels * columns
    count, nothing = min(width, last - first - start), np.zeros(width, dw.dtype)
    for v in range(0, vectors, 2):
        step = min(2, vectors - v) * width
        at = piece * size + v * width * room + start * step
        for k in range(0, count * step, width):
            tile = zero_tile(dw, 1)
            for s in range(sums):
                tile = add_tile(tile, total, at + k + s * pieces * size)
            store_tile(tile, total, at + k)
        for o in range(v * width, min(outputs, v * width + step), width):
            to, rows, of = o * taps + first + start, min(width, outputs - o), at + o - v * width
            if count == width:
                gather_columns(dw, to, taps, rows, nothing, 0, total, np.arange(width) * step, 0, of)
            else:
                for i in range(rows):
                    for k in range(count):
                        dw[to + i * taps + k] = total[of + k * step + i]


def conv2d(y, x, weight, bias, geometry):
    """As `conv.conv2d`, without groups."""
    channels, *kernel = weight.shape[1:]
    area = kernel[0] * kernel[1]
    correlate(y, x, weight.ravel(), bias, *kernel_taps(*kernel), tuple(kernel), geometry, channels * area, area, (1, 1))


def conv2d_input_grad(dx, dy, weight, bias, geometry):
    """As `conv.conv2d_input_grad`, without groups."""
    channels, *kernel = weight.shape[1:]
    taps, firsts, reach, (top, left) = phase_taps(tuple(kernel), geometry[:2], geometry[2:4], geometry[4:])
    area = kernel[0] * kernel[1]
    correlate(dx, dy, weight.ravel(), bias, taps, firsts, reach, (1, 1, top, left, 1, 1), area, channels * area, geometry[:2])


@lru_cache(maxsize=1024)
def plan_to_weigh(dw_shape, x_shape, dy_shape, geometry, width):
    """(values of a part of the sum, pieces of the channels, parts of the sum, (images, bands) of a cut, copies)."""
    (outputs, channels, *kernel), batch, grid = dw_shape, x_shape[0], dy_shape[2:]
    taps, each = kernel[0] * kernel[1], channels * geometry[0] * geometry[1] + outputs
    cuts = bands_of(batch, *grid, min(max(2 * CACHED // each, 256), 1024, max(batch * grid[0] * grid[1] // 4, 128)))
    sums = max(1, min(TASKS, (1 << 19) // (outputs * channels * taps), -(-batch // cuts[0]) * cuts[1]))
    pieces = -(-channels // -(-channels // min(channels, -(-TASKS // sums))))
    size = -(-(-(-channels // pieces)) * taps // ROWS) * ROWS * -(-outputs // width) * width
    return size, pieces, sums, cuts, sees_beside(x_shape, grid, kernel, geometry)


def conv2d_weight_grad(dw, x, dy, geometry):
    """As `conv.conv2d_weight_grad`, without groups."""
    (outputs, channels, *kernel), width = dw.shape, lanes_of(x)
    taps = kernel_taps(*kernel)[0]
    size, pieces, sums, cuts, copies = plan_to_weigh(dw.shape, x.shape, dy.shape, geometry, width)
    total = (np.empty if len(x) else np.zeros)(sums * pieces * size, dw.dtype)
    each_task(weigh_bands, sums * pieces, (total, size, x.ravel(), x.shape, dy.ravel(), dy.shape, taps, tuple(kernel), geometry,
                                           pieces, sums, cuts, copies))
    squares = -((-channels // pieces) * len(taps) // width)
    each_task(collect, pieces * squares, (dw.ravel(), total, size, outputs, channels, len(taps), pieces, sums))
