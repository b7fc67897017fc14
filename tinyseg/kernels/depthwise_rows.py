"""Depthwise 3x3 convolution at stride 1 of images whose rows are whole vectors: nothing has to be transposed.

A band of rows of a plane is copied with its zeros around it, flat[i, room + j] = x[top + i, j].  There are whole vectors of
zeros between rows, so that those of pixels are whole lines of the cache.  A tile is a vector of neighbours in each of R rows of
results; a vector of the copy serves three of them, under another row of the kernel each.  With p = room + left,

    tile[r]      =  Σ_uv w[u, v] · flat[i + r·d + u·d, p + j + v·d …]         loads: 3 (R + 2) for 9 R multiplications
    sums[u, v]  +=  Σ_r dy[i + r·d, j …] · flat[i + r·d + u·d, p + j + v·d …]         of the weight gradient, lane by lane

The input gradient is the convolution of dy with the flipped kernel.
"""
from __future__ import annotations

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .bands import aligned_zeros, ceil_div, zero_run
from .inner import inner
from .simd import INDEX, Emitter, add_sums, add_tile, lanes, store_tile, zero_tile

ROWS = 8              # of a tile
BAND = 1 << 11        # positions of a band: 8 KiB in float32


def window(emit, position, start, pitch, columns, rows, step):
    """(row, v, vector) of what an array holds under the kernel's columns, in all rows that a tile of `rows` rows sees.

    Each is used before the next is loaded: all at once would not fit into the registers.
    """
    for m in range((rows - 1) * step + 3):
        for v, column in enumerate(cgutils.unpack_tuple(emit.builder, columns)):
            yield m, v, emit.load(position, start, emit.builder.mul(pitch, INDEX(m)), column)


def seen_by(row, rows, step):
    """(r, u) for all rows r of a tile that see this row, under row u of the kernel."""
    return [(r, row - r * step) for r in range(rows) if 0 <= row - r * step < 3]


@intrinsic(prefer_literal=True)
def add_window(typing, tile, step, w, x, start, pitch, columns):
    """tile[r] += Σ_uv w[3u + v] · x[start + (r·step + u)·pitch + columns[v] …]"""
    def generate(context, builder, signature, values):
        emit = Emitter(context, builder, signature, values, tile.dtype)
        total, weight = emit.tile(0), [emit.broadcast(emit.item(2, t)) for t in range(9)]
        for m, v, vector in window(emit, 3, *values[4:], len(total), step.literal_value):
            for r, u in seen_by(m, len(total), step.literal_value):
                total[r] = emit.multiply_add(weight[3 * u + v], vector, total[r])
        return emit.result(total)
    return tile(tile, step, w, x, start, pitch, columns), generate


@intrinsic(prefer_literal=True)
def add_window_products(typing, tile, rows, step, dy, at, line, x, start, pitch, columns):
    """tile[3u + v] += Σ_r dy[at + r·line …] · x[start + (r·step + u)·pitch + columns[v] …], r < rows, lane by lane"""
    def generate(context, builder, signature, values):
        emit = Emitter(context, builder, signature, values, tile.dtype)
        total, count = emit.tile(0), rows.literal_value
        upstream = [emit.load(3, values[4], builder.mul(values[5], INDEX(r))) for r in range(count)]
        for m, v, vector in window(emit, 6, *values[7:], count, step.literal_value):
            for r, u in seen_by(m, count, step.literal_value):
                total[3 * u + v] = emit.multiply_add(upstream[r], vector, total[3 * u + v])
        return emit.result(total)
    return tile(tile, rows, step, dy, at, line, x, start, pitch, columns), generate


@intrinsic
def store_column(typing, tile, y, at, pitch, bias, c):
    """y[at + r·pitch …] = tile[r] + bias[c]"""
    def generate(context, builder, signature, values):
        emit = Emitter(context, builder, signature, values, tile.dtype)
        shift = emit.broadcast(emit.item(4, values[5]))
        for r, vector in enumerate(emit.tile(0)):
            emit.store(builder.fadd(vector, shift), 1, values[2], builder.mul(values[3], INDEX(r)))
        return context.get_dummy_value()
    return types.void(tile, y, at, pitch, bias, c), generate


@inner
def layout_of_rows(out, geometry, back):
    """(bands, rows of the longest, top, left, rows and columns that the kernel adds); `back`: of the input gradient."""
    _, _, top, left, dilation_h, dilation_w = geometry
    if back:
        top, left = 2 * dilation_h - top, 2 * dilation_w - left
    bands = max(1, out[0] * out[1] // BAND)
    return bands, ceil_div(out[0], bands), -top, -left, 2 * dilation_h, 2 * dilation_w


@inner
def suits(out, size, kernel, geometry, back, width):
    """Is this the convolution of an image of `size` to `out` for this file?  (Not with more padding than kernel.)"""
    _, _, _, left, _, more = layout_of_rows(out, geometry, back)
    return (kernel == (3, 3) and geometry[:2] == (1, 1) and out[1] % width == size[1] % width == 0
            and left <= 0 and size[1] - left <= out[1] + more)


@inner
def plan_of_rows(out, size, geometry, back, width):
    """(bands, rows of the longest, top, rows that the kernel adds, p, room, pitch), and where flat keeps the vectors of rows.

    The latter from `room` on, one vector after the other.
    """
    (bands, most, top, left, tall, wide), across = layout_of_rows(out, geometry, back), size[1]
    room = ceil_div(max(-left, out[1] + wide - across + left), width) * width
    places, pitch = np.empty((most + tall) * across // width, np.int64), across + room
    for v in range(places.size):
        places[v] = v * width // across * pitch + v * width % across
    return (bands, most, top, tall, room + left, room, pitch), places


@inner
def fill_rows(flat, places, x, source, size, top, rows, pitch):
    """flat[i, j] = x[source …][top + i, j] for `rows` rows; columns beside the image are 0 already."""
    width, (height, across) = lanes(x), size
    upper = min(rows, max(0, -top))
    lower = max(upper, min(rows, height - top))
    zero_run(flat, 0, upper * pitch)
    zero_run(flat, lower * pitch, (rows - lower) * pitch)
    start = source + top * across
    for v in range(upper * across // width, lower * across // width):
        store_tile(add_tile(zero_tile(flat, 1), x, start + v * width), flat, places[v])


@inner
def convolve_rows(y, x, shape, out, weight, bias, dilation, back, jobs, layout, places):
    """Jobs (first, last), each a band of a plane: y (N, C, *out), x of that shape, weight (C, 3, 3), all flat."""
    (_, channels, height, across), width, (dh, dw) = shape, lanes(y), dilation
    bands, most, top, more, left, room, pitch = layout
    flat, w, columns = aligned_zeros((most + more) * pitch + room, y), np.empty(9, y.dtype), (0, dw, 2 * dw)
    for job in range(jobs[0], jobs[1]):
        plane, band = job // bands, job % bands
        begin, end = band * out[0] // bands, (band + 1) * out[0] // bands
        fill_rows(flat[room:], places, x, plane * height * across, (height, across), begin + top, end - begin + more, pitch)
        c, to = plane % channels, (plane * out[0] + begin) * out[1]
        for t in range(9):
            w[t] = weight[9 * c + (8 - t if back else t)]
        for phase in range(dh):                                          # rows of a tile are dh rows from each other
            i = phase
            while i < end - begin:
                whole = i + (ROWS - 1) * dh < end - begin
                for j in range(0, out[1], width):
                    start = i * pitch + left + j
                    if whole and dw == 1:                                # known to the compiler, columns cost no registers
                        tile = add_window(zero_tile(flat, ROWS), 1, w, flat, start, dh * pitch, (0, 1, 2))
                        store_column(tile, y, to + i * out[1] + j, dh * out[1], bias, c)
                    elif whole:
                        tile = add_window(zero_tile(flat, ROWS), 1, w, flat, start, dh * pitch, columns)
                        store_column(tile, y, to + i * out[1] + j, dh * out[1], bias, c)
                    else:
                        row = add_window(zero_tile(flat, 1), 1, w, flat, start, dh * pitch, columns)
                        store_column(row, y, to + i * out[1] + j, 0, bias, c)
                i += ROWS * dh if whole else dh


@inner
def weigh_rows(grad, x, shape, dy, out, some, dilation, layout, places):
    """grad (C, 3, 3) of channels (first, last); all arrays flat."""
    (batch, channels, height, across), width, (dh, dw) = shape, lanes(x), dilation
    bands, most, top, more, left, room, pitch = layout
    flat, total, columns = aligned_zeros((most + more) * pitch + room, x), np.empty(9 + width, x.dtype), (0, dw, 2 * dw)
    for c in range(some[0], some[1]):
        total[:] = 0
        for job in range(batch * bands):
            plane, band = job // bands * channels + c, job % bands
            begin, end = band * out[0] // bands, (band + 1) * out[0] // bands
            fill_rows(flat[room:], places, x, plane * height * across, (height, across), begin + top, end - begin + more, pitch)
            of, tile = (plane * out[0] + begin) * out[1], zero_tile(flat, 9)
            for phase in range(dh):
                i = phase
                while i < end - begin:
                    whole = i + (ROWS - 1) * dh < end - begin
                    for j in range(0, out[1], width):
                        at, start = of + i * out[1] + j, i * pitch + left + j
                        if whole:
                            tile = add_window_products(tile, ROWS, 1, dy, at, dh * out[1], flat, start, dh * pitch, columns)
                        else:
                            tile = add_window_products(tile, 1, 1, dy, at, 0, flat, start, dh * pitch, columns)
                    i += ROWS * dh if whole else dh
            add_sums(tile, total, 0)
        grad[9 * c:9 * c + 9] = total[:9]
