"""The weight gradient of the convolutions of `product.py`: the product of dy and of the columns, over all positions.

    dw[o, k]  =  Σ_p dy[o, p] · columns[k, p]

Vectors run over k, of which a *panel* has COLS.  Its columns are transposed first, by whole squares, to xs[p, k]; then a tile
of ROWS outputs adds dy[o, p] · xs[p, …], position by position, reading dy where it lies.  No lanes are to be added up, so it
does not matter how few the positions are; but it takes some outputs for transposing the columns to be worth it.

A task owns a panel, and adds up a part of the positions for it, which is fixed: the same bits at any number of threads.
"""
from __future__ import annotations

import numpy as np

from .bands import bands_of, ceil_div
from .inner import inner
from .product_columns import gather, pack_transposed, part_of
from .simd import REGISTERS, add_outer, add_tile, lanes, lanes_of, store_tile, zero_tile
from .tasks import each_task

ROWS, COLS = (8, 2) if REGISTERS == 32 else (4, 3)
TILE = ROWS * COLS
POSITIONS = 128            # whose columns are transposed at a time, to stay in the first-level cache
TASKS = 8                  # at least, where there is enough to do; fixed, since the order of sums depends on it


def fills_panels(outputs, depth, width):
    """Whole tiles of vectors, and outputs enough for transposing the columns to cost little?"""
    return outputs >= max(ROWS, 2 * width) and depth >= COLS * width


@inner
def add_positions(total, at, dy, start, image, area, outputs, xs, images, count, seen):
    """total[at + (block, r, k)] = Σ_p dy[start + n·image + o·area + i] · xs[p, k], p = (n, i), i < count.  `seen`: += it.

    The last block of outputs o may repeat some of the block before it, so that all are whole.
    """
    panel = COLS * lanes(xs)
    for block in range(ceil_div(outputs, ROWS)):
        tile, o = zero_tile(xs, TILE), min(block * ROWS, outputs - ROWS)
        for n in range(images):
            for i in range(count):
                tile = add_outer(tile, ROWS, dy, start + n * image + o * area + i, area, xs, (n * count + i) * panel,
                                 lanes(xs))
        to = at + block * ROWS * panel
        if seen:
            tile = add_tile(tile, total, to)
        store_tile(tile, total, to)


@inner
def add_panel(total, at, x, x_shape, dy, dy_shape, kernel, stride, k, cuts, mine):
    """total[at …] = what cuts (first, last) give to the panel that begins with k; `cuts`: as `bands_of` says."""
    (many, bands), (outputs, out_h, out_w), panel, taps = cuts, dy_shape[1:], COLS * lanes(x), kernel[0] * kernel[1]
    area, longest = out_h * out_w, many * ceil_div(out_h, bands) * out_w
    channels = (k // taps, ceil_div(k + panel, taps))
    gathers = stride != (1, 1)
    columns = np.empty(((channels[1] - channels[0]) * taps + 1) * longest if gathers else 0, x.dtype)
    xs = np.empty(longest * panel, x.dtype)
    for cut in range(mine[0], mine[1]):
        n, band = cut // bands * many, cut % bands
        images, (i0, i1) = min(x_shape[0] - n, many), part_of(band, bands, out_h)
        plane = (i1 - i0) * out_w
        if gathers:
            gather(columns, x, x_shape, (n, n + images), channels, (i0, i1), out_w, kernel, stride)
            row = images * plane
            pack_transposed(xs, panel, columns, (k - channels[0] * taps) * row, row, panel, row)
        else:
            for m in range(images):
                start = ((n + m) * x_shape[1] + k) * area + i0 * out_w
                pack_transposed(xs[m * plane * panel:], panel, x, start, area, panel, plane)
        start = n * outputs * area + i0 * out_w
        add_positions(total, at, dy, start, outputs * area, area, outputs, xs, images, plane, cut > mine[0])


@inner
def collect(p, dw, outputs, depth, total, size, sums, step):
    """dw[o, k] = total[p·size …] and `sums` - 1 more, `step` apart, for all o and for those k that no panel before p has."""
    panel = COLS * lanes(total)
    begin = min(p * panel, depth - panel)
    for o in range(outputs):
        block = o // ROWS
        row = p * size + (block * ROWS + o - min(block * ROWS, outputs - ROWS)) * panel + p * panel - begin
        to, count = dw[o * depth + p * panel:], begin + panel - p * panel
        for s in range(sums):
            of = total[row + s * step:]
            for k in range(count):
                to[k] = of[k] if s == 0 else to[k] + of[k]


@inner
def add_part(task, total, size, dw, x, x_shape, dy, dy_shape, kernel, stride, cuts, sums):
    """A panel of dw, for one of so many parts of all positions."""
    outputs, panel = dy_shape[1], COLS * lanes(x)
    depth = dw.size // outputs
    panels, all_cuts = ceil_div(depth, panel), ceil_div(x_shape[0], cuts[0]) * cuts[1]
    s, p = task // panels, task % panels
    add_panel(total, task * size, x, x_shape, dy, dy_shape, kernel, stride, min(p * panel, depth - panel), cuts,
              part_of(s, sums, all_cuts))
    if sums == 1:
        collect(p, dw, outputs, depth, total, size, 1, 0)


def weigh(dw, x, dy, kernel, stride):
    """dw[o, k] = Σ_p dy[o, p] · columns[k, p] for weights of at least ROWS outputs and a panel of k = (c, u, v)."""
    outputs, depth, panel = dw.shape[0], dw[0].size, COLS * lanes_of(x)
    panels = -(-depth // panel)
    cuts = bands_of(len(x), *dy.shape[2:], POSITIONS)
    all_cuts = -(-len(x) // cuts[0]) * cuts[1]
    sums = max(1, min(-(-TASKS // panels), all_cuts))
    size = -(-outputs // ROWS) * ROWS * panel
    total = (np.empty if all_cuts else np.zeros)(sums * panels * size, dw.dtype)
    each_task(add_part, sums * panels, (total, size, dw.ravel(), x.ravel(), x.shape, dy.ravel(), dy.shape, kernel, stride, cuts,
                                        sums))
    if sums > 1:
        each_task(collect, panels, (dw.ravel(), outputs, depth, total, size, sums, panels * size))
