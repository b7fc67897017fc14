"""Softmax cross-entropy in one pass over the logits.  One task owns one row of positions of one image."""
from __future__ import annotations

import numpy as np
from numba import njit, prange

ROW = 256       # positions a task takes: their logits of all classes stay in the first-level cache


@njit(cache=True, parallel=True, nogil=True)
def cross_entropy(loss, log_sum, x, target, weight, ignore_index, smoothing):
    """With log p_k = x[n, k, q] - log_sum[n, q],  log_sum[n, q] = ln Σ_k exp x[n, k, q],  y = target[n, q] and K classes:

    loss[n, q] = -(1 - ε) w_y log p_y - ε/K Σ_k w_k log p_k,   0 where y is ignore_index.
    """
    batch, classes, size = x.shape
    rows = (size + ROW - 1) // ROW
    for task in prange(batch * rows):
        n, start = task // rows, task % rows * ROW
        end = min(start + ROW, size)
        largest, total = x[n, 0, start:end].copy(), np.zeros(end - start, x.dtype)
        for k in range(1, classes):
            largest = np.maximum(largest, x[n, k, start:end])
        for k in range(classes):
            total += np.exp(x[n, k, start:end] - largest)
        log_sum[n, start:end] = largest + np.log(total)
        for q in range(start, end):
            y = target[n, q]
            loss[n, q] = 0
            if y != ignore_index:
                value = (1 - smoothing) * weight[y] * (log_sum[n, q] - x[n, y, q])
                if smoothing > 0:
                    for k in range(classes):
                        value += smoothing / classes * weight[k] * (log_sum[n, q] - x[n, k, q])
                loss[n, q] = value


@njit(cache=True, parallel=True, nogil=True)
def cross_entropy_grad(dx, dloss, log_sum, x, target, weight, ignore_index, smoothing):
    """dx[n, k, q] = dloss[n, q] · ((1 - ε) w_y (p_k - [k = y]) + ε/K (p_k Σ_j w_j - w_k)),   0 where y is ignore_index."""
    batch, classes, size = x.shape
    rows = (size + ROW - 1) // ROW
    all_weights = weight.sum()
    for task in prange(batch * rows):
        n, start = task // rows, task % rows * ROW
        for k in range(classes):
            for q in range(start, min(start + ROW, size)):
                y = target[n, q]
                if y == ignore_index:
                    dx[n, k, q] = 0
                else:
                    p = np.exp(x[n, k, q] - log_sum[n, q])
                    hard = weight[y] * (p - (1 if k == y else 0))
                    soft = p * all_weights - weight[k]
                    dx[n, k, q] = dloss[n, q] * ((1 - smoothing) * hard + smoothing / classes * soft)
