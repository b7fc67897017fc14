"""Pooling over windows.  One task owns one plane (n, c), so overlapping windows are added by one thread."""
from __future__ import annotations

import numpy as np
from numba import njit, prange

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


# The largest values alone ---------------------------------------------------------------------------------------------

@inner
def larger(a, b):
    """The first of equal ones; NaN is larger than all."""
    return b if b > a or np.isnan(b) else a


@inner
def halve(y, upper, lower):
    """The largest of each 2x2 pixels of two rows."""
    for j in range(y.size):
        y[j] = larger(larger(upper[2 * j], upper[2 * j + 1]), larger(lower[2 * j], lower[2 * j + 1]))


@inner
def largest_of_three(best, a, b, c):
    for k in range(best.size):
        best[k] = larger(larger(a[k], b[k]), c[k])


@inner
def keep_larger(best, values):
    for k in range(best.size):
        best[k] = larger(best[k], values[k])


@inner
def largest_of_taps(best, flat, taps, dilation, stride, plane, step):
    """best[k] = max_u flat[(u·d % s)·plane + u·d // s·step + k],  u < taps"""
    b, c = min(1, taps - 1) * dilation, min(2, taps - 1) * dilation
    largest_of_three(best, flat, flat[b % stride * plane + b // stride * step:], flat[c % stride * plane + c // stride * step:])
    for u in range(3 * dilation, taps * dilation, dilation):
        keep_larger(best, flat[u % stride * plane + u // stride * step:])


@inner
def max_pool_plane(n, y, x, kernel, geometry):
    """Along rows, then down columns, for some rows of outputs at once: vectors run along all of them."""
    (sh, sw, ph, pw, dh, dw), (out_h, out_w) = geometry, y.shape[1:]
    if halves(kernel, geometry, y, x):
        for i in range(out_h):
            halve(y[n, i], x[n, 2 * i], x[n, 2 * i + 1])
        return
    rows, pitch, plane = band_of(out_h, out_w, kernel, geometry)
    flat = np.full(sh * sw * plane + pitch, -np.inf, x.dtype)
    lines, best = np.empty(sh * plane, x.dtype), np.empty(rows * pitch, x.dtype)
    for first in range(0, out_h, rows):
        fill_phases(flat, x, n, first * sh - ph, -pw, plane, pitch, sh, sw)
        for phase in range(sh):
            largest_of_taps(lines[phase * plane:(phase + 1) * plane], flat[phase * sw * plane:], kernel[1], dw, sw, plane, 1)
        largest_of_taps(best, lines, kernel[0], dh, sh, plane, pitch)
        for i in range(min(rows, out_h - first)):
            copy_row(y[n, first + i], best[i * pitch:])


@inner
def halves(kernel, geometry, y, x):
    """The usual case, in which no window reaches beyond the image, or shares a pixel with another one."""
    return (kernel == (2, 2) and geometry == (2, 2, 0, 0, 1, 1)
            and 2 * y.shape[1] <= x.shape[1] and 2 * y.shape[2] <= x.shape[2])


@inner
def band_of(out_h, out_w, kernel, geometry):
    """Rows of outputs that are computed at once, values from one row to the next, values of a phase."""
    rows, pitch = min(out_h, BAND // out_w + 1), out_w + geometry[5] * (kernel[1] - 1) // geometry[1]
    return rows, pitch, (rows + geometry[4] * (kernel[0] - 1) // geometry[0]) * pitch


def max_pool2d(y, x, kernel, geometry):
    """y[n, i, j] = max_uv x[n, i·s + u·d - p, j·s + v·d - p];  NaN wins.  A window that lies in the padding alone gives -inf.

    geometry = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w).
    """
    each_task(max_pool_plane, len(x), (y, x, kernel, geometry))


# And their places -----------------------------------------------------------------------------------------------------

@inner
def halve_and_place(y, indices, upper, lower, start):
    """The largest of each 2x2 pixels of two rows, the first of equal ones; `start` is where `upper` stands in its plane."""
    width = upper.size
    for j in range(y.size):
        best, where = upper[2 * j], 2 * j
        for value, at in ((upper[2 * j + 1], 2 * j + 1), (lower[2 * j], width + 2 * j), (lower[2 * j + 1], width + 2 * j + 1)):
            if value > best or np.isnan(value):
                best, where = value, at
        y[j], indices[j] = best, start + where


@inner
def keep_larger_and_shift(best, shifts, values, shift):
    """best[k] = values[k], shifts[k] = shift, where the value is larger, or NaN."""
    for k in range(best.size):
        value, largest, kept = values[k], best[k], shifts[k]
        if value > largest or np.isnan(value):
            largest, kept = value, shift
        best[k], shifts[k] = largest, kept


@inner
def place_row(indices, shifts, start, stride):
    """indices[j] = start + j·s + shifts[j];  returns the smallest shift, or 0."""
    least = np.int32(0)
    for j in range(indices.size):
        indices[j] = start + j * stride + shifts[j]
        least = min(least, shifts[j])
    return least


@inner
def first_pixel(top, left, shape, kernel, dilation):
    """Where in the plane the first pixel of a window stands; -1 if it has none."""
    for u in range(kernel[0]):
        for v in range(kernel[1]):
            h, w = top + u * dilation[0], left + v * dilation[1]
            if 0 <= h < shape[0] and 0 <= w < shape[1]:
                return h * shape[1] + w
    return -1


@inner
def indexed_plane(n, y, indices, x, kernel, geometry):
    """Tap by tap for some rows of outputs at once; a shift is how far a tap is from where its window begins."""
    (sh, sw, ph, pw, dh, dw), (out_h, out_w), (height, width) = geometry, y.shape[1:], x.shape[1:]
    if halves(kernel, geometry, y, x):
        for i in range(out_h):
            halve_and_place(y[n, i], indices[n, i], x[n, 2 * i], x[n, 2 * i + 1], 2 * i * width)
        return
    rows, pitch, plane = band_of(out_h, out_w, kernel, geometry)
    flat = np.full(sh * sw * plane + pitch, -np.inf, x.dtype)
    best, shifts = np.empty(rows * pitch, x.dtype), np.empty(rows * pitch, np.int32)
    for first in range(0, out_h, rows):
        top = first * sh - ph
        fill_phases(flat, x, n, top, -pw, plane, pitch, sh, sw)
        best[:], shifts[:] = -np.inf, -1
        for u in range(0, kernel[0] * dh, dh):
            for v in range(0, kernel[1] * dw, dw):
                tap = (u % sh * sw + v % sw) * plane + u // sh * pitch + v // sw
                keep_larger_and_shift(best, shifts, flat[tap:], np.int32(u * width + v))
        for i in range(min(rows, out_h - first)):
            h = top + i * sh
            copy_row(y[n, first + i], best[i * pitch:])
            if place_row(indices[n, first + i], shifts[i * pitch:], h * width - pw, sw) < 0:       # a window of -inf alone
                for j in range(out_w):
                    if shifts[i * pitch + j] < 0:
                        indices[n, first + i, j] = first_pixel(h, j * sw - pw, (height, width), kernel, (dh, dw))


def max_pool2d_with_indices(y, indices, x, kernel, geometry):
    """As `max_pool2d`;  indices[n, i, j]: where the maximum stands in its plane, row by row.

    Of equal maxima the first in the window counts.  A window that lies in the padding alone has the index -1.
    """
    each_task(indexed_plane, len(x), (y, indices, x, kernel, geometry))


# Gradients, and unpooling ---------------------------------------------------------------------------------------------

@inner
def scatter_plane(n, dx, dy, indices):
    dx[n] = 0
    for q in range(dy.shape[1]):
        if indices[n, q] >= 0:
            dx[n, indices[n, q]] += dy[n, q]


def scatter_planes(dx, dy, indices):
    """dx[n, indices[n, q]] += dy[n, q];  an index of -1 is nowhere."""
    each_task(scatter_plane, len(dx), (dx, dy, indices))


@njit(cache=True, parallel=True, nogil=True)
def unpool_planes(y, x, indices):
    """y[n, indices[n, q]] = x[n, q], all else 0;  where an index comes twice, the later value stays."""
    for n in prange(y.shape[0]):
        y[n] = 0
        for q in range(x.shape[1]):
            y[n, indices[n, q]] = x[n, q]


@njit(cache=True, parallel=True, nogil=True)
def gather_planes(dx, dy, indices):
    """dx[n, q] = dy[n, indices[n, q]]."""
    for n in prange(dx.shape[0]):
        for q in range(dx.shape[1]):
            dx[n, q] = dy[n, indices[n, q]]


# Means ----------------------------------------------------------------------------------------------------------------

@njit(cache=True, parallel=True, nogil=True)
def window_means(y, x, rows, cols, divisor):
    """y[n, i, j] = Σ x[n, rows[i, 0]:rows[i, 1], cols[j, 0]:cols[j, 1]] / divisor[i, j]."""
    for n in prange(y.shape[0]):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                total = 0.0
                for h in range(rows[i, 0], rows[i, 1]):
                    for w in range(cols[j, 0], cols[j, 1]):
                        total += x[n, h, w]
                y[n, i, j] = total / divisor[i, j]


@njit(cache=True, parallel=True, nogil=True)
def window_means_grad(dx, dy, rows, cols, divisor):
    """dx[n, h, w] = Σ dy[n, i, j] / divisor[i, j] over the windows (i, j) that (h, w) lies in."""
    for n in prange(dx.shape[0]):
        dx[n] = 0
        for i in range(dy.shape[1]):
            for j in range(dy.shape[2]):
                share = dy[n, i, j] / divisor[i, j]
                for h in range(rows[i, 0], rows[i, 1]):
                    for w in range(cols[j, 0], cols[j, 1]):
                        dx[n, h, w] += share
