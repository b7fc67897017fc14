"""Pooling over windows.  One task owns one plane (n, c), so overlapping windows are added by one thread."""
from __future__ import annotations

import numpy as np
from numba import njit, prange

from .bands import covered
from .inner import inner
from .tasks import each_task

BAND = 2048          # outputs that are computed together


@inner
def halve_row(y, indices, upper, lower, start):
    """The largest of each 2x2 pixels of two rows, the first of equal ones; `start` is where `upper` stands in its plane."""
    width = upper.size
    for j in range(y.size):
        best, where = upper[2 * j], 2 * j
        for value, at in ((upper[2 * j + 1], 2 * j + 1), (lower[2 * j], width + 2 * j), (lower[2 * j + 1], width + 2 * j + 1)):
            if value > best or np.isnan(value):
                best, where = value, at
        y[j], indices[j] = best, start + where


@inner
def fill_phases(flat, x, top, left, plane, pitch, stride_h, stride_w):
    """flat[phase, i, j] = x[top + i·s + phase // s, left + j·s + phase % s] for the s·s phases; -inf outside of the image."""
    height, width = x.shape
    flat[:] = -np.inf
    for phase in range(stride_h * stride_w):
        column = left + phase % stride_w
        first, last = covered(column, pitch, width, stride_w)
        for i in range(plane // pitch):
            h = top + i * stride_h + phase // stride_w
            if 0 <= h < height:
                at, pixels = phase * plane + i * pitch, x[h, max(0, column + first * stride_w):]
                row = flat[at + first:at + last]
                if stride_w == 2:                                  # known to the compiler, it becomes vector instructions
                    for j in range(row.size):
                        row[j] = pixels[2 * j]
                else:
                    for j in range(row.size):
                        row[j] = pixels[stride_w * j]


@inner
def keep_larger(best, shifts, values, shift):
    """best[k] = values[k], shifts[k] = shift, where the value is larger, or NaN."""
    for k in range(best.size):
        value, largest, kept = values[k], best[k], shifts[k]
        if value > largest or np.isnan(value):
            largest, kept = value, shift
        best[k], shifts[k] = largest, kept


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
def max_pool_plane(n, y, indices, x, kernel, geometry):
    """Tap by tap for some rows of outputs at once: vectors run along all of them."""
    (sh, sw, ph, pw, dh, dw), (out_h, out_w), (height, width) = geometry, y.shape[1:], x.shape[1:]
    if kernel == (2, 2) and geometry == (2, 2, 0, 0, 1, 1) and 2 * out_h <= height and 2 * out_w <= width:
        for i in range(out_h):               # the usual case, in which no window reaches beyond the image
            halve_row(y[n, i], indices[n, i], x[n, 2 * i], x[n, 2 * i + 1], 2 * i * width)
        return
    rows, pitch = min(out_h, BAND // out_w + 1), out_w + dw * (kernel[1] - 1) // sw
    plane = (rows + dh * (kernel[0] - 1) // sh) * pitch
    flat = np.empty(sh * sw * plane + pitch, x.dtype)
    best, shifts = np.empty(rows * pitch, x.dtype), np.empty(rows * pitch, np.int32)
    for first in range(0, out_h, rows):
        top = first * sh - ph
        fill_phases(flat, x[n], top, -pw, plane, pitch, sh, sw)
        best[:], shifts[:] = -np.inf, -1
        for u in range(0, kernel[0] * dh, dh):
            for v in range(0, kernel[1] * dw, dw):
                tap = (u % sh * sw + v % sw) * plane + u // sh * pitch + v // sw
                keep_larger(best, shifts, flat[tap:], np.int32(u * width + v))
        for i in range(min(rows, out_h - first)):
            y[n, first + i] = best[i * pitch:i * pitch + out_w]
            for j in range(out_w):
                h, w, shift = top + i * sh, j * sw - pw, shifts[i * pitch + j]
                indices[n, first + i, j] = (h * width + w + shift if shift >= 0 else
                                            first_pixel(h, w, (height, width), kernel, (dh, dw)))


def max_pool2d(y, indices, x, kernel, geometry):
    """y[n, i, j] = max_uv x[n, i·s + u·d - p, j·s + v·d - p];  indices: where it stands in the plane, row by row.

    Of equal maxima the first in the window counts; NaN wins.  A window that lies in the padding alone gives -inf, index -1.
    geometry = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w).
    """
    each_task(max_pool_plane, len(x), (y, indices, x, kernel, geometry))


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
