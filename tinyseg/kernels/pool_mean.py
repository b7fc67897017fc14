"""Mean pooling.  One thread owns one plane (n, c), so gradients of windows that overlap are added by one thread."""
from __future__ import annotations

from numba import njit, prange


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
