"""Convolution and its gradients on register tiles (`simd.py`), for every stride, padding, dilation and number of groups.

The readable version in `conv.py` says what is computed.  This one multiplies the same matrices, but a tile at a time: ROWS
outputs times COLS vectors of positions are accumulated in registers over all taps k of a block of channels, and only then is
anything written.  With `flat` and its offsets from `bands.py`, v running over vectors of positions and k over (channel, tap),

    y[o, places[v] + l]  =  bias[o] + Σ_k weight[o, k] · flat[offsets[k] + positions[v] + l],         l < lanes

The input gradient at stride s (the forward pass of transposed convolution) is s·s convolutions of stride 1.  Along an axis,
output s·t + r gets something through tap u from input t + (r + p - u·d)/s, where that is a whole number: each phase r has
taps of its own, and they are few.  No zeros are multiplied, and nothing is added into place.

Sums run over k in order, a block of channels after the other, however the work is divided: the same bits at any number of
threads.  The weight gradient is in `conv_weights.py`.
"""
from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import get_num_threads

from .bands import CACHED, bands_of, ceil_div, extent, fill, keeps_rows, offsets_of, places_of
from .conv_weights import weigh
from .inner import inner
from .simd import COLS, ROWS, TILE, add_products, add_tile, lanes, lanes_of, store_rows, store_tile, zero_tile
from .simd_memory import prefetch
from .tasks import each_task

CHANNEL_ROWS = 96                 # rows of flat under a tile that stay in the first-level cache
COLUMNS = 128                     # the same, where flat is columns


@inner
def pack(task, packed, weight, taps, firsts, groups, outputs, channels, out_step, in_step):
    """packed[at + (c·T + t)·ROWS + r] = weight[start + r·out_step + c·in_step + taps[t]], in the order of multiplication.

    A task owns a block of outputs under the taps of one phase.  Rows beyond the outputs become 0.
    """
    phases, blocks = len(firsts) - 1, ceil_div(outputs, ROWS)
    g, p, b = task // (phases * blocks), task // blocks % phases, task % blocks
    here = taps[firsts[p]:firsts[p + 1]]
    at = ((g * len(taps) + firsts[p]) * blocks + b * len(here)) * channels * ROWS
    start = g * (weight.size // groups) + b * ROWS * out_step
    for c in range(channels):
        for t in range(len(here)):
            source = start + c * in_step + here[t, 0]
            for r in range(ROWS):
                packed[at + r] = weight[source + r * out_step] if b * ROWS + r < outputs else 0
            at += ROWS


@inner
def multiply(out, at, pitch, places, bias, outputs, packed, w, w_block, flat, positions, offsets, depth, vectors, blocks,
             totals, more, seen):
    """out[at + o·pitch + places[v] …] = bias[o] + Σ_k weight[o, k] flat[offsets[k] + positions[v] …] for blocks of outputs.

    `seen`: totals has the sum over earlier channels.  `more`: there are later ones, so the sum goes there again.
    """
    size = TILE * lanes(flat)
    for v in range(0, vectors, COLS):
        for b in range(blocks[0], blocks[1]):
            tile = zero_tile(flat, TILE)
            first = w + b * w_block
            for n in range(0 if more else COLS):
                for o in range(b * ROWS, min(outputs, (b + 1) * ROWS)):
                    prefetch(out, at + o * pitch + places[v + n], 1)
            for k in range(depth):
                tile = add_products(tile, ROWS, packed, first + k * ROWS, flat, positions, v, offsets[k])
            kept = (v // COLS * (blocks[1] - blocks[0]) + b - blocks[0]) * size
            if seen:
                tile = add_tile(tile, totals, kept)
            if more:
                store_tile(tile, totals, kept)
            else:
                o = b * ROWS
                store_rows(tile, ROWS, out, at + o * pitch, pitch, places, v, bias, o, min(ROWS, outputs - o))


@inner
def spread(y, at, shape, product, channels, images, rows, out_w, up):
    """y[n, c, i·s + r, j·s + q] = product[(r, q), c, n, i, j] for rows (first, last) of i, where y has that row and column."""
    height, width = shape[2], shape[3]
    plane = (rows[1] - rows[0]) * out_w
    phase = channels * images * plane
    for c in range(channels):
        for n in range(images):
            for h in range(rows[0] * up[0], min(height, rows[1] * up[0])):
                to = at + ((n * shape[1] + c) * height + h) * width
                of = h % up[0] * up[1] * phase + (c * images + n) * plane + (h // up[0] - rows[0]) * out_w
                if up[1] == 2 and width % 2 == 0:
                    even, odd, row = product[of:], product[of + phase:], y[to:to + width]
                    for j in range(width // 2):
                        row[2 * j] = even[j]
                        row[2 * j + 1] = odd[j]
                else:
                    for q in range(up[1]):
                        for k in range(ceil_div(width - q, up[1])):
                            y[to + k * up[1] + q] = product[of + q * phase + k]


@inner
def correlate_band(task, y, y_shape, x, x_shape, packed, bias, taps, firsts, kernel, geometry, up, channels, grid, cuts, parts,
                   by_rows, depth):
    """A task owns some blocks of outputs of one group for a band of rows of one image, or for some whole images."""
    width, phases, groups, (out_h, out_w) = lanes(y), up[0] * up[1], x_shape[1] // channels, grid
    outputs = y_shape[1] // groups
    all_blocks = ceil_div(outputs, ROWS)
    cut, group, part = task // (groups * parts), task // parts % groups, task % parts
    n, band = cut // cuts[1] * cuts[0], cut % cuts[1]
    images, rows = (n, min(x_shape[0], n + cuts[0])), (band * out_h // cuts[1], (band + 1) * out_h // cuts[1])
    blocks = part * all_blocks // parts, (part + 1) * all_blocks // parts
    many, tall = images[1] - images[0], rows[1] - rows[0]
    pitch, plane, planes = extent(tall, out_w, kernel, geometry, by_rows)
    image = y_shape[1] * out_h * out_w if phases == 1 else tall * out_w
    positions, places, vectors = places_of(many, tall, out_w, pitch, plane, image, width, by_rows)
    flat = np.empty(depth * planes * many * plane, y.dtype)
    owned = min(outputs, blocks[1] * ROWS) - blocks[0] * ROWS
    kept = ceil_div(vectors, COLS) * (blocks[1] - blocks[0]) * TILE * width
    totals = np.empty(phases * kept if depth < channels else 0, y.dtype)
    product = np.empty(phases * owned * many * tall * out_w if phases > 1 else 0, y.dtype)
    first_place = (images[0] * y_shape[1] + group * outputs) * y_shape[2] * y_shape[3]
    for c in range(0, channels, depth):
        deep = min(depth, channels - c)
        seen = (group * channels + c, group * channels + c + deep)
        fill(flat, x, x_shape, images, seen, rows, out_w, kernel, geometry, by_rows)
        for p in range(phases):
            here = taps[firsts[p]:firsts[p + 1]]
            offsets = offsets_of(deep, here, kernel, pitch, many * plane, geometry, by_rows)
            w_block = channels * len(here) * ROWS
            w = (group * len(taps) + firsts[p]) * all_blocks * channels * ROWS + c * len(here) * ROWS
            out, at, step = y, first_place + rows[0] * out_w, out_h * out_w
            if phases > 1:
                step = many * tall * out_w
                out, at = product, (p * owned - blocks[0] * ROWS) * step
            multiply(out, at, step, places, bias[group * outputs:], outputs, packed, w, w_block, flat, positions, offsets,
                     deep * len(here), vectors, blocks, totals[p * kept:], c + deep < channels, c > 0)
    if phases > 1:
        start = first_place + blocks[0] * ROWS * y_shape[2] * y_shape[3]
        spread(y, start, y_shape, product, owned, many, rows, out_w, up)


def correlate(y, x, weight, bias, taps, firsts, kernel, geometry, channels, out_step, in_step, up):
    """y[n, o, t·up + r] = bias[o] + Σ_k weight[o, k] x[n, c, t·s + u·d - p], k = (c, tap) over the taps of phase r, both axes.

    x (N, G·C, H, W), y (N, G·O, HO, WO), bias (G·O,).  taps[k]: place in a kernel, u, v; phase r has those from firsts[r].
    """
    groups, phases, columns, threads = x.shape[1] // channels, up[0] * up[1], kernel[0] * kernel[1], get_num_threads()
    outputs = y.shape[1] // groups
    out_h, out_w = -(-y.shape[2] // up[0]), -(-y.shape[3] // up[1])
    all_blocks = -(-outputs // ROWS)
    packed = np.empty(groups * len(taps) * all_blocks * channels * ROWS, weight.dtype)
    each_task(pack, groups * phases * all_blocks, (packed, weight, taps, firsts, groups, outputs, channels, out_step, in_step))

    by_rows = keeps_rows(out_w, lanes_of(y), geometry[0], geometry[1], columns)
    planes = extent(out_h, out_w, kernel, geometry, by_rows)[2]
    rows = kernel[0] * min(geometry[1], kernel[1])
    depth = max(1, min(channels, CHANNEL_ROWS // rows if by_rows else COLUMNS // columns))
    each = depth * planes + phases * outputs * ((depth < channels) + (phases > 1))
    many, bands = bands_of(len(x), out_h, out_w, min(max(CACHED // each, 256), 4096))
    share = -(-len(x) // threads)
    if many > share and share * out_h * out_w >= 256:            # enough for every thread, without filling anything twice
        many = share
    cuts = max(1, -(-len(x) // many) * bands)
    parts = 1 if groups * cuts % threads == 0 else min(all_blocks, -(-2 * threads // (groups * cuts)))
    each_task(correlate_band, cuts * groups * parts if len(x) else 0,
              (y.ravel(), y.shape, x.ravel(), x.shape, packed, bias, taps, firsts, kernel, geometry, up, channels,
               (out_h, out_w), (many, bands), parts, by_rows, depth))


# The three, with the arguments of conv.py -----------------------------------------------------------------------------

@lru_cache(maxsize=None)
def kernel_taps(kernel_h, kernel_w, flipped=False):
    """(where in a kernel, u, v) for each tap of a convolution."""
    rows = [(u * kernel_w + v, u, v) for u in range(kernel_h) for v in range(kernel_w)]
    if flipped:
        rows = [(kernel_h * kernel_w - 1 - place, u, v) for place, u, v in rows]
    return np.array(rows, np.int64), np.array([0, len(rows)], np.int64)


@lru_cache(maxsize=None)
def phase_taps(kernel, stride, padding, dilation):
    """(taps of all phases, where each phase begins, size of a kernel that reaches them all, its zeros at the top and left)."""
    axes = [[[(u, (r + p - u * d) // s) for u in range(k) if (r + p - u * d) % s == 0] for r in range(s)]
            for k, s, p, d in zip(kernel, stride, padding, dilation)]
    lowest = [min(shift for phase in axis for _, shift in phase) for axis in axes]
    extent = tuple(max(shift for phase in axis for _, shift in phase) - low + 1 for axis, low in zip(axes, lowest))
    phases = [[(u * kernel[1] + v, i - lowest[0], j - lowest[1]) for u, i in rows for v, j in cols]
              for rows in axes[0] for cols in axes[1]]
    taps = np.array([tap for phase in phases for tap in phase], np.int64)
    return taps, np.cumsum([0, *map(len, phases)]), extent, (-lowest[0], -lowest[1])


def conv2d(y, x, weight, bias, geometry):
    """As `conv.conv2d`."""
    channels, *kernel = weight.shape[1:]
    area = kernel[0] * kernel[1]
    correlate(y, x, weight.ravel(), bias, *kernel_taps(*kernel), tuple(kernel), geometry, channels, channels * area, area,
              (1, 1))


def conv2d_input_grad(dx, dy, weight, bias, geometry):
    """As `conv.conv2d_input_grad`."""
    channels, *kernel = weight.shape[1:]
    stride, padding, dilation = geometry[:2], geometry[2:4], geometry[4:]
    outputs = len(weight) * channels // dx.shape[1]
    area = kernel[0] * kernel[1]
    if stride == (1, 1):
        taps, firsts = kernel_taps(*kernel, flipped=True)
        top, left = (d * (k - 1) - p for k, d, p in zip(kernel, dilation, padding))
        geometry = (1, 1, top, left, *dilation)
    else:
        taps, firsts, kernel, (top, left) = phase_taps(tuple(kernel), stride, padding, dilation)
        geometry = (1, 1, top, left, 1, 1)
    correlate(dx, dy, weight.ravel(), bias, taps, firsts, tuple(kernel), geometry, outputs, area, channels * area, stride)


def conv2d_weight_grad(dw, x, dy, geometry):
    """As `conv.conv2d_weight_grad`."""
    weigh(dw, x, dy, kernel_taps(*dw.shape[2:])[0], dw.shape[2:], geometry)
