"""The weight gradient of convolution tap by tap (`taps.py`): for each tap, over its overlap with the image alone,

    dw[o, c, u, v]  =  Σ_nij dy[n, o, i, j] · x[n, c, i·s + u·d - p, j·s + v·d - p]              where x has that pixel

Vectors run over channels c, so an overlap need not fill any: x is turned first, with the channels of a pixel side by side.  A
task owns the weights of some outputs and channels, and sums over all images, in order: the same bits at any number of threads.
"""
from __future__ import annotations

import numpy as np
from numba import get_num_threads

from .bands import ceil_div
from .inner import inner
from .simd import REGISTERS, add_outer, add_tile, copy_run, lanes, lanes_of, store_tile, zero_tile
from .simd_squares import spread_columns
from .tasks import each_task

ROWS = 8 if REGISTERS == 32 else 4       # outputs of a register tile, with three vectors for each, or with the last ones alone
COLS = 3
TILE = ROWS * COLS
RUN = 1024                               # positions to sum before a sum is added to that of the others


@inner
def accumulate(tile, a, at, row, x, start, pitch, x_step, count):
    """tile[r, n] + Σ_k a[at + r·row + k] · x[start + n·pitch + k·x_step …],         k < count"""
    for k in range(count):
        tile = add_outer(tile, ROWS, a, at + k, row, x, start + k * x_step, pitch)
    return tile


@inner
def pixel_size(channels, width):
    """Values from one turned pixel to the next: whole vectors, an odd number of them, or pixels would share few cache sets."""
    return (ceil_div(channels, width) | 1) * width


@inner
def turn(task, turned, x, shape):
    """turned[n, i, c] = x[n, c, i] for a vector of channels c of one image; there may be more in the last one than in x."""
    width, (batch, channels, height, wide) = lanes(x), shape
    (v, n), area, pixel = (task // batch * width, task % batch), height * wide, pixel_size(channels, width)
    count, places = min(width, channels - v), np.arange(width) * pixel
    to, of = n * area * pixel + v, (n * channels + v) * area
    for i in range(0, area, width):
        if i + width <= area:
            spread_columns(turned, places, 0, to + i * pixel, x, of + i, area, count)
        else:
            for j in range(i, area):
                for c in range(count):
                    turned[to + j * pixel + c] = x[of + c * area + j]


def turned_of(x):
    """A copy of x (N, C, H, W) with the channels of a pixel side by side, `pixel_size` from one pixel to the next."""
    (batch, channels, height, wide), width = x.shape, lanes_of(x)
    turned = np.empty(batch * height * wide * pixel_size(channels, width), x.dtype)
    each_task(turn, batch * ceil_div(channels, width), (turned, x.ravel(), x.shape))
    return turned


@inner
def overlap_of(tile, tap, step, dy, at, dy_shape, turned, start, x_shape, images):
    """tile[r, n] + Σ dy[o + r, …] · turned[…, v + n] over a tap's overlap in images (first, last)."""
    width, (outputs, out_h, out_w), (channels, height, wide) = lanes(turned), dy_shape[1:], x_shape[1:]
    pixel = pixel_size(channels, width)
    for n in range(images[0], images[1]):
        for i in range(tap[1]):
            left = at + (n * outputs * out_h + tap[2] + i) * out_w + tap[5]
            right = start + ((n * height + tap[3] + i * step[0]) * wide + tap[6]) * pixel
            tile = accumulate(tile, dy, left, out_h * out_w, turned, right, width, step[1] * pixel, tap[4])
    return tile


@inner
def weigh_part(dw, turned, x_shape, dy, dy_shape, taps, step, kernel, blocks, vectors):
    """dw for some blocks of outputs and some vectors of channels.  The last block begins early to be a whole one."""
    width, (batch, channels), (outputs, out_h, out_w) = lanes(dw), x_shape[:2], dy_shape[1:]
    images = max(1, RUN // (out_h * out_w))
    sums, kernels = np.zeros(len(taps) * TILE * width, dw.dtype), np.zeros(COLS * width * kernel, dw.dtype)
    for b in range(blocks[0], blocks[1]):
        o, v = min(b * ROWS, outputs - ROWS), vectors[0]
        while v < vectors[1]:
            at, start = o * out_h * out_w, v * width
            count = COLS if v + COLS <= vectors[1] else 1
            for t in range(len(taps)):
                kept = t * ROWS * count * width
                for n in range(0, batch, images):
                    run = n, min(batch, n + images)
                    if count == COLS:
                        wide = overlap_of(zero_tile(dw, TILE), taps[t], step, dy, at, dy_shape, turned, start, x_shape, run)
                        store_tile(add_tile(wide, sums, kept) if n > 0 else wide, sums, kept)
                    else:
                        slim = overlap_of(zero_tile(dw, ROWS), taps[t], step, dy, at, dy_shape, turned, start, x_shape, run)
                        store_tile(add_tile(slim, sums, kept) if n > 0 else slim, sums, kept)
            for r in range(b * ROWS - o, ROWS):
                for t in range(len(taps)):
                    of = (t * ROWS + r) * count * width
                    for k in range(count * width):
                        kernels[k * kernel + taps[t, 0]] = sums[of + k]
                copy_run(dw, ((o + r) * channels + v * width) * kernel, kernels, 0,
                         min(count * width, channels - v * width) * kernel)
            v += count


@inner
def weigh_task(task, dw, turned, x_shape, dy, taps, step, cuts, parts):
    """A task owns some channels and outputs."""
    cut, part, (outputs, channels, height, wide) = task // parts, task % parts, dw.shape
    blocks, vectors = ceil_div(outputs, ROWS), ceil_div(channels, lanes(dw))
    weigh_part(dw.reshape(dw.size), turned, x_shape, dy.reshape(dy.size), dy.shape, taps, step, height * wide,
               (part * blocks // parts, (part + 1) * blocks // parts), (cut * vectors // cuts, (cut + 1) * vectors // cuts))


def weigh(dw, x, dy, taps, step):
    """dw[o, c, tap t] = Σ_nij dy[n, o, i, j] x[n, c, i·s + u·d - p, j·s + v·d - p] over the overlap of tap t; 0 for others.

    x (N, C, H, W), dy (N, O, HO, WO), dw (O, C, KH, KW).
    """
    blocks, vectors, tasks = -(-len(dw) // ROWS), -(-dw.shape[1] // lanes_of(x)), 2 * get_num_threads()
    cuts = max(1, min(tasks, vectors // COLS))
    parts = min(blocks, -(-tasks // cuts))
    each_task(weigh_task, cuts * parts, (dw, turned_of(x), x.shape, dy, taps, step, cuts, parts))
