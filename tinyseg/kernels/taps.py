"""Convolution tap by tap: where zeros around the image are much of what taps see, as at large rates and under large kernels.

At rate 24 on a map of 16 x 16, a 3x3 kernel has one tap that ever meets the image.  So the convolution is taken for a sum of
1x1 convolutions, one for each tap (u, v), each only where the image, moved under the tap, overlaps the output:

    y[n, o, i, j]  +=  Σ_c weight[o, c, u, v] · x[n, c, i·s + u·d - p, j·s + v·d - p]            where x has that pixel

The pixels of an overlap, of all its rows and images, stand side by side in full vectors, v, however small it is; what comes
out is added to y in runs of positions that follow one another there:

    sums[o, v, l]  =  Σ_c weight[o, c, u, v] · flat[v, c, l]          flat[v, c, l] = x[c, froms[v, l]],         l < lanes

With the roles of x and y exchanged, and the weights transposed, this is the gradient of x.  That of a tap's weights is Σ dy·x
over the same overlap; there vectors run over channels, so that an overlap need not fill any.  Weights are read where they
are: a tap's stand KH·KW apart, but the next taps find theirs in the same cache lines.

Sums run over the channels of a tap in blocks, and over taps in order, however the work is divided: the same bits at any number
of threads.  What the definition multiplies with zeros around the image is left out, as it is in PyTorch: a weight that is
infinite or NaN does not show where its tap sees no pixel.
"""
from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import get_num_threads, njit, prange

from .bands import bands_of, ceil_div, covered
from .simd import REGISTERS, add_outer, add_run, add_tile, copy_run, lanes, store_tile, zero_tile

ROWS = 8 if REGISTERS == 32 else 4       # outputs of a register tile, with three vectors for each, or with the last ones alone
COLS = 3
TILE = ROWS * COLS
DEPTH = 128                              # channels at a time
CACHED = 1 << 18                         # values that a task works on: they stay in the second-level cache
RUN = 1024                               # positions to sum before a sum is added to that of the others


@lru_cache(maxsize=64)
def live_taps(image, output, kernel, geometry):
    """(T, 7): the taps with an overlap: place in a kernel, and per axis the overlap's size, first output, first pixel."""
    axes = []
    for size, out, k, stride, padding, dilation in zip(image, output, kernel, *(geometry[a:a + 2] for a in (0, 2, 4))):
        overlaps = [covered.py_func(u * dilation - padding, out, size, stride) for u in range(k)]
        axes.append([(u, last - first, first, first * stride + u * dilation - padding)
                     for u, (first, last) in enumerate(overlaps) if first < last])
    taps = [(u * kernel[1] + v, *rows, *cols) for u, *rows in axes[0] for v, *cols in axes[1]]
    return np.array(taps, np.int64).reshape(len(taps), 7)


@lru_cache(maxsize=64)
def live_products(*shapes):
    """How many pairs of a tap and an output see a pixel."""
    return int((live_taps(*shapes)[:, 1] * live_taps(*shapes)[:, 4]).sum())


@njit(cache=True)
def accumulate(tile, a, at, row, step, x, start, pitch, x_step, count):
    """tile[r, n] + Σ_k a[at + r·row + k·step] · x[start + n·pitch + k·x_step …],         k < count"""
    for k in range(count):
        tile = add_outer(tile, ROWS, a, at + k * step, row, x, start + k * x_step, pitch)
    return tile


# Forward, and the gradient of x ---------------------------------------------------------------------------------------

@njit(cache=True)
def list_groups(taps, up, step, to_w, from_w, image, images, rows, width):
    """(groups, runs, froms) for target rows (first, last) of so many images, which are `image` pixels apart.

    groups[g]: a tap, the first of its one or COLS vectors, how many they are, their first run; one more row for the end.
    runs[k]: a first target (numbered within the rows), its place in the group, and how many targets follow one another.
    """
    first, last = rows
    area, cells = (last - first) * to_w, 0
    begins, counts = np.empty(len(taps), np.int64), np.empty(len(taps), np.int64)
    for t in range(len(taps)):
        begins[t] = max(0, ceil_div(first - taps[t, 2], up[0]))
        counts[t] = max(0, min(taps[t, 1], ceil_div(last - taps[t, 2], up[0])) - begins[t])
        cells += images * counts[t] * taps[t, 4]
    groups, runs = np.empty((cells // width + len(taps) + 1, 4), np.int64), np.empty((cells, 3), np.int64)
    froms = np.full(cells + len(taps) * width, -1)
    g = k = at = 0
    for t in range(len(taps)):
        vectors, place = ceil_div(images * counts[t] * taps[t, 4], width), 0
        at, left = ceil_div(at, width) * width, 0
        for n in range(images):
            for i in range(begins[t], begins[t] + counts[t]):
                to = n * area + (taps[t, 2] + i * up[0] - first) * to_w + taps[t, 5]
                of = n * image + (taps[t, 3] + i * step[0]) * from_w + taps[t, 6]
                for j in range(taps[t, 4]):
                    if left == 0:
                        count = COLS if vectors >= COLS else 1
                        groups[g, 0], groups[g, 1], groups[g, 2], groups[g, 3] = t, at // width, count, k
                        g, left, vectors, place = g + 1, count * width, vectors - count, 0
                    if place > 0 and runs[k - 1, 0] + runs[k - 1, 2] == to:
                        runs[k - 1, 2] += 1
                    else:
                        runs[k, 0], runs[k, 1], runs[k, 2] = to, place, 1
                        k += 1
                    froms[at] = of
                    to, of, at, left, place = to + up[1], of + step[1], at + 1, left - 1, place + 1
    groups[g, 3] = k
    return groups[:g + 1], runs, froms[:ceil_div(at, width) * width]


@njit(cache=True)
def gather(flat, froms, x, at, area, channels):
    """flat[v, c, l] = x[at + c·area + froms[v, l]], but where froms is negative.

    Whole vectors are copied, from each lane whose pixel does not follow that of the lane before: later ones replace what is
    too much in earlier ones.
    """
    width, to = lanes(flat), 0
    starts = np.empty(width, np.int64)
    for v in range(0, froms.size, width):
        pieces = 0
        for k in range(width):
            if froms[v + k] >= 0 and (k == 0 or froms[v + k] != froms[v + k - 1] + 1):
                starts[pieces] = k
                pieces += 1
        for c in range(channels):
            for k in starts[:pieces]:
                of = at + c * area + froms[v + k]
                if of + width <= x.size:
                    copy_run(flat, to + k, x, of, width)
                else:
                    copy_run(flat, to + k, x, of, min(width - k, x.size - of))
            to += width


@njit(cache=True)
def fetch(unused, weight, start, row, step, deep):
    """Read the weights of a block once in their order, which memory is made for, before the taps go through them in theirs."""
    pieces, each, length = (ROWS, row, deep * step) if row > step else (deep, step, ROWS * row)
    total = weight[start]
    for k in range(pieces):
        for i in range(0, length, lanes(weight)):
            total += weight[start + k * each + i]
    unused[-1] = total


@njit(cache=True)
def multiply(block, at, pitch, groups, runs, flat, deep, weight, start, row, step, taps):
    """block[r, to] += Σ_c weight[start + r·row + c·step + tap] · flat[v, c, l] for all groups of vectors."""
    width = lanes(flat)
    pitch_x, sums = deep * width, np.empty((TILE + 1) * width, flat.dtype)
    for g in range(len(groups) - 1):
        tap, v, count = groups[g, 0], groups[g, 1], groups[g, 2]
        of = start + taps[tap, 0]
        if count == COLS:
            wide = accumulate(zero_tile(flat, TILE), weight, of, row, step, flat, v * pitch_x, pitch_x, width, deep)
            store_tile(wide, sums, 0)
        else:
            slim = accumulate(zero_tile(flat, ROWS), weight, of, row, step, flat, v * pitch_x, pitch_x, width, deep)
            store_tile(slim, sums, 0)
        for k in range(groups[g, 3], groups[g + 1, 3]):
            to, place, length = at + runs[k, 0], runs[k, 1], runs[k, 2]
            for r in range(ROWS):
                for i in range(0, length, width):
                    add_run(block, to + r * pitch + i, sums, r * count * width + place + i, length - i)


@njit(cache=True)
def convolve_part(y, y_shape, x, x_shape, weight, bias, taps, up, step, row_step, in_step, images, rows, outputs):
    """Outputs (first, last) for rows (first, last) of images (first, last).

    The last ROWS of all outputs begin early, if they must, and what is computed a second time is not used.
    """
    width, channels, area = lanes(x), x_shape[1], x_shape[2] * x_shape[3]
    size, many = (rows[1] - rows[0]) * y_shape[3], images[1] - images[0]
    groups, runs, froms = list_groups(taps, up, step, y_shape[3], x_shape[3], channels * area, many, rows, width)
    flat, pitch = np.zeros(froms.size * min(channels, DEPTH) + width, x.dtype), many * size + width
    block = np.zeros(ceil_div(outputs[1] - outputs[0], ROWS) * ROWS * pitch, x.dtype)
    for c in range(0, channels, DEPTH):
        deep = min(DEPTH, channels - c)
        gather(flat, froms, x, (images[0] * channels + c) * area, area, deep)
        for b in range(outputs[0], outputs[1], ROWS):
            start = min(b, y_shape[1] - ROWS) * row_step + c * in_step
            fetch(block, weight, start, row_step, in_step, deep)
            multiply(block, (b - outputs[0]) * pitch, pitch, groups, runs, flat, deep, weight, start, row_step, in_step, taps)
    for o in range(outputs[0], outputs[1]):
        b = (o - outputs[0]) // ROWS * ROWS + outputs[0]
        row = o - min(b, y_shape[1] - ROWS) + b - outputs[0]
        for n in range(images[0], images[1]):
            at = ((n * y_shape[1] + o) * y_shape[2] + rows[0]) * y_shape[3]
            out, of = y[at:at + size], block[row * pitch + (n - images[0]) * size:]
            for k in range(size):
                out[k] = of[k] + bias[o]


@njit(cache=True, parallel=True, nogil=True)
def convolve(y, x, weight, bias, taps, up, step, row_step, in_step, threads):
    """y[n, o, i·up + to] = bias[o] + Σ_tc weight[o·row_step + c·in_step + tap t] · x[n, c, i·step + from], `taps` as above.

    x (N, C, H, W), y (N, O, HO, WO), bias (O,).  A task owns some outputs for a band of rows of an image, or for some images.
    """
    live = 0
    for t in range(len(taps)):
        live += taps[t, 1] * taps[t, 4]
    all_blocks, area = ceil_div(y.shape[1], ROWS), y.shape[2] * y.shape[3]
    size = CACHED // (live * min(x.shape[1], DEPTH) // area + y.shape[1]) + 1
    many, bands = bands_of(len(x), y.shape[2], y.shape[3], size)
    bands = min(y.shape[2], ceil_div(bands, threads) * threads) if bands > 1 else 1
    cuts = ceil_div(len(x), many) * bands
    parts = 1
    while cuts * parts % threads > 0 and parts < all_blocks:
        parts += 1
    flat_y, flat_x = y.reshape(y.size), x.reshape(x.size)
    for task in prange(cuts * parts):
        cut, part = task // parts, task % parts
        n, band = cut // bands * many, cut % bands
        convolve_part(flat_y, y.shape, flat_x, x.shape, weight, bias, taps, up, step, row_step, in_step,
                      (n, min(len(x), n + many)), (band * y.shape[2] // bands, (band + 1) * y.shape[2] // bands),
                      (part * all_blocks // parts * ROWS, min(y.shape[1], (part + 1) * all_blocks // parts * ROWS)))


# The gradient of the weights ------------------------------------------------------------------------------------------

@njit(cache=True)
def turn(turned, x, shape, vectors):
    """turned[c // lanes, n, h, w, c % lanes] = x[n, c, h, w] for some vectors of channels; 0 for channels beyond the last."""
    width, (batch, channels, height, wide) = lanes(x), shape
    area = height * wide
    for v in range(vectors[0], vectors[1]):
        for n in range(batch):
            to = turned[((v - vectors[0]) * batch + n) * area * width:]
            for k in range(width):
                c = v * width + k
                for i in range(area):
                    to[i * width + k] = x[(n * channels + c) * area + i] if c < channels else 0


@njit(cache=True)
def overlap_of(tile, tap, step, dy, at, dy_shape, turned, start, x_shape, images):
    """tile[r, n] + Σ dy[o + r, …] · turned[v + n, …] over a tap's overlap in images (first, last)."""
    width, (outputs, out_h, out_w), (height, wide) = lanes(turned), dy_shape[1:], x_shape[2:]
    pitch = x_shape[0] * height * wide * width
    for n in range(images[0], images[1]):
        for i in range(tap[1]):
            left = at + (n * outputs * out_h + tap[2] + i) * out_w + tap[5]
            right = start + ((n * height + tap[3] + i * step[0]) * wide + tap[6]) * width
            tile = accumulate(tile, dy, left, out_h * out_w, 1, turned, right, pitch, step[1] * width, tap[4])
    return tile


@njit(cache=True)
def weigh_part(dw, x, x_shape, dy, dy_shape, taps, step, kernel, blocks, vectors):
    """dw for some blocks of outputs and some vectors of channels.  The last block begins early to be a whole one."""
    width, (batch, channels, height, wide), (outputs, out_h, out_w) = lanes(x), x_shape, dy_shape[1:]
    pitch, images = batch * height * wide * width, max(1, RUN // (out_h * out_w))
    turned = np.empty((vectors[1] - vectors[0]) * pitch, x.dtype)
    turn(turned, x, x_shape, vectors)
    sums, kernels = np.zeros(len(taps) * TILE * width, x.dtype), np.zeros(COLS * width * kernel, x.dtype)
    for b in range(blocks[0], blocks[1]):
        o, v = min(b * ROWS, outputs - ROWS), vectors[0]
        while v < vectors[1]:
            at, start = o * out_h * out_w, (v - vectors[0]) * pitch
            count = COLS if v + COLS <= vectors[1] else 1
            for t in range(len(taps)):
                kept = t * ROWS * count * width
                for n in range(0, batch, images):
                    run = n, min(batch, n + images)
                    if count == COLS:
                        wide = overlap_of(zero_tile(x, TILE), taps[t], step, dy, at, dy_shape, turned, start, x_shape, run)
                        store_tile(add_tile(wide, sums, kept) if n > 0 else wide, sums, kept)
                    else:
                        slim = overlap_of(zero_tile(x, ROWS), taps[t], step, dy, at, dy_shape, turned, start, x_shape, run)
                        store_tile(add_tile(slim, sums, kept) if n > 0 else slim, sums, kept)
            for r in range(b * ROWS - o, ROWS):
                for t in range(len(taps)):
                    of = (t * ROWS + r) * count * width
                    for k in range(count * width):
                        kernels[k * kernel + taps[t, 0]] = sums[of + k]
                copy_run(dw, ((o + r) * channels + v * width) * kernel, kernels, 0,
                         min(count * width, channels - v * width) * kernel)
            v += count


@njit(cache=True, parallel=True, nogil=True)
def weigh(dw, x, dy, taps, step, threads):
    """dw[o, c, tap t] = Σ_nij dy[n, o, i, j] x[n, c, i·s + u·d - p, j·s + v·d - p] over the overlap of tap t; 0 for others.

    x (N, C, H, W), dy (N, O, HO, WO), dw (O, C, KH, KW).  A task owns some channels and outputs.
    """
    all_blocks, all_vectors = ceil_div(dw.shape[0], ROWS), ceil_div(dw.shape[1], lanes(x))
    cuts = max(1, min(2 * threads, all_vectors // COLS))
    parts = min(all_blocks, ceil_div(2 * threads, cuts))
    flat_x, flat_dy, flat_dw = x.reshape(x.size), dy.reshape(dy.size), dw.reshape(dw.size)
    for task in prange(cuts * parts):
        cut, part = task // parts, task % parts
        weigh_part(flat_dw, flat_x, x.shape, flat_dy, dy.shape, taps, step, dw.shape[2] * dw.shape[3],
                   (part * all_blocks // parts, (part + 1) * all_blocks // parts),
                   (cut * all_vectors // cuts, (cut + 1) * all_vectors // cuts))


# The three, with the arguments of conv.py, for one group --------------------------------------------------------------

def conv2d(y, x, weight, bias, geometry):
    """As `conv.conv2d`."""
    channels, *kernel = weight.shape[1:]
    area = kernel[0] * kernel[1]
    taps = live_taps(x.shape[2:], y.shape[2:], tuple(kernel), geometry)
    convolve(y, x, weight.ravel(), bias, taps, (1, 1), geometry[:2], channels * area, area, get_num_threads())


def conv2d_input_grad(dx, dy, weight, bias, geometry):
    """As `conv.conv2d_input_grad`."""
    channels, *kernel = weight.shape[1:]
    area = kernel[0] * kernel[1]
    taps = live_taps(dx.shape[2:], dy.shape[2:], tuple(kernel), geometry)
    convolve(dx, dy, weight.ravel(), bias, np.ascontiguousarray(taps[:, [0, 1, 3, 2, 4, 6, 5]]), geometry[:2], (1, 1), area,
             channels * area, get_num_threads())


def conv2d_weight_grad(dw, x, dy, geometry):
    """As `conv.conv2d_weight_grad`."""
    taps = live_taps(x.shape[2:], dy.shape[2:], dw.shape[2:], geometry)
    weigh(dw, x, dy, taps, geometry[:2], get_num_threads())
