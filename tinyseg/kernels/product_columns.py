"""The matrices of `product.py` as its tiles want them: transposed, gathered from an image at a stride, and spread to one."""
from __future__ import annotations

import numpy as np
from numba import njit

from .bands import fill, places_of
from .simd import add_tile, copy_run, lanes, store_tile, zero_tile
from .simd_pairs import unzip
from .simd_squares import spread_columns


@njit(cache=True)
def pack(packed, at, pitch, source, start, rows, depth, row_step, step):
    """packed[at + k·pitch + r] = source[start + r·row_step + k·step] for r < rows, k < depth; one of the steps is 1.

    By whole vectors: at row_step 1 as they are, else transposed in squares.
    """
    width = lanes(packed)
    places = np.arange(width) * pitch
    for r in range(0, rows, width):
        wide, k = min(width, rows - r), 0
        if step == 1 and depth >= width:
            while k < depth:
                k = min(k, depth - width)
                spread_columns(packed, places, 0, at + k * pitch + r, source, start + r * row_step + k, row_step, wide)
                k += width
        elif row_step == 1 and wide == width:
            for k in range(depth):
                store_tile(add_tile(zero_tile(packed, 1), source, start + r + k * step), packed, at + k * pitch + r)
        else:
            for k in range(depth):
                for i in range(wide):
                    packed[at + k * pitch + r + i] = source[start + (r + i) * row_step + k * step]


@njit(cache=True)
def zips(kernel, stride, out_w, width):
    """Do a vector's positions and their neighbours at stride 2 fill two vectors of the image, each in one row?"""
    return kernel == stride and kernel[1] == 2 and (out_w >= width or 2 * out_w == width)


@njit(cache=True)
def halves_of(images, rows, out_w, image, pitch, width):
    """Where the two vectors of the image begin for each vector of positions, as `places_of` orders these."""
    by_rows = out_w >= width
    positions, _, count = places_of(images, rows, out_w, out_w, rows * out_w, 0, width, by_rows)
    halves = np.empty(2 * positions.size, np.int64)
    for v in range(positions.size):
        n, i, j = positions[v] // (rows * out_w), positions[v] // out_w % rows, positions[v] % out_w
        halves[2 * v] = n * image + i * pitch + 2 * j
        halves[2 * v + 1] = halves[2 * v] + (width if by_rows else pitch)
    return positions, halves, count


@njit(cache=True)
def gather(columns, x, shape, images, channels, rows, out_w, kernel, stride):
    """columns[(c, u, v), (n, i, j)] = x[n, c, i·s + u, j·s + v] for images, channels, rows i (first, last)."""
    all_channels, height, width = shape[1:]
    many, tall = images[1] - images[0], rows[1] - rows[0]
    if not zips(kernel, stride, out_w, lanes(x)):
        fill(columns, x, shape, images, channels, rows, out_w, kernel, (stride[0], stride[1], 0, 0, 1, 1), False)
        return
    positions, halves, vectors = halves_of(many, tall, out_w, all_channels * height * width, stride[0] * width, lanes(x))
    row = many * tall * out_w
    for pair in range((channels[1] - channels[0]) * kernel[0]):
        c, u = channels[0] + pair // kernel[0], pair % kernel[0]
        start = ((images[0] * all_channels + c) * height + rows[0] * stride[0] + u) * width
        to = 2 * pair * row
        for v in range(vectors):
            unzip(columns, to + positions[v], columns, to + row + positions[v], x, start + halves[2 * v],
                  start + halves[2 * v + 1])


@njit(cache=True)
def put(to, step, values, otherwise, count):
    """to[p·step] = values[p] for p < count, or `otherwise` where there are no values."""
    if values.size == 0:
        for p in range(count):
            to[p * step] = otherwise
    elif step == 2:                                              # known to the compiler, it becomes vector instructions
        for p in range(count):
            to[2 * p] = values[p]
    else:
        for p in range(count):
            to[p * step] = values[p]


@njit(cache=True)
def spread(y, shape, product, line, bias, channels, images, rows, out_w, kernel, stride):
    """y[n, c, i·s + u, j·s + v] = product[(c, u, v), (n, i, j)] for channels, images, rows i (first, last); else bias.

    `line` has room for a row of y at every i of these images.
    """
    height, width = shape[2], shape[3]
    tall, taps = rows[1] - rows[0], kernel[0] * kernel[1]
    length = (images[1] - images[0]) * tall * out_w
    for c in range(channels[0], channels[1]):
        for u in range(stride[0]):
            for v in range(stride[1]):
                k = (c - channels[0]) * taps + u * kernel[1] + v
                under_tap = u < kernel[0] and v < kernel[1]
                put(line[v:], stride[1], product[k * length:] if under_tap else product[:0], bias[c * taps], length)
            for n in range(images[0], images[1]):
                for h in range(rows[0] * stride[0] + u, min(height, rows[1] * stride[0]), stride[0]):
                    row = (n - images[0]) * tall + h // stride[0] - rows[0]
                    copy_run(y, ((n * shape[1] + c) * height + h) * width, line, row * out_w * stride[1], width)
