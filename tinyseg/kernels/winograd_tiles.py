"""Winograd's algorithms F(m x m, 3 x 3), m = 2 or 4: their matrices, and how an image is cut into tiles for them.

A tile of m x m outputs sees e x e inputs, e = m + 2.  In one dimension, m outputs of a 3-tap filter need only e products
(Lavin & Gray 2016, section 3; Winograd 1980):

    y  =  Aᵀ [(G g) ⊙ (Bᵀ d)],         y[i] = Σ_u g[u] d[i + u]

since y, g and d are coefficients of polynomials, a product of polynomials is known from its values at e - 1 points and at
infinity, and their values are what the matrices compute.  F(2, 3) takes the points 0, ±1 as in the paper.  F(4, 3) takes
0, ±A, ±B: the paper's 0, ±1, ±2 would make its rounding errors four times larger (Barabasz et al. 2020 on the choice).

In two dimensions both sides are transformed, for every pair of a channel c and an output o,

    Y_o  =  Aᵀ [Σ_c (G g_oc Gᵀ) ⊙ (Bᵀ d_c B)] A

and e·e products take the place of 9·m·m: 2.25 times fewer for m = 2, 4 times for m = 4.

With dilation δ, every δ-th pixel of an image is an image of its own.  Down the rows they are taken for such: N images of H rows
become N·δ of every δ-th row, `phases`.  Across, where pixels lie side by side in memory, tiles that begin at δ neighbours, and
take every δ-th pixel, cover m·δ columns together.
"""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .inner import inner
from .simd import lanes
from .simd_memory import stream_columns
from .simd_squares import gather_columns, spread_columns, transpose, two_sided

# Bᵀ, G and Aᵀ, as products of matrices where rows have sums in common
INPUT2 = ([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],)
KERNEL2 = ([[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]],)
OUTPUT2 = ([[1, 1, 1, 0], [0, 1, -1, -1]],)

A, B = 3 / 4, 3 / 2


def even_and_odd(a, b):
    """(x₀, x₁ + a·x₂, x₁ - a·x₂, x₃ + b·x₄, x₃ - b·x₄, x₅): values at a, -a, b and -b from the even and the odd powers."""
    return [[1, 0, 0, 0, 0, 0],
            [0, 1, a, 0, 0, 0],
            [0, 1, -a, 0, 0, 0],
            [0, 0, 0, 1, b, 0],
            [0, 0, 0, 1, -b, 0],
            [0, 0, 0, 0, 0, 1]]


INPUT4 = (even_and_odd(A, B),
          [[A**2 * B**2, 0, -A**2 - B**2, 0, 1, 0],
           [0, 0, -B**2, 0, 1, 0],
           [0, -B**2, 0, 1, 0, 0],
           [0, 0, -A**2, 0, 1, 0],
           [0, -A**2, 0, 1, 0, 0],
           [0, A**2 * B**2, 0, -A**2 - B**2, 0, 1]])
AT_0, AT_A, AT_B = A**2 * B**2, 2 * A**2 * (A**2 - B**2), 2 * B**2 * (B**2 - A**2)
KERNEL4 = (even_and_odd(1, 1),
           [[1 / AT_0, 0, 0],
            [1 / AT_A, 0, A**2 / AT_A],
            [0, A / AT_A, 0],
            [1 / AT_B, 0, B**2 / AT_B],
            [0, B / AT_B, 0],
            [0, 0, 1]])
OUTPUT4 = ([[1, 1, 0, 1, 0, 0], [0, 0, A, 0, B, 0], [0, A**2, 0, B**2, 0, 0], [0, 0, A**3, 0, B**3, 1]], even_and_odd(1, 1))

transform_input2, transform_input4 = two_sided(*INPUT2), two_sided(*INPUT4)
transform_kernel2, transform_kernel4 = two_sided(*KERNEL2), two_sided(*KERNEL4)
transform_output2, transform_output4 = two_sided(*OUTPUT2), two_sided(*OUTPUT4)
# of the weight gradient, whose dy takes the way of y back, and dw that of g
transform_upstream2, transform_upstream4 = two_sided(*transpose(*OUTPUT2)), two_sided(*transpose(*OUTPUT4))
collect_kernel2, collect_kernel4 = two_sided(*transpose(*KERNEL2)), two_sided(*transpose(*KERNEL4))


@inner
def ceil_div(a, b):
    return (a + b - 1) // b


class Plan(NamedTuple):
    """How the tiles of an output are divided: into blocks of whole phases, or bands of one, or parts of a band's columns."""

    phases: int                    # of all images
    tall: int                      # rows of tiles of a phase
    wide: int                      # columns, where tiles that cover the same m·δ pixels count as one
    together: int                  # phases in a block
    bands: int                     # a phase's rows are cut into
    parts: int                     # a band's columns are cut into
    tiles: int                     # of a block, at the most
    rows: int                      # of outputs that the tiles of a block cover in a phase, at the most
    pitch: int                     # and columns


def plan(batch, size, dilation, m, tiles):
    """Blocks of about so many tiles for outputs (H, W)."""
    dh, dw = dilation
    tall, wide = -(-size[0] // (m * dh)), -(-size[1] // (m * dw))
    most = -(-max(8, tiles) // dw)                            # 8: an image of less columns than lanes is not cut into parts
    if tall * wide <= most:
        together, bands, parts = min(max(batch * dh, 1), most // max(1, tall * wide)), 1, 1
    else:
        parts = -(-wide // most)
        together, bands = 1, -(-tall // max(1, most // -(-wide // parts)))
    high, broad = -(-tall // bands), -(-wide // parts)
    return Plan(batch * dh, tall, wide, together, bands, parts, together * high * broad * dw, high * m, broad * m * dw)


@inner
def block_of(number, cuts):
    """((first, last) phase, (first, last) row of tiles, (first, last) column of tiles) of a block; cuts: a Plan."""
    phases, tall, wide, together, bands, parts = cuts[:6]
    n, band, part = number // (bands * parts) * together, number // parts % bands, number % parts
    return ((n, min(phases, n + together)), (band * tall // bands, (band + 1) * tall // bands),
            (part * wide // parts, (part + 1) * wide // parts))


@inner
def corners_of(tall, wide, pitch, dilation, m, each):
    """Where in a band (rows, pitch, each) the tiles begin: dilated ones begin at δ neighbours, and skip the others."""
    corners = np.empty(tall * wide * dilation, np.int64)
    for t in range(corners.size):
        tile, shift = t // dilation, t % dilation
        corners[t] = (tile // wide * m * pitch + tile % wide * m * dilation + shift) * each
    return corners


# Between an image, whose columns stand side by side, and a band of it, where channels do ------------------------------

def places_of(rows, width, pitch, left, each):
    """places[i·width + j] + at, at = -left·each: where a band (rows, pitch, each) keeps column j of an image in its row i.

    Where runs go over rows of less than a vector, columns outside of the band go to one place behind it.
    """
    i, j = np.indices((rows, width))
    kept = (width >= each) | (0 <= j - left) & (j - left < pitch)
    return np.where(kept, i * pitch + j, rows * pitch + left).ravel() * each


@inner
def zero_run(to, at, count):
    for k in range(count):
        to[at + k] = 0


@inner
def first_step(array, at, count):
    """How far the second vector of a long run lies behind the first: from there on each is one line of the cache.

    Where the size of an image is a power of two, all its channels fall on the same few lines of the first-level cache, and
    drive each other out: a line that two vectors share would be fetched twice.
    """
    width = lanes(array)
    skew = -(array.ctypes.data // array.itemsize + at) % width
    return skew if skew > 0 and count >= 16 * width else width


@inner
def spread_run(flat, places, at, x, source, plane, channels, first, last):
    """flat[at + places[k] + c] = x[source + c·plane + k] for first ≤ k < last."""
    width = lanes(x)
    if last - first < width:
        for k in range(first, last):
            for c in range(channels):
                flat[at + places[k] + c] = x[source + c * plane + k]
    else:
        k, step = first, first_step(x, source + first, last - first)
        while k < last:
            run = min(k, last - width)                                   # the last one may repeat positions
            spread_columns(flat, places, run, at, x, source + run, plane, channels)
            k, step = k + step, width


@inner
def gather_run(y, start, plane, channels, bias, channel, flat, places, at, first, last, streams):
    """y[start + c·plane + k] = bias[channel + c] + flat[at + places[k] + c] for first ≤ k < last.

    `streams`: whole lines of the cache go past it.
    """
    width = lanes(y)
    if last - first < width:
        for k in range(first, last):
            for c in range(channels):
                y[start + c * plane + k] = bias[channel + c] + flat[at + places[k] + c]
    else:
        k, step = first, first_step(y, start + first, last - first)
        while k < last:
            run = min(k, last - width)
            if streams and (start + run) % width == 0:
                stream_columns(y, start + run, plane, channels, bias, channel, flat, places, run, at)
            else:
                gather_columns(y, start + run, plane, channels, bias, channel, flat, places, run, at)
            k, step = k + step, width


@inner
def inside(top, step, rows, height):
    """[first, last) of the rows top, top + step, … that lie in an image of this height."""
    first = min(rows, max(0, ceil_div(-top, step)))
    return first, max(first, min(rows, ceil_div(height - top, step)))


@inner
def fill(flat, places, x, source, channels, size, top, step, left, rows, pitch):
    """flat[(i·pitch + j)·lanes + c] = x[source + c·H·W …][top + i·step, left + j] in size (H, W), 0 outside of the image."""
    each, (height, width) = lanes(x), size
    upper, lower = inside(top, step, rows, height)
    first = min(pitch, max(0, -left))
    last = max(first, min(pitch, width - left))
    by_rows = width >= each or step > 1
    for i in range(rows):
        begin, end = (first, last) if upper <= i < lower else (pitch, pitch)
        zero_run(flat, i * pitch * each, begin * each)
        zero_run(flat, (i * pitch + end) * each, (pitch - end) * each)
        if by_rows and begin < end:
            start = source + (top + i * step - i) * width
            spread_run(flat, places, -left * each, x, start, height * width, channels, i * width + left + begin,
                       i * width + left + end)
    if not by_rows:
        spread_run(flat, places, -left * each, x, source + top * width, height * width, channels, upper * width, lower * width)


@inner
def collect(y, source, channels, bias, channel, size, top, step, left, rows, cols, flat, places, streams):
    """y[source + c·H·W …][top + i·step, left + j] = bias[channel + c] + band[i, j, c], i < rows, j < cols, in size (H, W)."""
    each, (height, width) = lanes(y), size
    upper, lower = inside(top, step, rows, height)
    last = min(cols, width - left)
    if width >= each or step > 1:
        for i in range(upper, lower):
            start = source + (top + i * step - i) * width
            gather_run(y, start, height * width, channels, bias, channel, flat, places, -left * each, i * width + left,
                       i * width + left + last, streams)
    else:
        gather_run(y, source + top * width, height * width, channels, bias, channel, flat, places, -left * each, upper * width,
                   lower * width, streams)
