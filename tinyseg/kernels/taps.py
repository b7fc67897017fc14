"""Convolution tap by tap: where zeros around the image are much of what taps see, as at large rates and under large kernels.

At rate 24 on a map of 16 x 16, a 3x3 kernel has one tap that ever meets the image.  So the convolution is taken for a sum of
1x1 convolutions, one for each tap (u, v), each only where the image, moved under the tap, overlaps the output:

    y[n, o, i, j]  +=  Σ_c weight[o, c, u, v] · x[n, c, i·s + u·d - p, j·s + v·d - p]            where x has that pixel

As in `strided.py`, vectors run over outputs o, and pixels are read one by one.  So an overlap may have any form and size: it
is a list of pairs, of a pixel and the position that it goes to, over all rows and images, and a tile takes the next PIXELS of
them.  The image is turned first, so that the channels of a pixel lie side by side; the weights of a *panel* of outputs (COLS
vectors of them, or one) are packed in the order of multiplication, tap by tap:

    sums[to[k], o]  +=  Σ_c turned[from[k], c] · packed[t, c, o]

With the roles of x and y exchanged, and the weights transposed, this is the gradient of x.  That of the weights is in
`taps_weights.py`.

Sums run over the channels of a tap in blocks, and over taps in order, however the work is divided: the same bits at any number
of threads.  What the definition multiplies with zeros around the image is left out, as it is in PyTorch: a weight that is
infinite or NaN does not show where its tap sees no pixel.
"""
from __future__ import annotations

from functools import lru_cache
from math import gcd

import numpy as np
from numba import get_num_threads

from .bands import ceil_div, covered
from .inner import inner
from .simd import REGISTERS, add_picked, lanes, lanes_of, store_tile, zero_tile
from .simd_squares import gather_columns, spread_columns
from .taps_weights import pixel_size, turned_of, weigh
from .tasks import each_task

PIXELS = 12 if REGISTERS == 32 else 6    # of a register tile
COLS = 2                                 # and its vectors of outputs, if there are more than one
DEPTH = 128                              # channels at a time, at the most: what a tap multiplies stays in the first-level cache
CACHED = 1 << 18                         # values of packed weights: they stay in the second-level cache


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
def pack(packed, places, weight, start, row, step, outputs, deep, area):
    """packed[places[t] + (c, o)] = weight[start + o·row + c·step + t] for a panel of outputs, `deep` channels, t < area.

    Square by square of outputs and taps; where a square has more taps than there are, these go to places beyond the others.
    """
    width = lanes(weight)
    panel = ceil_div(outputs, width) * width
    for o in range(0, outputs, width):
        count = min(width, outputs - o)
        for c in range(deep):
            of, to = start + o * row + c * step, c * panel + o
            for t in range(0, area, width):
                if of + (count - 1) * row + t + width <= weight.size:
                    spread_columns(packed, places, t, to, weight, of + t, row, count)
                else:
                    for k in range(t, min(area, t + width)):
                        for i in range(count):
                            packed[places[k] + to + i] = weight[of + i * row + k]


@inner
def list_pairs(froms, tos, tap, up, step, rows, size, out_size, pixel):
    """How many pixels a tap meets in rows (first, last) of all images; froms[k] is where in `turned`, tos[k] the position."""
    (height, wide), (out_h, out_w), k = size, out_size, 0
    for row in range(rows[0], rows[1]):
        i = row % out_h - tap[2]
        if i >= 0 and i % up[0] == 0 and i // up[0] < tap[1]:
            of = (row // out_h * height + tap[3] + i // up[0] * step[0]) * wide + tap[6]
            to = (row - rows[0]) * out_w + tap[5]
            for j in range(tap[4]):
                froms[k + j], tos[k + j] = (of + j * step[1]) * pixel, to + j * up[1]
            k += tap[4]
    return k


def multiplier(cols):
    """`multiply` for panels of so many vectors."""
    size = PIXELS * cols

    @inner
    def multiply(sums, tos, turned, froms, pairs, first, last, packed, at, unsorted):
        """sums[tos[k], o] += Σ_c turned[froms[k] + c] · packed[at + (c, o)] for all pairs k, channels first ≤ c < last."""
        panel = cols * lanes(turned)
        for k in range(0, pairs, PIXELS):
            tile = zero_tile(turned, size)
            for c in range(first, last):
                tile = add_picked(tile, PIXELS, turned, froms, k, c, packed, at + (c - first) * panel)
            store_tile(tile, unsorted, 0)
            for r in range(min(PIXELS, pairs - k)):
                to = tos[k + r] * panel
                for o in range(panel):
                    sums[to + o] += unsorted[r * panel + o]
    return multiply


multiply_wide, multiply_slim = multiplier(COLS), multiplier(1)


@inner
def store(y, shape, sums, rows, o, panel, bias):
    """y[n, o …, i] = bias[o …] + sums[(n, i), …] for a panel of outputs and rows (first, last) of all images."""
    width, (_, outputs, out_h, out_w), row, area = lanes(y), shape, rows[0], shape[2] * shape[3]
    places = np.arange(width) * panel
    while row < rows[1]:
        n, i, of = row // out_h, row % out_h, (row - rows[0]) * out_w * panel
        count = min(out_h - i, rows[1] - row)
        for v in range(o, min(outputs, o + panel), width):
            at, many, length = (n * outputs + v) * area + i * out_w, min(width, outputs - v), count * out_w
            for k in range(0, length, width):
                if length >= width:
                    k = min(k, length - width)
                    gather_columns(y, at + k, area, many, bias, v, sums, places, 0, of + k * panel + v - o)
                else:
                    for c in range(many):
                        for j in range(length):
                            y[at + c * area + j] = sums[of + j * panel + v - o + c] + bias[v + c]
        row += count


@inner
def convolve_task(task, y, y_shape, turned, x_shape, weight, bias, taps, area, up, step, row_step, in_step, cuts, parts):
    """A task owns some panels of outputs for some rows of all images."""
    width, (batch, outputs, out_h, out_w), (channels, height, wide) = lanes(y), y_shape, x_shape[1:]
    cut, part, panels, pixel = task // parts, task % parts, ceil_div(outputs, COLS * width), pixel_size(channels, width)
    rows = cut * batch * out_h // cuts, (cut + 1) * batch * out_h // cuts
    positions, most = (rows[1] - rows[0]) * out_w, COLS * width
    depth = min(channels, DEPTH, max(width, CACHED // ((len(taps) + 1) * most)))
    pitch = depth * most + width                                          # a power of two would be the same few cache sets
    packed, places = np.empty((len(taps) + 1) * pitch, y.dtype), np.full(ceil_div(area, width) * width, len(taps) * pitch)
    places[taps[:, 0]] = np.arange(len(taps)) * pitch
    sums, unsorted = np.empty(positions * most, y.dtype), np.empty(PIXELS * most, y.dtype)
    froms, tos = np.zeros(positions + PIXELS, np.int64), np.zeros(positions, np.int64)
    for o in range(part * panels // parts * most, min(outputs, (part + 1) * panels // parts * most), most):
        panel = min(most, ceil_div(outputs - o, width) * width)
        sums[:] = 0
        for c in range(0, channels, depth):
            last = min(channels, c + depth)
            pack(packed, places, weight, o * row_step + c * in_step, row_step, in_step, min(panel, outputs - o), last - c, area)
            for t in range(len(taps)):
                pairs = list_pairs(froms, tos, taps[t], up, step, rows, (height, wide), (out_h, out_w), pixel)
                if panel == most:
                    multiply_wide(sums, tos, turned, froms, pairs, c, last, packed, t * pitch, unsorted)
                else:
                    multiply_slim(sums, tos, turned, froms, pairs, c, last, packed, t * pitch, unsorted)
        store(y, y_shape, sums, rows, o, panel, bias)


def convolve(y, x, weight, bias, taps, area, up, step, row_step, in_step):
    """y[n, o, i·up + to] = bias[o] + Σ_tc weight[o·row_step + c·in_step + tap t] · x[n, c, i·step + from], `taps` as above.

    x (N, C, H, W), y (N, O, HO, WO), bias (O,); area: of a kernel.
    """
    threads = get_num_threads()
    parts = gcd(threads, -(-y.shape[1] // (COLS * lanes_of(y))))
    each_task(convolve_task, threads, (y.ravel(), y.shape, turned_of(x), x.shape, weight, bias, taps, area, up, step, row_step,
                                       in_step, threads // parts, parts))


# The three, with the arguments of conv.py, for one group --------------------------------------------------------------

def conv2d(y, x, weight, bias, geometry):
    """As `conv.conv2d`."""
    channels, *kernel = weight.shape[1:]
    area = kernel[0] * kernel[1]
    taps = live_taps(x.shape[2:], y.shape[2:], tuple(kernel), geometry)
    convolve(y, x, weight.ravel(), bias, taps, area, (1, 1), geometry[:2], channels * area, area)


def conv2d_input_grad(dx, dy, weight, bias, geometry):
    """As `conv.conv2d_input_grad`."""
    channels, *kernel = weight.shape[1:]
    area = kernel[0] * kernel[1]
    taps = live_taps(dx.shape[2:], dy.shape[2:], tuple(kernel), geometry)
    convolve(dx, dy, weight.ravel(), bias, np.ascontiguousarray(taps[:, [0, 1, 3, 2, 4, 6, 5]]), area, geometry[:2], (1, 1),
             area, channels * area)


def conv2d_weight_grad(dw, x, dy, geometry):
    """As `conv.conv2d_weight_grad`."""
    taps = live_taps(x.shape[2:], dy.shape[2:], dw.shape[2:], geometry)
    weigh(dw, x, dy, taps, geometry[:2])
