"""Depthwise 3x3 convolution at stride 2 with padding 1, to outputs half as large whose rows are whole vectors.

As in `depthwise_rows.py` nothing is transposed, but a row of the image is unzipped as it is copied: its even pixels, a zero,
and its odd ones, so that a vector holds what a vector of results sees under one tap.

    y[i, j]  =  bias + Σ_uv w[u, v] · x[2i + u - 1, 2j + v - 1]             columns v: odd j - 1,  even j,  odd j

The input gradient makes a square of 2 x 2 pixels of four neighbours of dy, and zips their columns,

    dx[2i, 2j]      =  w₁₁ dy[i, j]                             dx[2i, 2j + 1]      =  w₁₂ dy[i, j]  +  w₁₀ dy[i, j + 1]
    dx[2i + 1, 2j]  =  w₂₁ dy[i, j]  +  w₀₁ dy[i + 1, j]        dx[2i + 1, 2j + 1]  =  w₂₂ dy[i, j]  +  w₂₀ dy[i, j + 1]
                                                                                   +  w₀₂ dy[i + 1, j]  +  w₀₀ dy[i + 1, j + 1]
"""
from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import intrinsic

from .bands import ceil_div, zero_run
from .depthwise_rows import add_window, add_window_products, fill_rows, store_column
from .inner import inner
from .simd import Emitter, Vector, add_sums, lanes, zero_tile
from .simd_pairs import unzip

ROWS = 4              # of a tile
BAND = 1 << 11        # positions of a band, of the smaller of the two images


@intrinsic
def store_square(typing, y, at, line, shift, w, x, start, pitch):
    """y[at …] and y[at + line …], two vectors each, = the four formulas above of x[start …] + shift[0]."""
    def generate(context, builder, signature, values):
        emit = Emitter(context, builder, signature, values, Vector(y.dtype))
        width = emit.vector.lanes
        near = {(i, j): emit.load(5, values[6], *[values[7]] * i, j) for i in range(2) for j in range(2)}
        taps = {0: {1: 0}, 1: {2: 0, 0: 1}}                   # {parity of a pixel: {tap: which neighbour it meets}}
        for a in range(2):
            pair = []
            for b in range(2):
                total = emit.broadcast(emit.item(3, 0))
                for u, i in taps[a].items():
                    for v, j in taps[b].items():
                        total = emit.multiply_add(emit.broadcast(emit.item(4, 3 * u + v)), near[i, j], total)
                pair.append(total)
            for half in range(2):
                numbers = [k for i in range(half * width // 2, (half + 1) * width // 2) for k in (i, width + i)]
                emit.store(builder.shuffle_vector(*pair, emit.lanes(numbers)), 0, values[1], *[values[2]] * a, half * width)
        return context.get_dummy_value()
    return types.void(y, at, line, shift, w, x, start, pitch), generate


@inner
def halves(large, small, kernel, geometry, width):
    """Is this the convolution of an image of size `large` to one of size `small` for this file?"""
    return (kernel == (3, 3) and geometry == (2, 2, 1, 1, 1, 1) and small[1] % width == 0
            and large == (2 * small[0], 2 * small[1]))


@inner
def bands_of_halves(small):
    """(bands of an image, rows of the longest)"""
    bands = min(small[0], max(1, small[0] * small[1] // BAND))
    return bands, ceil_div(small[0], bands)


@inner
def fill_halves(flat, x, source, size, top, rows):
    """Rows of x[source …], even pixels and then odd ones; row 0 of flat is row `top`, and the zeros between are there."""
    half, width = size[1] // 2, lanes(x)
    for m in range(rows):
        at = m * (size[1] + 1)
        if 0 <= top + m < size[0]:
            of = source + (top + m) * size[1]
            for j in range(0, half, width):
                unzip(flat, at + j, flat, at + half + 1 + j, x, of + 2 * j, of + 2 * j + width)
        else:
            zero_run(flat, at, size[1] + 1)


@inner
def convolve_halves(y, x, shape, out, weight, bias, jobs):
    """Jobs (first, last), each a band of a plane: y (N, C, *out), x of that shape, weight (C, 3, 3), all flat."""
    (_, channels, height, across), (bands, most), width = shape, bands_of_halves(out), lanes(y)
    flat, pitch, columns = np.zeros((2 * most + 1) * (across + 1), y.dtype), across + 1, (out[1], 0, out[1] + 1)
    for job in range(jobs[0], jobs[1]):
        plane, begin, end = job // bands, job % bands * out[0] // bands, (job % bands + 1) * out[0] // bands
        fill_halves(flat, x, plane * height * across, (height, across), 2 * begin - 1, 2 * (end - begin) + 1)
        c, to, i = plane % channels, (plane * out[0] + begin) * out[1], 0
        w = weight[9 * c:]
        while i < end - begin:
            whole = i + ROWS <= end - begin
            for j in range(0, out[1], width):
                at, start = to + i * out[1] + j, 2 * i * pitch + j
                if whole:
                    tile = add_window(zero_tile(flat, ROWS), 2, w, flat, start, pitch, columns)
                    store_column(tile, y, at, out[1], bias, c)
                else:
                    row = add_window(zero_tile(flat, 1), 2, w, flat, start, pitch, columns)
                    store_column(row, y, at, 0, bias, c)
            i += ROWS if whole else 1


@inner
def spread_halves(dx, dy, shape, out, weight, bias, jobs):
    """Jobs (first, last), each a band of a plane: dx (N, C, *out), dy of that shape, weight (C, 3, 3), all flat."""
    (_, channels, height, across), (bands, most), width = shape, bands_of_halves(shape[2:]), lanes(dx)
    pitch, places = across + 1, np.arange((most + 1) * across // width) * width
    places += places // across
    flat = np.zeros((most + 1) * pitch, dx.dtype)
    for job in range(jobs[0], jobs[1]):
        plane, begin, end = job // bands, job % bands * height // bands, (job % bands + 1) * height // bands
        fill_rows(flat, places, dy, plane * height * across, (height, across), begin, end - begin + 1, pitch)
        c, to = plane % channels, (plane * out[0] + 2 * begin) * out[1]
        for i in range(end - begin):
            for j in range(0, across, width):
                store_square(dx, to + 2 * i * out[1] + 2 * j, out[1], bias[c:], weight[9 * c:], flat, i * pitch + j, pitch)


@inner
def weigh_halves(grad, x, shape, dy, out, some):
    """grad (C, 3, 3) of channels (first, last); all arrays flat."""
    (batch, channels, height, across), (bands, most), width = shape, bands_of_halves(out), lanes(x)
    flat, total = np.zeros((2 * most + 1) * (across + 1), x.dtype), np.empty(9 + width, x.dtype)
    pitch, columns = across + 1, (out[1], 0, out[1] + 1)
    for c in range(some[0], some[1]):
        total[:] = 0
        for job in range(batch * bands):
            plane, band = job // bands * channels + c, job % bands
            begin, end = band * out[0] // bands, (band + 1) * out[0] // bands
            fill_halves(flat, x, plane * height * across, (height, across), 2 * begin - 1, 2 * (end - begin) + 1)
            of, tile, i = (plane * out[0] + begin) * out[1], zero_tile(flat, 9), 0
            while i < end - begin:
                whole = i + ROWS <= end - begin
                for j in range(0, out[1], width):
                    at, start = of + i * out[1] + j, 2 * i * pitch + j
                    if whole:
                        tile = add_window_products(tile, ROWS, 2, dy, at, out[1], flat, start, pitch, columns)
                    else:
                        tile = add_window_products(tile, 1, 2, dy, at, 0, flat, start, pitch, columns)
                i += ROWS if whole else 1
            add_sums(tile, total, 0)
        grad[9 * c:9 * c + 9] = total[:9]
