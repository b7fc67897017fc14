"""Winograd's algorithm along columns alone, F(2x1, 3x3): 3x3 convolution at stride 1 of few channels, two rows at a time.

With three channels, as of an image, no transform of `winograd.py` is worth while: one comes back for every output.  Down a
column there is a half of them, and what comes back is two additions.  Rows 2t and 2t + 1 of the output see the rows
d₀ … d₃ of the image, those from 2t - p on.  For each tap's column v, with w₀, w₁, w₂ the taps in it,

    D  =  d₁ + d₂,               d₂ - d₁,               d₀ - d₂,    d₁ - d₃             once for all outputs
    W  =  (w₀ + w₁ + w₂) / 2,    (w₀ - w₁ + w₂) / 2,    w₀,         -w₂
    m_k[o]  =  Σ_cv W_k[o, c, v] · D_k[c, t, j + v]                                     4 multiplications for each v, not 6

    y[o, 2t]  =  m₀ + m₁ + m₂          y[o, 2t + 1]  =  m₀ - m₁ + m₃

The gradient of w is made of the same D, and is transformed once, when all positions have been added up.  There vectors run
over outputs, so dy is transposed first, and a value of D is multiplied with all of them:

    M_k[o, c, v]  =  Σ_tj E_k · D_k[c, t, j + v]          E  =  g₀ + g₁,  g₀ - g₁,  g₀,  g₁          g: rows 2t, 2t + 1 of dy
    dw[o, c, 0 … 2, v]  =  (M₀ + M₁) / 2 + M₂,    (M₀ - M₁) / 2,    (M₀ + M₁) / 2 - M₃

Like F(2x2, 3x3) it is no less exact than the definition.  Rows have to be whole vectors and come in pairs: nothing is computed
in vain.  Sums run in a fixed order, however the work is divided: the same bits at any number of threads.
"""
from __future__ import annotations

import numpy as np
from numba import get_num_threads, types
from numba.extending import intrinsic

from .bands import CACHED, aligned_zeros, ceil_div, fill_image
from .inner import inner
from .product_columns import pack_transposed
from .simd import (INDEX, REGISTERS, Emitter, Vector, add_products, add_tile, lanes, lanes_of, store_rows, store_tile,
                   zero_tile)
from .simd_memory import end_streams, prefetch, should_stream, stream_rows
from .tasks import each_task

ROWS, COLS = 4 if REGISTERS == 32 else 2, 3
TILE = ROWS * COLS                               # of which there are two at a time
TAPS = 12                                        # of the weight gradient: every M_k of the three columns of a channel
POSITIONS = 2048                                 # of a band, pairs of them; fewer if there are many channels
TASKS = 8                                        # fixed, since the order of sums depends on it


@intrinsic
def store_differences(typing, flat, at, plane, image, start, pitch):
    """flat[at + k·plane …] = D_k of the rows image[start + i·pitch …], i < 4"""
    def generate(context, builder, signature, values):
        emit = Emitter(context, builder, signature, values, Vector(flat.dtype))
        d = [emit.load(3, values[4], builder.mul(values[5], INDEX(i))) for i in range(4)]
        for k, (combine, a, b) in enumerate(((builder.fadd, 1, 2), (builder.fsub, 2, 1), (builder.fsub, 0, 2),
                                             (builder.fsub, 1, 3))):
            emit.store(combine(d[a], d[b]), 0, values[1], builder.mul(values[2], INDEX(k)))
        return context.get_dummy_value()
    return types.void(flat, at, plane, image, start, pitch), generate


@intrinsic
def sums_and_differences(typing, left, right):
    """(left[k] + right[k], left[k] - right[k]) of two tiles, as two tiles."""
    def generate(context, builder, signature, values):
        emit = Emitter(context, builder, signature, values, left.dtype)
        pairs = list(zip(emit.tile(0), emit.tile(1)))
        tiles = [emit.result([combine(a, b) for a, b in pairs]) for combine in (builder.fadd, builder.fsub)]
        return context.make_tuple(builder, signature.return_type, tiles)
    return types.UniTuple(left, 2)(left, right), generate


@intrinsic
def add_taps(typing, tile, flat, at, plane, dy, start, line):
    """tile[k, v] += flat[at + k·plane + v] · E_k of g₀ = dy[start …] and g₁ = dy[start + line …], vectors of outputs."""
    def generate(context, builder, signature, values):
        emit = Emitter(context, builder, signature, values, tile.dtype)
        total, upper, lower = emit.tile(0), emit.load(4, values[5]), emit.load(4, values[5], values[6])
        for k, upstream in (2, upper), (3, lower), (0, builder.fadd(upper, lower)), (1, builder.fsub(upper, lower)):
            for v in range(3):
                tap = emit.broadcast(emit.item(1, values[2], builder.mul(values[3], INDEX(k)), v))
                total[3 * k + v] = emit.multiply_add(tap, upstream, total[3 * k + v])
        return emit.result(total)
    return tile(tile, flat, at, plane, dy, start, line), generate


def bands_of(shape, channels):
    """How many an image of this shape is cut into, for what is transformed to stay in the second-level cache."""
    return max(1, shape[2] // 2 * shape[3] // max(256, min(POSITIONS, CACHED // (4 * channels))))


@inner
def cut_of(cut, bands, height):
    """(image, first row, pairs of rows) of a band."""
    n, band, pairs = cut // bands, cut % bands, height // 2
    begin = band * pairs // bands
    return n, 2 * begin, (band + 1) * pairs // bands - begin


@inner
def layout_of(height, wide, bands, width):
    """(pairs of rows of the longest band, values in a row of flat, in a plane): whole vectors."""
    most, pitch = ceil_div(height // 2, bands), ceil_div(wide + 2, width) * width
    return most, pitch, most * pitch


@inner
def transform(flat, image, x, shape, n, channels, row, pairs, padding, pitch, plane):
    """flat[c, k, t, j] = D_k of channels (first, last) for pairs of rows from `row` on; `image` has room for their rows."""
    _, _, height, wide = shape
    for c in range(channels[0], channels[1]):
        fill_image(image, 0, x, (n * shape[1] + c) * height * wide, height, wide, 2 * pairs + 2, row - padding[0], -padding[1],
                   pitch, 1, 1)
        for t in range(pairs):
            for j in range(t * pitch, (t + 1) * pitch, lanes(flat)):
                store_differences(flat, (c - channels[0]) * 4 * plane + j, plane, image, t * pitch + j, pitch)


@inner
def pack(packed, weight, start, outputs, channels, out_step, in_step, flipped):
    """packed[block, k // 2, c, v, k % 2, r] = W_k of the block's output r, or of the last one if there are not so many."""
    half = channels * 3 * 2 * ROWS
    for o in range(ceil_div(outputs, ROWS) * ROWS):
        for c in range(channels):
            w = weight[start + min(o, outputs - 1) * out_step + c * in_step:]
            for v in range(3):
                upper, middle, lower = (w[8 - v], w[5 - v], w[2 - v]) if flipped else (w[v], w[3 + v], w[6 + v])
                to = o // ROWS * 2 * half + (c * 3 + v) * 2 * ROWS + o % ROWS
                packed[to], packed[to + ROWS] = (upper + middle + lower) / 2, (upper - middle + lower) / 2
                packed[to + half], packed[to + half + ROWS] = upper, -lower


@inner
def multiply(y, at, area, line, bias, first, outputs, packed, flat, positions, places, vectors, plane, channels, streams):
    """The two rows of y[at + o·area + places[v] …] for outputs o: bias[first + o] + their sums.

    Where the next tile of positions will be written is asked for a round of outputs before, unless it goes past the caches.
    """
    for v in range(0, vectors, COLS):
        a = 0
        for o in range(0, outputs, ROWS):
            count = min(ROWS, outputs - o)
            for n in range(0 if streams else COLS):
                for r in range(o, o + count):
                    prefetch(y, at + r * area + places[v + COLS + n], 1)
                    prefetch(y, at + r * area + line + places[v + COLS + n], 1)
            upper, lower = zero_tile(flat, TILE), zero_tile(flat, TILE)
            for half in range(2):
                for c in range(channels):
                    of = (4 * c + 2 * half) * plane
                    for shift in range(3):
                        upper = add_products(upper, ROWS, packed, a, flat, positions, v, of + shift)
                        lower = add_products(lower, ROWS, packed, a + ROWS, flat, positions, v, of + plane + shift)
                        a += 2 * ROWS
                if half == 0:
                    upper, lower = sums_and_differences(upper, lower)
            if streams:
                stream_rows(upper, ROWS, y, at + o * area, area, places, v, bias, first + o, count)
                stream_rows(lower, ROWS, y, at + o * area + line, area, places, v, bias, first + o, count)
            else:
                store_rows(upper, ROWS, y, at + o * area, area, places, v, bias, first + o, count)
                store_rows(lower, ROWS, y, at + o * area + line, area, places, v, bias, first + o, count)


@inner
def compute(worker, y, y_shape, x, x_shape, weight, bias, padding, channels, steps, flipped, bands, workers):
    """This worker's share of the tasks, each a band of an image for one group."""
    width, groups, (batch, _, height, wide) = lanes(y), x_shape[1] // channels, y_shape
    outputs, area, each = y_shape[1] // groups, height * wide, wide // width
    most, pitch, plane = layout_of(height, wide, bands, width)
    flat, image = np.empty(channels * 4 * plane, y.dtype), np.empty((2 * most + 2) * pitch, y.dtype)
    packed, packed_group = np.empty(ceil_div(outputs, ROWS) * ROWS * channels * 12, y.dtype), -1
    positions, places = np.empty(most * each + 2 * COLS, np.int64), np.empty(most * each + 2 * COLS, np.int64)
    tasks, streams = groups * batch * bands, should_stream(y, wide)
    for task in range(worker * tasks // workers, (worker + 1) * tasks // workers):
        group, (n, row, pairs) = task // (batch * bands), cut_of(task % (batch * bands), bands, height)
        if group != packed_group:
            pack(packed, weight, group * (weight.size // groups), outputs, channels, steps[0], steps[1], flipped)
            packed_group = group
        transform(flat, image, x, x_shape, n, (group * channels, (group + 1) * channels), row, pairs, padding, pitch, plane)
        first, vectors = group * outputs, pairs * each
        for v in range(vectors + 2 * COLS):                           # the last one is repeated up to a whole tile
            t, j = min(v, vectors - 1) // each, min(v, vectors - 1) % each * width
            positions[v], places[v] = t * pitch + j, 2 * t * wide + j
        multiply(y, (n * y_shape[1] + first) * area + row * wide, area, wide, bias, first, outputs, packed, flat, positions,
                 places, vectors, plane, channels, streams)
    if streams:
        end_streams()


def correlate(y, x, weight, bias, padding, channels, steps, flipped):
    """y[n, o, i, j] = bias[o] + Σ_cuv w[o, c, u, v] x[n, c, i + u - p, j + v - p], `steps` between outputs, channels of w."""
    bands, workers = bands_of(y.shape, channels), get_num_threads()
    each_task(compute, workers, (y.ravel(), y.shape, x.ravel(), x.shape, weight.ravel(), bias, padding, channels, steps,
                                 flipped, bands, workers))


# The weight gradient --------------------------------------------------------------------------------------------------

@inner
def add_band(total, at, dy, start, area, line, outputs, flat, turned, pairs, pitch, plane, channels):
    """total[at + (block of outputs, c, k, v, output)] += M_k of a band.  `turned` has room for two rows of a block."""
    width = lanes(flat)
    for o in range(0, outputs, width):
        for t in range(pairs):
            for row in range(2):
                pack_transposed(turned[row * line * width:], width, dy, start + o * area + (2 * t + row) * line, area,
                                min(width, outputs - o), line)
            for c in range(channels):
                to, tile = at + (o // width * channels + c) * TAPS * width, zero_tile(flat, TAPS)
                for j in range(line):
                    tile = add_taps(tile, flat, 4 * c * plane + t * pitch + j, plane, turned, j * width, line * width)
                store_tile(add_tile(tile, total, to), total, to)


@inner
def weigh_bands(task, total, size, x, x_shape, dy, dy_shape, padding, groups, bands, parts):
    """A task goes through a part of the bands for one group."""
    (batch, all_outputs, height, wide), channels = dy_shape, x_shape[1] // groups
    outputs, area, (group, part), cuts = all_outputs // groups, height * wide, (task // parts, task % parts), batch * bands
    most, pitch, plane = layout_of(height, wide, bands, lanes(x))
    flat, image = np.empty(channels * 4 * plane, x.dtype), np.empty((2 * most + 2) * pitch, x.dtype)
    turned = aligned_zeros(2 * wide * lanes(x), x)
    for cut in range(part * cuts // parts, (part + 1) * cuts // parts):
        n, row, pairs = cut_of(cut, bands, height)
        transform(flat, image, x, x_shape, n, (group * channels, (group + 1) * channels), row, pairs, padding, pitch, plane)
        add_band(total, task * size, dy, (n * all_outputs + group * outputs) * area + row * wide, area, wide, outputs, flat,
                 turned, pairs, pitch, plane, channels)


@inner
def collect(task, dw, total, size, outputs, channels, parts):
    """dw[o, c, u, v] of an output, from the parts of the sums."""
    width, group, o = lanes(total), task // outputs, task % outputs
    for c in range(channels):
        for v in range(3):
            at = group * parts * size + ((o // width * channels + c) * TAPS + v) * width + o % width
            m = np.zeros(4, total.dtype)
            for part in range(parts):
                for k in range(4):
                    m[k] += total[at + part * size + 3 * k * width]
            to = (task * channels + c) * 9 + v
            dw[to], dw[to + 3], dw[to + 6] = (m[0] + m[1]) / 2 + m[2], (m[0] - m[1]) / 2, (m[0] + m[1]) / 2 - m[3]


# The three, with the arguments of conv.py -----------------------------------------------------------------------------

def conv2d(y, x, weight, bias, geometry):
    """As `conv.conv2d`, for rows of whole vectors, an even number of them."""
    channels = weight.shape[1]
    correlate(y, x, weight, bias, geometry[2:4], channels, (9 * channels, 9), False)


def conv2d_input_grad(dx, dy, weight, bias, geometry):
    """As `conv.conv2d_input_grad`, likewise."""
    channels = weight.shape[1]
    outputs = len(weight) * channels // dx.shape[1]
    correlate(dx, dy, weight, bias, (2 - geometry[2], 2 - geometry[3]), outputs, (9, 9 * channels), True)


def conv2d_weight_grad(dw, x, dy, geometry):
    """As `conv.conv2d_weight_grad`, likewise; outputs should fill vectors."""
    channels, width = dw.shape[1], lanes_of(x)
    groups = x.shape[1] // channels
    outputs, bands = len(dw) // groups, bands_of(dy.shape, channels)
    parts = max(1, min(len(x) * bands, -(-TASKS // groups)))
    size = -(-outputs // width) * width * channels * TAPS
    total = np.zeros(groups * parts * size, dw.dtype)
    each_task(weigh_bands, groups * parts, (total, size, x.ravel(), x.shape, dy.ravel(), dy.shape, geometry[2:4], groups, bands,
                                            parts))
    each_task(collect, len(dw), (dw.ravel(), total, size, outputs, channels, parts))
