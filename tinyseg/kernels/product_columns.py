"""The matrices of `product.py` as its tiles want them: transposed, gathered from an image at a stride, and spread to one."""
from __future__ import annotations

import numpy as np

from .bands import ceil_div, places_of
from .inner import inner
from .simd import add_tile, copy_run, lanes, store_tile, zero_tile
from .simd_pairs import unzip
from .simd_squares import spread_columns


@inner
def part_of(index, parts, count):
    """[first, last) of one of the parts of range(count)."""
    return index * count // parts, (index + 1) * count // parts


@inner
def pack_transposed(packed, pitch, source, start, step, rows, depth):
    """packed[k·pitch + r] = source[start + r·step + k] for r < rows, k < depth; pitch has room for whole vectors of r."""
    width = lanes(packed)
    places = np.arange(width) * pitch
    for r in range(0, rows, width):
        if depth >= width:
            for square in range(ceil_div(depth, width)):
                k = min(square * width, depth - width)
                spread_columns(packed, places, 0, k * pitch + r, source, start + r * step + k, step, min(width, rows - r))
        else:
            for k in range(depth):
                for i in range(r, min(r + width, rows)):
                    packed[k * pitch + i] = source[start + i * step + k]


@inner
def pack_rows(packed, pitch, source, start, step, rows, depth):
    """packed[k·pitch + r] = source[start + r + k·step] for r < rows, k < depth."""
    for k in range(depth):
        for r in range(0, rows, lanes(packed)):
            if r + lanes(packed) <= rows:
                store_tile(add_tile(zero_tile(packed, 1), source, start + k * step + r), packed, k * pitch + r)
            else:
                for i in range(r, rows):
                    packed[k * pitch + i] = source[start + k * step + i]


@inner
def alternates(stride, wide, out_w, width):
    """Is a vector of positions, with what lies between them at stride 2, two vectors of the image, each in one of its rows?"""
    return stride[1] == 2 and wide == 2 * out_w and (out_w >= width or 2 * out_w == width)


@inner
def halves_of(images, rows, out_w, image, pitch, width):
    """Where the two vectors of the image begin for each vector of positions, as `places_of` orders these."""
    by_rows = out_w >= width
    positions, _, count = places_of(images, rows, out_w, out_w, rows * out_w, image, width, by_rows)
    halves = np.empty(2 * positions.size, np.int64)
    for v in range(positions.size):
        n, i, j = positions[v] // (rows * out_w), positions[v] // out_w % rows, positions[v] % out_w
        halves[2 * v] = n * image + i * pitch + 2 * j
        halves[2 * v + 1] = halves[2 * v] + (width if by_rows else pitch)
    return positions, halves, count


@inner
def gather(columns, x, shape, images, channels, rows, out_w, kernel, stride):
    """columns[(c, u, v), (n, i, j)] = x[n, c, i·s + u, j·s + v] for images, channels, rows i (first, last).

    `columns` has room for one more row, of which nothing is said.
    """
    height, width = shape[2], shape[3]
    many, tall, depth = images[1] - images[0], rows[1] - rows[0], (channels[1] - channels[0]) * kernel[0] * kernel[1]
    row, image = many * tall * out_w, shape[1] * height * width
    positions, halves, vectors = halves_of(many, tall, out_w, image, stride[0] * width, lanes(x))
    for k in range(0, depth, kernel[1]):
        c, u = channels[0] + k // kernel[1] // kernel[0], k // kernel[1] % kernel[0]
        start = images[0] * image + (c * height + rows[0] * stride[0] + u) * width
        if alternates(stride, width, out_w, lanes(x)):
            odds = (k + 1 if kernel[1] == 2 else depth) * row
            for v in range(vectors):
                unzip(columns, k * row + positions[v], columns, odds + positions[v], x, start + halves[2 * v],
                      start + halves[2 * v + 1])
        else:
            for v in range(kernel[1]):
                to = (k + v) * row
                for line in range(many * tall):
                    source = start + line // tall * image + line % tall * stride[0] * width + v
                    for j in range(out_w):
                        columns[to + j] = x[source + j * stride[1]]
                    to += out_w


@inner
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


@inner
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
