"""Convolution tap by tap: where zeros around the image are much of what taps see, as at large rates and under large kernels.

At rate 24 on a map of 16 x 16, a 3x3 kernel has one tap that ever meets the image.  So the convolution is taken for a sum of
1x1 convolutions, one for each tap (u, v), each only where the image, moved under the tap, overlaps the output:

    y[n, o, i, j]  +=  Σ_c weight[o, c, u, v] · x[n, c, i·s + u·d - p, j·s + v·d - p]            where x has that pixel

The pixels of an overlap, of all its rows and images, stand side by side in full vectors, v, however small it is; what comes
out is added to y in runs of positions that follow one another there:

    sums[o, v, l]  =  Σ_c weight[o, c, u, v] · flat[v, c, l]          flat[v, c, l] = x[c, froms[v, l]],         l < lanes

With the roles of x and y exchanged, and the weights transposed, this is the gradient of x.  Weights are read where they are: a
tap's stand KH·KW apart, but the next taps find theirs in the same cache lines.  Their gradient is in `taps_weights.py`.

Sums run over the channels of a tap in blocks, and over taps in order, however the work is divided: the same bits at any number
of threads.  What the definition multiplies with zeros around the image is left out, as it is in PyTorch: a weight that is
infinite or NaN does not show where its tap sees no pixel.
"""
from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import get_num_threads

from .bands import bands_of, ceil_div, covered
from .inner import inner
from .simd import add_run, copy_run, lanes, store_tile, zero_tile
from .tasks import each_task
from .taps_weights import COLS, ROWS, TILE, accumulate, weigh

DEPTH = 128                              # channels at a time
CACHED = 1 << 18                         # values that a task works on: they stay in the second-level cache


@lru_cache(maxsize=64)
def live_taps(image, output, kernel, geometry):
    """(T, 7): the taps with an overlap: place in a kernel, and per axis the overlap's size, first output, first pixel."""
    axes = []
    for size, out, k, stride, padding, dilation in zip(image, output, kernel, *(geometry[a:a + 2] for a in (0, 2, 4))):
        overlaps = [covered(u * dilation - padding, out, size, stride) for u in range(k)]
        axes.append([(u, last - first, first, first * stride + u * dilation - padding)
                     for u, (first, last) in enumerate(overlaps) if first < last])
    taps = [(u * kernel[1] + v, *rows, *cols) for u, *rows in axes[0] for v, *cols in axes[1]]
    return np.array(taps, np.int64).reshape(len(taps), 7)


@lru_cache(maxsize=64)
def live_products(*shapes):
    """How many pairs of a tap and an output see a pixel."""
    return int((live_taps(*shapes)[:, 1] * live_taps(*shapes)[:, 4]).sum())


@inner
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


@inner
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


@inner
def fetch(unused, weight, start, row, step, deep):
    """Read the weights of a block once in their order, which memory is made for, before the taps go through them in theirs."""
    pieces, each, length = (ROWS, row, deep * step) if row > step else (deep, step, ROWS * row)
    total = weight[start]
    for k in range(pieces):
        for i in range(0, length, lanes(weight)):
            total += weight[start + k * each + i]
    unused[-1] = total


@inner
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


@inner
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


@inner
def convolve_task(task, y, x, weight, bias, taps, up, step, row_step, in_step, many, bands, parts):
    """A task owns some outputs for a band of rows of an image, or for some images."""
    (cut, part), blocks = (task // parts, task % parts), ceil_div(y.shape[1], ROWS)
    n, band, height = cut // bands * many, cut % bands, y.shape[2]
    convolve_part(y.reshape(y.size), y.shape, x.reshape(x.size), x.shape, weight, bias, taps, up, step, row_step, in_step,
                  (n, min(len(x), n + many)), (band * height // bands, (band + 1) * height // bands),
                  (part * blocks // parts * ROWS, min(y.shape[1], (part + 1) * blocks // parts * ROWS)))


def convolve(y, x, weight, bias, taps, up, step, row_step, in_step):
    """y[n, o, i·up + to] = bias[o] + Σ_tc weight[o·row_step + c·in_step + tap t] · x[n, c, i·step + from], `taps` as above.

    x (N, C, H, W), y (N, O, HO, WO), bias (O,).
    """
    (batch, outputs, height, wide), threads = y.shape, get_num_threads()
    values = int((taps[:, 1] * taps[:, 4]).sum()) * min(x.shape[1], DEPTH) // (height * wide) + outputs     # for a position
    many, bands = bands_of(batch, height, wide, CACHED // values + 1)
    if bands > 1:
        bands = min(height, -(-bands // threads) * threads)
    cuts, parts = -(-batch // many) * bands, 1
    while cuts * parts % threads and parts < outputs // ROWS:
        parts += 1
    each_task(convolve_task, cuts * parts, (y, x, weight, bias, taps, up, step, row_step, in_step, many, bands, parts))


# The three, with the arguments of conv.py, for one group --------------------------------------------------------------

def conv2d(y, x, weight, bias, geometry):
    """As `conv.conv2d`."""
    channels, *kernel = weight.shape[1:]
    area = kernel[0] * kernel[1]
    taps = live_taps(x.shape[2:], y.shape[2:], tuple(kernel), geometry)
    convolve(y, x, weight.ravel(), bias, taps, (1, 1), geometry[:2], channels * area, area)


def conv2d_input_grad(dx, dy, weight, bias, geometry):
    """As `conv.conv2d_input_grad`."""
    channels, *kernel = weight.shape[1:]
    area = kernel[0] * kernel[1]
    taps = live_taps(dx.shape[2:], dy.shape[2:], tuple(kernel), geometry)
    convolve(dx, dy, weight.ravel(), bias, np.ascontiguousarray(taps[:, [0, 1, 3, 2, 4, 6, 5]]), geometry[:2], (1, 1), area,
             channels * area)


def conv2d_weight_grad(dw, x, dy, geometry):
    """As `conv.conv2d_weight_grad`."""
    taps = live_taps(x.shape[2:], dy.shape[2:], dw.shape[2:], geometry)
    weigh(dw, x, dy, taps, geometry[:2])
