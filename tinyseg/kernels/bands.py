"""Bands: the part of an image that a few output rows see, laid out so that vectors of positions can be read under any tap.

`flat` holds a band of output rows of some images, for one block of channels at a time, so that it stays in cache:

    under tap k = (c, u, v), positions[v] …  =  flat[offsets[k] + positions[v] + l],         l < lanes

It comes in two forms.  Where whole vectors fill the rows of the output well, it is the image with its zeros around it, and all
taps read it from different places: nothing is copied twice.  At stride s it is s·s images, each of every s-th row and column:
tap u reads phase (u·d - p) mod s, from row i + ⌊(u·d - p)/s⌋ on.  Else it is the columns of `conv.py`, one row for each tap.
In both, a row's last vector ends where the row ends, and may repeat positions of the one before.

`geometry` is (stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w), as in `conv.py`.
"""
from __future__ import annotations

import numpy as np

from .inner import inner
from .simd import COLS, copy_run, lanes

CACHED = 1 << 17      # values that a task works on: they stay in the second-level cache


@inner
def ceil_div(a, b):
    return (a + b - 1) // b


@inner
def keeps_rows(out_w, width, stride_h, stride_w, kernel):
    """May `flat` be the padded image?  At stride 1, where the vectors of a row compute at most a sixth in vain.

    At others columns cost more: a half.
    """
    computed = ceil_div(out_w, width) * width
    if stride_h == stride_w == 1:
        return kernel > 1 and out_w >= width and 6 * computed <= 7 * out_w
    return kernel > stride_h * stride_w and out_w >= width and 2 * computed <= 3 * out_w


@inner
def reach(kernel, stride, padding, dilation):
    """How many rows (or columns) of a phase lie between what the first and the last tap see."""
    return (dilation * (kernel - 1) - padding) // stride - -padding // stride


@inner
def extent(rows, out_w, kernel, geometry, by_rows):
    """(values in a row of flat, in a plane, planes for each channel): of an image or a phase of it, or a column."""
    if not by_rows:
        return out_w, rows * out_w, kernel[0] * kernel[1]
    pitch = out_w + reach(kernel[1], geometry[1], geometry[3], geometry[5])
    return pitch, (rows + reach(kernel[0], geometry[0], geometry[2], geometry[4])) * pitch, geometry[0] * geometry[1]


@inner
def bands_of(batch, out_h, out_w, size):
    """(images, bands): a task takes so many images, or one image's rows in so many bands, for about `size` positions."""
    if 2 * out_h * out_w <= size:
        return min(max(batch, 1), size // (out_h * out_w)), 1
    return 1, min(out_h, ceil_div(out_h * out_w, size))


@inner
def places_of(images, rows, out_w, pitch, plane, image, width, by_rows):
    """(positions in flat, places in the output), a number for each vector; both repeat the last one up to a whole tile."""
    lines, length = (rows, out_w) if by_rows else (1, rows * out_w)
    each = ceil_div(length, width)
    count = images * lines * each
    positions, places = np.empty(count + COLS, np.int64), np.empty(count + COLS, np.int64)
    v = 0
    for m in range(images):
        for i in range(lines):
            for k in range(each):
                j = min(k * width, length - width)
                positions[v] = m * plane + i * pitch + j
                places[v] = m * image + i * length + j
                v += 1
    positions[v:], places[v:] = positions[v - 1], places[v - 1]
    return positions, places, count


@inner
def offsets_of(channels, taps, kernel, pitch, row, geometry, by_rows):
    """Where in flat the values under tap k = (channel, tap) begin; the planes of all images take `row` values.

    The last one is repeated up to a whole tile.
    """
    count = channels * len(taps)
    offsets = np.empty(ceil_div(count, COLS) * COLS, np.int64)
    k = 0
    for c in range(channels):
        for t in range(len(taps)):
            u, v = taps[t, 1], taps[t, 2]
            if by_rows:
                (sh, sw, top, left), h, w = geometry[:4], u * geometry[4] - geometry[2], v * geometry[5] - geometry[3]
                offsets[k] = ((c * sh + h % sh) * sw + w % sw) * row + (h // sh - -top // sh) * pitch + w // sw - -left // sw
            else:
                offsets[k] = ((c * kernel[0] + u) * kernel[1] + v) * row
            k += 1
    offsets[k:] = offsets[k - 1] if k > 0 else 0
    return offsets


# Filling flat ---------------------------------------------------------------------------------------------------------

@inner
def zero_run(to, at, count):
    for k in range(count):
        to[at + k] = 0


@inner
def aligned_zeros(size, like):
    """An array whose vectors are whole lines of the cache."""
    array, width = np.zeros(size + lanes(like), like.dtype), lanes(like)
    return array[-(array.ctypes.data // array.itemsize) % width:]


@inner
def covered(left, count, width, step):
    """[first, last) of the `count` positions whose taps, at left, left + step, …, lie inside a row of `width` pixels."""
    first = min(count, max(0, (step - 1 - left) // step))
    return first, max(first, min(count, (width - 1 - left) // step + 1))


@inner
def fill_image(flat, at, x, source, height, width, rows, top, left, pitch, stride_h, stride_w):
    """Value (i, j) = x[source …][i·s + top, j·s + left] for `rows` rows of `pitch` values; 0 outside of the image."""
    first, last = covered(left, pitch, width, stride_w)
    for i in range(rows):
        h = i * stride_h + top
        if 0 <= h < height and first < last:
            zero_run(flat, at, first)
            copy_steps(flat, at + first, x, source + h * width + left + first * stride_w, stride_w, last - first)
            zero_run(flat, at + last, pitch - last)
        else:
            zero_run(flat, at, pitch)
        at += pitch


@inner
def fill_column(flat, at, x, source, width, upper, lower, first, last, out_w, top, left, stride_h, stride_w):
    """Value (i, j) = x[source …][i·s + top, j·s + left] for upper ≤ i < lower; inside the image where first ≤ j < last."""
    if stride_h == stride_w == 1 and out_w == width:              # all rows at once, then what came from the next becomes 0
        copy_run(flat, at + upper * out_w + first, x, source + (upper + top) * width + left + first,
                 (lower - upper - 1) * width + last - first)
    else:
        for i in range(upper, lower):
            of = source + (i * stride_h + top) * width + left + first * stride_w
            copy_steps(flat, at + i * out_w + first, x, of, stride_w, last - first)
    for j in range(first):
        for i in range(upper, lower):
            flat[at + i * out_w + j] = 0
    for j in range(last, out_w):
        for i in range(upper, lower):
            flat[at + i * out_w + j] = 0


@inner
def copy_steps(to, at, source, start, step, count):
    """to[at + j] = source[start + j·step]"""
    if step == 1:
        copy_run(to, at, source, start, count)
        return
    to, source = to[at:at + count], source[start:]
    if step == 2:                                                 # known to the compiler, it becomes vector instructions
        for j in range(count):
            to[j] = source[2 * j]
    else:
        for j in range(count):
            to[j] = source[j * step]


@inner
def fill(flat, x, shape, images, channels, rows, out_w, kernel, geometry, by_rows):
    """What is under the taps: of channels (first, last) of images (first, last) of x (N, C, H, W), for rows (first, last)."""
    stride_h, stride_w, top, left, dilation_h, dilation_w = geometry
    height, width = shape[2], shape[3]
    count = rows[1] - rows[0]
    if by_rows:
        (pitch, plane, phases), at = extent(count, out_w, kernel, geometry, by_rows), 0
        for c in range(channels[0], channels[1]):
            for phase in range(phases):
                upmost = (rows[0] + -top // stride_h) * stride_h + phase // stride_w
                leftmost = -left // stride_w * stride_w + phase % stride_w
                for n in range(images[0], images[1]):
                    fill_image(flat, at, x, (n * shape[1] + c) * height * width, height, width, plane // pitch, upmost,
                               leftmost, pitch, stride_h, stride_w)
                    at += plane
        return
    many, plane = images[1] - images[0], count * out_w
    for u in range(kernel[0]):
        upmost = rows[0] * stride_h + u * dilation_h - top
        upper, lower = covered(upmost, count, height, stride_h)
        for v in range(kernel[1]):
            leftmost = v * dilation_w - left
            first, last = covered(leftmost, out_w, width, stride_w)
            for c in range(channels[1] - channels[0]):
                at = ((c * kernel[0] + u) * kernel[1] + v) * many * plane
                for n in range(images[0], images[1]):
                    if first < last and upper < lower:
                        zero_run(flat, at, upper * out_w)
                        fill_column(flat, at, x, (n * shape[1] + channels[0] + c) * height * width, width, upper, lower, first,
                                    last, out_w, upmost, leftmost, stride_h, stride_w)
                        zero_run(flat, at + lower * out_w, (count - lower) * out_w)
                    else:
                        zero_run(flat, at, plane)
                    at += plane
