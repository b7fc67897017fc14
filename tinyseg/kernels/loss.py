"""Softmax cross-entropy in one pass over the logits.  One task owns one row of positions of one image."""
from __future__ import annotations

import math

import numpy as np
from numba import types
from numba.extending import overload

from .inner import inner
from .tasks import each_task

ROW = 256       # positions a task takes: their logits of all classes stay in the first-level cache


def exponential(x):
    """eˣ for x ≤ 0.  Compiled it runs in vectors, which the mathematical library does not; 0 below the smallest number."""
    return np.exp(x)


@overload(exponential, jit_options={"fastmath": {"contract"}})
def compiled_exponential(x):
    """With k = x / ln 2, rounded, and r = x - k ln 2, eˣ = 2ᵏ eʳ, and |r| < 0.35: the power series does, up to r⁷ or r¹³.

    Adding `magic` to x / ln 2 pushes all places behind the point out of the number: k stands in the last bits, whence it is
    shifted into the exponent.  ln 2 comes in two parts, of which the first has few digits, so that k times it is exact.
    """
    number, integer, digits, degree, lowest = (
        (np.float32, np.int32, 23, 7, -87.3) if x == types.float32 else (np.float64, np.int64, 52, 13, -708.3))
    magic, bias, shift = number(1.5 * 2**digits), integer(127 if digits == 23 else 1023), integer(digits)
    per_ln2, ln2, rest_of_ln2 = number(1 / math.log(2)), number(355 / 512), number(-2.121944400546905827679e-4)
    lowest, zero = number(lowest), number(0)
    coefficients = tuple(number(1 / math.factorial(n)) for n in range(degree - 1, -1, -1))
    highest = number(1 / math.factorial(degree))

    def implementation(x):
        shifted = number(x * per_ln2 + magic)
        k = shifted - magic
        r = x - k * ln2 - k * rest_of_ln2
        series = highest
        for coefficient in coefficients:
            series = series * r + coefficient
        power = integer(integer(shifted.view(integer) + bias) << shift).view(number)
        return zero if x < lowest else series * power

    return implementation


def logarithm(x):
    """ln x for x ≥ 1, compiled in vectors, too."""
    return np.log(x)


@overload(logarithm, jit_options={"fastmath": {"contract"}})
def compiled_logarithm(x):
    """With x = 2ᵏ m, where √½ ≤ m < √2, and s = (m - 1) / (m + 1), ln x = k ln 2 + 2 (s + s³/3 + s⁵/5 + …), and |s| < 0.172.

    k is the exponent's bits, less those of √½ and shifted; ln 2 is in two parts as above.  Infinity and NaN stay what they are.
    """
    number, integer, digits, degree = (np.float32, np.int32, 23, 9) if x == types.float32 else (np.float64, np.int64, 52, 21)
    ln2, rest_of_ln2, one, two, infinity = map(number, (355 / 512, -2.121944400546905827679e-4, 1, 2, np.inf))
    lowest, shift = integer(np.sqrt(number(0.5)).view(integer)), integer(digits)
    coefficients, highest = tuple(number(2 / n) for n in range(degree - 2, 0, -2)), number(2 / degree)

    def implementation(x):
        bits = number(x).view(integer)
        k = integer((bits - lowest) >> shift)
        f = integer(bits - integer(k << shift)).view(number) - one
        s = np.divide(f, f + two)                                  # `/` would look whether it divides by zero
        square = s * s
        series = highest
        for coefficient in coefficients:
            series = series * square + coefficient
        return number(k) * ln2 + (number(k) * rest_of_ln2 + s * series) if x < infinity else x

    return implementation


@inner
def raise_to(largest, x):
    """largest[q] = max(largest[q], x[q]);  NaN stays NaN."""
    for q in range(x.size):
        largest[q] = x[q] if not x[q] <= largest[q] else largest[q]


@inner
def add_exponentials(total, x, largest):
    """total[q] += exp(x[q] - largest[q])"""
    for q in range(x.size):
        total[q] += exponential(x[q] - largest[q])


@inner
def set_log_sums(log_sum, total, largest):
    """log_sum[q] = largest[q] + ln total[q]"""
    for q in range(total.size):
        log_sum[q] = largest[q] + logarithm(total[q])


@inner
def class_gradient(dx, x, log_sum, hard, soft, all_weights, weight):
    """dx[q] = p (hard[q] + soft[q] Σ_j w_j) - soft[q] w_k,  p = exp(x[q] - log_sum[q]);  0 where hard and soft are 0."""
    zero = dx.dtype.type(0)
    for q in range(x.size):
        a, b = hard[q] + soft[q] * all_weights, soft[q] * weight
        value = exponential(x[q] - log_sum[q]) * a - b
        dx[q] = zero if a == zero and b == zero else value


@inner
def loss_of_row(task, loss, log_sum, x, target, weight, ignore_index, smoothing):
    classes, size = x.shape[1:]
    rows = (size + ROW - 1) // ROW
    n, start = task // rows, task % rows * ROW
    end = min(start + ROW, size)
    largest, total = x[n, 0, start:end].copy(), np.zeros(end - start, x.dtype)
    for k in range(1, classes):
        raise_to(largest, x[n, k, start:end])
    for k in range(classes):
        add_exponentials(total, x[n, k, start:end], largest)
    set_log_sums(log_sum[n, start:end], total, largest)
    for q in range(start, end):
        y = target[n, q]
        loss[n, q] = 0
        if y != ignore_index:
            value = (1 - smoothing) * weight[y] * (log_sum[n, q] - x[n, y, q])
            if smoothing > 0:
                for k in range(classes):
                    value += smoothing / classes * weight[k] * (log_sum[n, q] - x[n, k, q])
            loss[n, q] = value


def cross_entropy(loss, log_sum, x, target, weight, ignore_index, smoothing):
    """With log p_k = x[n, k, q] - log_sum[n, q],  log_sum[n, q] = ln Σ_k exp x[n, k, q],  y = target[n, q] and K classes:

    loss[n, q] = -(1 - ε) w_y log p_y - ε/K Σ_k w_k log p_k,   0 where y is ignore_index.
    """
    each_task(loss_of_row, len(x) * -(-x.shape[2] // ROW), (loss, log_sum, x, target, weight, ignore_index, smoothing))


@inner
def gradient_of_row(task, dx, dloss, log_sum, x, target, weight, all_weights, ignore_index, smoothing):
    classes, size = x.shape[1:]
    rows = (size + ROW - 1) // ROW
    n, start = task // rows, task % rows * ROW
    end = min(start + ROW, size)
    hard, soft = np.zeros(end - start, x.dtype), np.zeros(end - start, x.dtype)
    for q in range(start, end):
        y = target[n, q]
        if y != ignore_index:
            hard[q - start] = dloss[n, q] * (1 - smoothing) * weight[y]
            soft[q - start] = dloss[n, q] * smoothing / classes
    for k in range(classes):
        class_gradient(dx[n, k, start:end], x[n, k, start:end], log_sum[n, start:end], hard, soft, all_weights, weight[k])
    for q in range(start, end):
        if target[n, q] != ignore_index:
            dx[n, target[n, q], q] -= hard[q - start]


def cross_entropy_grad(dx, dloss, log_sum, x, target, weight, ignore_index, smoothing):
    """dx[n, k, q] = dloss[n, q] · ((1 - ε) w_y (p_k - [k = y]) + ε/K (p_k Σ_j w_j - w_k)),   0 where y is ignore_index."""
    each_task(gradient_of_row, len(x) * -(-x.shape[2] // ROW),
              (dx, dloss, log_sum, x, target, weight, weight.sum(), ignore_index, smoothing))
