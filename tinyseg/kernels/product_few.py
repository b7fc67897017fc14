"""The weight gradient of 1x1 convolutions at stride 1 of few outputs, as at the end of a network.

    dw[o, c]  =  Σ_p dy[o, p] · x[c, p]

Transposing x, as `product_weights.py` does, would take longer than what a few outputs have to multiply.  Here vectors run over
positions, and x and dy are read where they lie: a tile of ROWS outputs x COLS channels adds products lane by lane, and the
lanes are added up after each *cut*, the positions whose rows stay in the second-level cache until all tiles have met them.

A task owns a panel of channels, and adds up a part of the cuts for it, which is fixed: the same bits at any number of threads.
"""
from __future__ import annotations

from functools import lru_cache

import numpy as np

from .bands import bands_of, ceil_div
from .inner import inner
from .product_columns import part_of
from .simd import REGISTERS, add_inner, add_sums, lanes, lanes_of, zero_tile
from .tasks import each_task

ROWS, COLS = (6, 4) if REGISTERS == 32 else (4, 3)
TILE = ROWS * COLS
PANEL = 16                 # tiles of channels, at the most
POSITIONS = 1024           # of a cut
TASKS = 8                  # at least, where there is enough to do; fixed, since the order of sums depends on it


@inner
def add_part(task, total, x, channels, dy, outputs, batch, vectors, cuts, panels):
    """total[s, block of outputs, block of channels, (r, n)] of a panel, for one of so many parts s of all cuts."""
    width, (many, bands), blocks = lanes(x), cuts, (ceil_div(outputs, ROWS), ceil_div(channels, COLS))
    area, all_cuts, sums = vectors * width, ceil_div(batch, many) * bands, len(total) // (blocks[0] * blocks[1])
    s, p = task // panels, task % panels
    first_cut, last_cut = part_of(s, sums, all_cuts)
    first_block, last_block = part_of(p, panels, blocks[1])
    for cut in range(first_cut, last_cut):
        n, (v0, v1) = cut // bands * many, part_of(cut % bands, bands, vectors)
        for i in range(blocks[0]):
            o = min(i * ROWS, outputs - ROWS)                # the last tile may repeat some of the one before it
            for j in range(first_block, last_block):
                c, tile = min(j * COLS, channels - COLS), zero_tile(x, TILE)
                for m in range(n, min(batch, n + many)):
                    for v in range(v0 * width, v1 * width, width):
                        tile = add_inner(tile, ROWS, dy, (m * outputs + o) * area + v, area,
                                         x, (m * channels + c) * area + v, area)
                add_sums(tile, total[(s * blocks[0] + i) * blocks[1] + j], 0)


@lru_cache(maxsize=256)
def places_of(outputs, channels, room):
    """Where the sums of all blocks, `room` values each, have those of (output, channel)."""
    o, c = np.arange(outputs)[:, None], np.arange(channels)
    i, j = o // ROWS, c // COLS
    r, n = o - np.minimum(i * ROWS, outputs - ROWS), c - np.minimum(j * COLS, channels - COLS)
    return (i * -(-channels // COLS) + j) * room + r * COLS + n


def weigh(dw, x, dy):
    """The formula above, for at least ROWS outputs and COLS channels, and images of whole vectors."""
    (batch, channels, height, width), outputs, vector = x.shape, len(dw), lanes_of(x)
    vectors, blocks = height * width // vector, (-(-outputs // ROWS), -(-channels // COLS))
    cuts, panels = bands_of(batch, vectors, vector, POSITIONS), -(-blocks[1] // PANEL)
    sums, room = max(1, min(-(-TASKS // panels), -(-batch // cuts[0]) * cuts[1])), -(-TILE // vector) * vector
    total = np.zeros((sums * blocks[0] * blocks[1], room), x.dtype)
    each_task(add_part, sums * panels, (total, x.ravel(), channels, dy.ravel(), outputs, batch, vectors, cuts, panels))
    dw[:, :, 0, 0] = total.reshape(sums, -1).sum(axis=0).take(places_of(outputs, channels, room))
