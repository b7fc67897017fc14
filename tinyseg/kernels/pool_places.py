"""The way back through max pooling: from taps to places, the gradient, and unpooling.

One task owns one plane (n, c), so the gradients of windows that overlap are added by one thread.
"""
from __future__ import annotations

import numpy as np
from numba import njit, prange

from .inner import inner
from .pool_max import fill_row, halves
from .simd import BITS
from .tasks import each_task

NOWHERE = -1 << 62        # before every place
SELECTS = BITS == 512     # does a choice between two values become an instruction for whole vectors?  Else it may be a jump


@inner
def shifts_of(width, kernel, dilation):
    """How far each tap is from where its window begins, in a plane of so many pixels a row; the last: of no tap."""
    shifts = np.empty(kernel[0] * kernel[1] + 1, np.int64)
    for tap in range(kernel[0] * kernel[1]):
        shifts[tap] = tap // kernel[1] * dilation[0] * width + tap % kernel[1] * dilation[1]
    shifts[-1] = NOWHERE
    return shifts


@inner
def place_row(indices, taps, shifts, start, stride):
    for j in range(taps.size):
        indices[j] = max(-1, start + j * stride + shifts[taps[j]])


@inner
def place_plane(n, indices, taps, width, kernel, geometry):
    (sh, sw, ph, pw), shifts = geometry[:4], shifts_of(width, kernel, geometry[4:])
    for i in range(taps.shape[1]):
        place_row(indices[n, i], taps[n, i], shifts, (i * sh - ph) * width - pw, sw)


def max_pool2d_indices(indices, taps, width, kernel, geometry):
    """indices[n, i, j]: where the maximum stands in its plane, row by row of `width` pixels;  -1: nowhere."""
    each_task(place_plane, len(taps), (indices, taps, width, kernel, geometry))


@inner
def double(dx, dy, taps, left):
    """dx[2·j + v] = dy[j] where its tap is left + v, all else 0."""
    zero = dy.dtype.type(0)
    for j in range(dy.size):
        value, tap = dy[j], taps[j]
        dx[2 * j], dx[2 * j + 1] = value if tap == left else zero, value if tap == left + 1 else zero
    for j in range(2 * dy.size, dx.size):
        dx[j] = 0


@inner
def double_plane(n, dx, dy, taps):
    for h in range(2 * dy.shape[1]):                  # row by row: two that are written at once might be the same, to LLVM
        double(dx[n, h], dy[n, h // 2], taps[n, h // 2], h % 2 * 2)
    for h in range(2 * dy.shape[1], dx.shape[1]):
        fill_row(dx[n, h], 0)


@inner
def add_row(pixels, dy, taps, shifts, start, stride):
    for j in range(dy.size):
        place = start + j * stride + shifts[taps[j]]
        if place >= 0:
            pixels[place] += dy[j]


@inner
def add_plane(n, dx, dy, taps, kernel, geometry):
    (sh, sw, ph, pw), shifts, pixels = geometry[:4], shifts_of(dx.shape[2], kernel, geometry[4:]), dx[n].ravel()
    pixels[:] = 0
    for i in range(dy.shape[1]):
        add_row(pixels, dy[n, i], taps[n, i], shifts, (i * sh - ph) * dx.shape[2] - pw, sw)


def max_pool2d_grad(dx, dy, taps, kernel, geometry):
    """dx[n, h, w] = Σ dy[n, i, j] over the windows (i, j) whose maximum is at (h, w)."""
    if SELECTS and halves(kernel, geometry, dy, dx):
        each_task(double_plane, len(dx), (dx, dy, taps))
    else:
        each_task(add_plane, len(dx), (dx, dy, taps, kernel, geometry))


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
