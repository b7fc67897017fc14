"""Depthwise convolution: every channel has a kernel of its own, and `lanes` channels share a vector.

There is no matrix product in it, and few multiplications for each value, so what counts is how values get into vectors.  Where
rows are whole vectors already, `depthwise_rows.py` computes it at stride 1, `depthwise_halves.py` at 2.  Here, for all else, a
band of rows of a block of channels is transposed on its way in: the vector at flat[position …] holds one pixel of all channels
of the block.  Then borders, strides, dilations and maps smaller than a vector cost nothing extra, the kernel is a vector for
each tap, and no lane ever meets another.  With S and R the steps at which results are written and the image is read,

    y[a + m·S, b + k·S]  =  bias + Σ_uv w[u, v] · x[m·R + row(u, a), k·R + col(v, b)],        a, b < S:  the phases

    convolution      S = 1,  R = s:   row(u, 0) = u·d - p
    input gradient   S = s,  R = 1:   row(u, a) = (a + p - u·d) / s, for those u where s divides it

and the gradient of w[u, v] is Σ_mk dy[m, k] · x[m·s + u·d - p, k·s + v·d - p], lane by lane.  In tables, for a phase,

    product[places[q] …]  =  Σ_t w[t …] · flat[starts[q] + offsets[t] …]

`geometry` is (stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w), as in `conv.py`.
"""
from __future__ import annotations

import numpy as np
from numba import get_num_threads, njit, prange

from .bands import aligned_zeros
from .depthwise_halves import bands_of_halves, convolve_halves, halves, spread_halves, weigh_halves
from .depthwise_rows import convolve_rows, plan_of_rows, suits, weigh_rows
from .inner import inner, stamped
from .simd import add_lane_products, add_tile, lanes, store_rows, store_tile, zero_tile
from .winograd_tiles import ceil_div, gather_run, spread_run, zero_run

POSITIONS = 8         # of a tile
TAPS = 9              # of a tile of the weight gradient
BAND = 1 << 10        # positions of a band: 64 KiB in vectors of 64 bytes
TINY = (1, 1), (1, 1)      # sizes to plan for where the plan is for another of the forms


@inner
def axis_of(out, size, kernel, stride, pad, dilation, back):
    """(phases S, step R, results of a phase, first pixel that a tap of result 0 reads, pixels from there to the last)."""
    if back:
        first, last = (pad - dilation * (kernel - 1)) // stride, (stride - 1 + pad) // stride
        return stride, 1, ceil_div(out, stride), first, last - first + 1
    return 1, stride, out, -pad, dilation * (kernel - 1) + 1


@inner
def shift_of(phase, tap, stride, pad, dilation, back):
    """row(u, a) or col(v, b) of the formula, and whether there is one."""
    if back:
        return (phase + pad - tap * dilation) // stride, (phase + pad - tap * dilation) % stride == 0
    return tap * dilation - pad, True


@inner
def layout_of(out, size, kernel, geometry, back):
    """(rows of a phase in a band, bands, rows of y, pixel row and column where flat begins, step of bands, rows, pitch)."""
    vertical = axis_of(out[0], size[0], kernel[0], geometry[0], geometry[2], geometry[4], back)
    across = axis_of(out[1], size[1], kernel[1], geometry[1], geometry[3], geometry[5], back)
    left = min(across[3], 0)
    pitch = max(size[1] - left, (across[2] - 1) * across[1] + across[3] + across[4] - left)
    most = max(1, BAND // max(vertical[0] * out[1], vertical[1] * pitch))
    bands = ceil_div(vertical[2], most)
    count = ceil_div(vertical[2], bands)
    step = count * vertical[1]
    return count, bands, count * vertical[0], vertical[3], left, step, step - vertical[1] + vertical[4], pitch


@inner
def tables_of(out, kernel, geometry, back, layout, width):
    """starts, places; offsets and numbers of the taps; where each phase begins in the former and in the latter."""
    count, _, _, top, left, _, _, pitch = layout
    steps, reads = (geometry[:2], (1, 1)) if back else ((1, 1), geometry[:2])
    phases = steps[0] * steps[1]
    size = count * out[1] * steps[0] + phases * POSITIONS
    starts, places = np.empty(size, np.int64), np.empty(size, np.int64)
    taps = np.empty(kernel[0] * kernel[1], np.int64)
    offsets = np.zeros(ceil_div(taps.size, TAPS) * TAPS, np.int64)
    begin = np.zeros((phases + 1, 2), np.int64)
    q = t = 0
    for phase in range(phases):
        a, b = phase // steps[1], phase % steps[1]
        for m in range(count):
            for k in range(ceil_div(out[1] - b, steps[1])):
                starts[q] = (m * reads[0] * pitch + k * reads[1]) * width
                places[q] = ((m * steps[0] + a) * out[1] + k * steps[1] + b) * width
                q += 1
        while q % POSITIONS and q > begin[phase, 0]:
            starts[q], places[q] = starts[q - 1], places[q - 1]
            q += 1
        for u in range(kernel[0]):
            row, fits = shift_of(a, u, geometry[0], geometry[2], geometry[4], back)
            for v in range(kernel[1]):
                col, suits = shift_of(b, v, geometry[1], geometry[3], geometry[5], back)
                if fits and suits:
                    offsets[t], taps[t] = ((row - top) * pitch + col - left) * width, u * kernel[1] + v
                    t += 1
        begin[phase + 1] = q, t
    return starts, places, offsets, taps, begin


@inner
def inner_places(rows, size, left, pitch, width):
    """Where flat keeps the pixels of rows of the image, one after the other."""
    places = np.empty(rows * size, np.int64)
    for k in range(places.size):
        places[k] = (k // size * pitch + k % size - left) * width
    return places


@inner
def plan_of(out, size, kernel, geometry, back, width):
    """(layout, tables, places of an image's pixels in flat, places of results in a band of them)."""
    layout = layout_of(out, size, kernel, geometry, back)
    return (layout, tables_of(out, kernel, geometry, back, layout, width),
            inner_places(layout[6], size[1], layout[4], layout[7], width), inner_places(layout[2], out[1], 0, out[1], width))


@inner
def fill(flat, inner, x, source, channels, size, top, rows, pitch):
    """The band of `rows` rows from pixel row `top` on; columns beside the image are 0 already."""
    width, (height, across) = lanes(x), size
    upper = min(rows, max(0, -top))
    lower = max(upper, min(rows, height - top))
    zero_run(flat, 0, upper * pitch * width)
    zero_run(flat, lower * pitch * width, (rows - lower) * pitch * width)
    spread_run(flat, inner, upper * pitch * width, x, source + (top + upper) * across, height * across, channels, 0,
               (lower - upper) * across)


@inner
def convolve_jobs(y, x, shape, out, weight, bias, jobs, layout, tables, inner, linear):
    """Jobs (first, last), each a band of a block of channels of an image: y (N, C, *out), x of that shape, both flat."""
    (batch, channels, height, across), width = shape, lanes(y)
    _, bands, rows, top, _, step, tall, pitch = layout
    starts, places, offsets, taps, begin = tables
    flat, product = aligned_zeros(tall * pitch * width, y), aligned_zeros(rows * out[1] * width, y)
    w, block, zero = aligned_zeros(taps.size * width, y), -1, np.zeros(1, y.dtype)
    for job in range(jobs[0], jobs[1]):
        c, n, band = job // (batch * bands) * width, job // bands % batch, job % bands
        many = min(width, channels - c)
        if c != block:
            block = c
            for t in range(taps.size):
                for lane in range(many):
                    w[t * width + lane] = weight[(c + lane) * taps.size + taps[t]]
        plane = n * channels + c
        fill(flat, inner, x, plane * height * across, many, (height, across), band * step + top, tall, pitch)
        for phase in range(len(begin) - 1):
            for q in range(begin[phase, 0], begin[phase + 1, 0], POSITIONS):
                tile = zero_tile(flat, POSITIONS)
                for t in range(begin[phase, 1], begin[phase + 1, 1]):
                    tile = add_lane_products(tile, 1, w, t * width, flat, starts, q, offsets[t])
                store_rows(tile, 1, product, 0, 0, places, q, zero, 0, 1)
        gather_run(y, (plane * out[0] + band * rows) * out[1], out[0] * out[1], many, bias, c, product, linear, 0, 0,
                   min(rows, out[0] - band * rows) * out[1], False)


@inner
def weigh_jobs(total, x, shape, dy, out, c, jobs, layout, tables, inner, linear):
    """total[t, lane] = what jobs (first, last), each a band of an image, give to the gradient of channels from c on."""
    (_, channels, height, across), width = shape, lanes(x)
    _, bands, rows, top, _, step, tall, pitch = layout
    starts, _, offsets, taps, _ = tables
    flat, upstream = aligned_zeros(tall * pitch * width, x), aligned_zeros(rows * out[1] * width, x)
    many = min(width, channels - c)
    for job in range(jobs[0], jobs[1]):
        band, plane = job % bands, job // bands * channels + c
        fill(flat, inner, x, plane * height * across, many, (height, across), band * step + top, tall, pitch)
        count = min(rows, out[0] - band * rows) * out[1]
        spread_run(upstream, linear, 0, dy, (plane * out[0] + band * rows) * out[1], out[0] * out[1], many, 0, count)
        for t in range(0, offsets.size, TAPS):
            tile = zero_tile(flat, TAPS)
            for q in range(count):
                tile = add_lane_products(tile, 1, upstream, q * width, flat, offsets, t, starts[q])
            store_tile(add_tile(tile, total, t * width), total, t * width)


@stamped
@njit(cache=True, parallel=True, nogil=True)
def convolve(y, x, shape, out, weight, bias, kernel, geometry, back, tasks):
    """The formula above; y (N, C, *out), x (N, C, H, W) = shape and weight (C, 1, *kernel), all flat.

    A task owns a few bands; there are about so many tasks where rows are whole vectors.
    """
    width, size = lanes(y), (shape[2], shape[3])
    large, small = (out, size) if back else (size, out)
    by_rows, by_halves = suits(out, size, kernel, geometry, back, width), halves(large, small, kernel, geometry, width)
    lane_by_lane = not (by_rows or by_halves)
    by_lanes_of, by_rows_of = (out, size) if lane_by_lane else TINY, (out, size) if by_rows else TINY
    layout, tables, inner, linear = plan_of(by_lanes_of[0], by_lanes_of[1], kernel, geometry, back, width)
    rows, vectors = plan_of_rows(by_rows_of[0], by_rows_of[1], geometry, back, width)
    blocks, bands, each = ceil_div(shape[1], width), layout[1], BAND // 2 // (layout[2] * out[1])
    if by_rows:
        blocks, bands, each = shape[1], rows[0], ceil_div(shape[0] * shape[1] * rows[0], tasks)
    elif by_halves:
        (bands, most), blocks = bands_of_halves(small), shape[1]
        each = 8 * BAND // (most * small[1])
    jobs, some = shape[0] * blocks * bands, max(1, each)
    for task in prange(ceil_div(jobs, some)):
        mine = task * some, min(jobs, (task + 1) * some)
        if by_rows:
            convolve_rows(y, x, shape, out, weight, bias, geometry[4:], back, mine, rows, vectors)
        elif by_halves and back:
            spread_halves(y, x, shape, out, weight, bias, mine)
        elif by_halves:
            convolve_halves(y, x, shape, out, weight, bias, mine)
        else:
            convolve_jobs(y, x, shape, out, weight, bias, mine, layout, tables, inner, linear)


@stamped
@njit(cache=True, parallel=True, nogil=True)
def weigh(dw, x, shape, dy, out, kernel, geometry, tasks):
    """dw[c, u, v] = Σ_nij dy[n, c, i, j] x[n, c, i·s + u·d - p, j·s + v·d - p], all flat.

    A task owns some channels, of which about so many tasks are made where rows are whole vectors; else a part of a sum.
    """
    width, size = lanes(x), (shape[2], shape[3])
    by_rows, by_halves = suits(out, size, kernel, geometry, False, width), halves(size, out, kernel, geometry, width)
    lane_by_lane = not (by_rows or by_halves)
    by_lanes_of, by_rows_of = (out, size) if lane_by_lane else TINY, (out, size) if by_rows else TINY
    layout, tables, inner, linear = plan_of(by_lanes_of[0], by_lanes_of[1], kernel, geometry, False, width)
    rows, vectors = plan_of_rows(by_rows_of[0], by_rows_of[1], geometry, False, width)
    jobs, some = shape[0] * layout[1], max(1, 4 * BAND // (layout[2] * out[1]))
    parts, each = ceil_div(jobs, some), ceil_div(shape[1], tasks)
    total = np.zeros((ceil_div(shape[1], width), parts, tables[2].size * width), dw.dtype)
    count = len(total) * parts if lane_by_lane else ceil_div(shape[1], each)
    for task in prange(count):
        some_channels = task * each, min(shape[1], (task + 1) * each)
        if by_rows:
            weigh_rows(dw, x, shape, dy, out, some_channels, geometry[4:], rows, vectors)
        elif by_halves:
            weigh_halves(dw, x, shape, dy, out, some_channels)
        else:
            block, part = task // parts, task % parts
            mine = part * some, min(jobs, (part + 1) * some)
            weigh_jobs(total[block, part], x, shape, dy, out, block * width, mine, layout, tables, inner, linear)
    if lane_by_lane:
        add_parts(dw, total, kernel[0] * kernel[1], width)


@inner
def add_parts(dw, total, taps, width):
    """dw[c, t] = the sum of total[block of c, part, t, lane of c] over all parts."""
    for c in range(dw.size // taps):
        sums = total[c // width, :, c % width::width]
        for t in range(taps):
            dw[c * taps + t] = 0
            for part in range(len(sums)):
                dw[c * taps + t] += sums[part, t]


def tasks():
    """Enough to divide them well, and few enough to make a task's memory worth while."""
    return 4 * get_num_threads()


def conv2d(y, x, weight, bias, geometry):
    """As `conv.conv2d`, for weights (C, 1, KH, KW) and as many groups as channels."""
    convolve(y.reshape(-1), x.reshape(-1), x.shape, y.shape[2:], weight.reshape(-1), bias, weight.shape[2:], geometry, False,
             tasks())


def conv2d_input_grad(dx, dy, weight, bias, geometry):
    """As `conv.conv2d_input_grad`."""
    convolve(dx.reshape(-1), dy.reshape(-1), dy.shape, dx.shape[2:], weight.reshape(-1), bias, weight.shape[2:], geometry, True,
             tasks())


def conv2d_weight_grad(dw, x, dy, geometry):
    """As `conv.conv2d_weight_grad`."""
    weigh(dw.reshape(-1), x.reshape(-1), x.shape, dy.reshape(-1), dy.shape[2:], dw.shape[2:], geometry, tasks())
