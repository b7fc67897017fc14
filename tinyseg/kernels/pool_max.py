"""Max pooling: the largest of each window, and which tap of the window it is under.

Tap (u, v) has the number u·kernel_w + v, one byte as a rule, where a place in the plane takes eight.  That is all a gradient
needs to find its way back (`pool_places.py`).  Where nobody wants to know, `taps` is None, and not computed.
"""
from __future__ import annotations

import numpy as np

from .bands import covered
from .inner import inner
from .tasks import each_task

BAND = 2048          # outputs that are computed together


# Rows.  Who gets one does not cut it up any more: each piece would be counted as a reference to the whole array, and threads
# that count the same one wait for each other.

@inner
def fill_row(to, value):
    for j in range(to.size):
        to[j] = value


@inner
def copy_row(to, row):
    for j in range(to.size):
        to[j] = row[j]


@inner
def copy_steps(to, row, step):
    for j in range(to.size):
        to[j] = row[j * step]


@inner
def split_row(even, odd, row):
    for j in range(even.size):
        even[j], odd[j] = row[2 * j], row[2 * j + 1]


@inner
def fill_phases(flat, x, n, top, left, plane, pitch, stride_h, stride_w):
    """flat[phase, i, j] = x[n, top + i·s + phase // s, left + j·s + phase % s] for the s·s phases; -inf outside of the image.

    What is left of all pixels, or right of them, is -inf already.
    """
    height, width = x.shape[1:]
    first, last = covered(left, pitch, width - stride_w + 1, stride_w)         # where all phases of columns have a pixel
    start = max(0, left + first * stride_w)
    for i in range(plane // pitch * stride_h):
        h, at = top + i, i % stride_h * stride_w * plane + i // stride_h * pitch
        if h < 0 or h >= height:
            for p in range(stride_w):
                fill_row(flat[at + p * plane:at + p * plane + pitch], -np.inf)
            continue
        if stride_w == 1:
            copy_row(flat[at + first:at + last], x[n, h, start:])
        elif stride_w == 2:                                       # known to the compiler, it becomes vector instructions
            split_row(flat[at + first:at + last], flat[at + plane + first:], x[n, h, start:])
        else:
            for p in range(stride_w):
                copy_steps(flat[at + p * plane + first:at + p * plane + last], x[n, h, start + p:], stride_w)
        for j in (first - 1, last):                               # where some have
            for p in range(stride_w):
                if 0 <= j < pitch and 0 <= left + j * stride_w + p < width:
                    flat[at + p * plane + j] = x[n, h, left + j * stride_w + p]


# Maxima ---------------------------------------------------------------------------------------------------------------

@inner
def wins(value, largest):
    """The first of equal ones stays; NaN is larger than all."""
    return value > largest or np.isnan(value)


@inner
def larger(a, b):
    return b if wins(b, a) else a


@inner
def halve(y, taps, upper, lower):
    """The largest of each 2x2 pixels of two rows."""
    for j in range(y.size):
        a, b, c, d = upper[2 * j], upper[2 * j + 1], lower[2 * j], lower[2 * j + 1]
        right, below_right = wins(b, a), wins(d, c)
        above, below = b if right else a, d if below_right else c
        down = wins(below, above)
        y[j] = below if down else above
        if taps is not None:
            taps[j] = 2 + below_right if down else right


@inner
def halve_plane(n, y, taps, x):
    for i in range(y.shape[1]):
        halve(y[n, i], None if taps is None else taps[n, i], x[n, 2 * i], x[n, 2 * i + 1])


@inner
def largest_of_three(best, a, b, c):
    for k in range(best.size):
        best[k] = larger(larger(a[k], b[k]), c[k])


@inner
def keep_larger(best, taps, values, within, tap):
    """best[k], taps[k] = values[k], tap + within[k] where the value is larger."""
    for k in range(best.size):
        value, largest = values[k], best[k]
        best[k] = larger(largest, value)
        if taps is not None:
            here, kept = tap + within[k], taps[k]
            taps[k] = here if wins(value, largest) else kept


@inner
def part(row, first, last):
    return None if row is None else row[first:last]


@inner
def largest_of_taps(best, taps, values, within, count, weight, dilation, stride, plane, step):
    """best[k] = max_u values[at(u) + k],  taps[k] = u·weight + within[at(u) + k] of the largest,   u < count

    at(u) = (u·d % s)·plane + u·d // s·step
    """
    if taps is None:
        b, c = min(1, count - 1) * dilation, min(2, count - 1) * dilation
        largest_of_three(best, values, values[b % stride * plane + b // stride * step:],
                         values[c % stride * plane + c // stride * step:])
    else:
        copy_row(best, values)
        copy_row(taps, within)
    for u in range(3 if taps is None else 1, count):
        at = u * dilation % stride * plane + u * dilation // stride * step
        keep_larger(best, taps, values[at:], part(within, at, at + best.size), u * weight)


@inner
def taps_like(values, taps):
    return None if taps is None else np.zeros(values.size, taps.dtype)


@inner
def copy_rows(to, rows, pitch):
    """to[i] = rows[i·pitch:], as long as there are some;  is any value -inf?"""
    found = False
    for i in range(min(to.shape[0], rows.size // pitch)):
        row = rows[i * pitch:]
        for j in range(to.shape[1]):
            to[i, j] = row[j]
            found |= row[j] == -np.inf
    return found


@inner
def max_pool_plane(n, y, taps, x, kernel, geometry):
    """Along rows, then down columns, for some rows of outputs at once: vectors run along all of them."""
    (sh, sw, ph, pw, dh, dw), (out_h, out_w) = geometry, y.shape[1:]
    rows, pitch = min(out_h, BAND // out_w + 1), out_w + dw * (kernel[1] - 1) // sw
    plane = (rows + dh * (kernel[0] - 1) // sh) * pitch                                   # values of a phase
    flat = np.full(sh * sw * plane + pitch, -np.inf, x.dtype)
    lines, best = np.empty(sh * plane, x.dtype), np.empty(rows * pitch, x.dtype)
    zeros, line_taps, best_taps = taps_like(flat, taps), taps_like(lines, taps), taps_like(best, taps)
    lowest = False
    for first in range(0, out_h, rows):
        fill_phases(flat, x, n, first * sh - ph, -pw, plane, pitch, sh, sw)
        for at in range(0, sh * plane, plane):
            largest_of_taps(lines[at:at + plane], part(line_taps, at, at + plane), flat[at * sw:], zeros, kernel[1], 1,
                            dw, sw, plane, 1)
        largest_of_taps(best, best_taps, lines, line_taps, kernel[0], kernel[1], dh, sh, plane, pitch)
        lowest |= copy_rows(y[n, first:], best, pitch)
        if taps is not None:
            copy_rows(taps[n, first:], best_taps, pitch)
    if taps is not None and lowest:
        correct_taps(n, y, taps, x.shape[1:], kernel, geometry)


@inner
def correct_taps(n, y, taps, shape, kernel, geometry):
    """The first tap of a window in which all is -inf may lie in the padding: the first pixel counts."""
    sh, sw, ph, pw, dh, dw = geometry
    for i in range(y.shape[1]):
        for j in range(y.shape[2]):
            if y[n, i, j] == -np.inf:
                taps[n, i, j] = first_tap(i * sh - ph, j * sw - pw, shape, kernel, (dh, dw))


@inner
def first_tap(top, left, shape, kernel, dilation):
    """The first tap of a window that has a pixel; the number of taps if none has."""
    u, v = max(0, -(top // dilation[0])), max(0, -(left // dilation[1]))
    inside = u < kernel[0] and v < kernel[1] and top + u * dilation[0] < shape[0] and left + v * dilation[1] < shape[1]
    return u * kernel[1] + v if inside else kernel[0] * kernel[1]


def halves(kernel, geometry, y, x):
    """The usual case, in which no window reaches beyond the image, or shares a pixel with another one."""
    return (kernel == (2, 2) and geometry == (2, 2, 0, 0, 1, 1)
            and 2 * y.shape[1] <= x.shape[1] and 2 * y.shape[2] <= x.shape[2])


def max_pool2d(y, taps, x, kernel, geometry):
    """y[n, i, j] = max_uv x[n, i·s + u·d - p, j·s + v·d - p];  taps[n, i, j] = u·kernel_w + v of it, or `taps` is None.

    NaN wins; of equal maxima the first in the window counts.  A window that lies in the padding alone gives -inf, and the
    number of taps.  geometry = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w).
    """
    if halves(kernel, geometry, y, x):
        each_task(halve_plane, len(x), (y, taps, x))
    else:
        each_task(max_pool_plane, len(x), (y, taps, x, kernel, geometry))
