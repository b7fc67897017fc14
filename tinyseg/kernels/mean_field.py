"""Two lines of the mean-field algorithm, each in one pass over the image.  A task owns some pixels, with all their classes."""
from __future__ import annotations

import numpy as np

from .inner import inner
from .loss import exponential
from .tasks import each_task

PIXELS = 2048        # of a task: their values of all classes stay in the second-level cache


@inner
def weigh(weighted, total, weights, first, second):
    """weighted[q] = weights[0] first[q] + weights[1] second[q];  total[q] += weighted[q]."""
    for q in range(total.size):
        weighted[q] = weights[0] * first[q] + weights[1] * second[q]
        total[q] += weighted[q]


@inner
def take_from(total, x):
    """x[q] = total[q] - x[q]"""
    for q in range(x.size):
        x[q] = total[q] - x[q]


@inner
def potts_of_pixels(task, pairwise, first, second, weights):
    start, end = task * PIXELS, min((task + 1) * PIXELS, pairwise.shape[1])
    total = np.zeros(end - start, pairwise.dtype)
    for c in range(len(pairwise)):
        weigh(pairwise[c, start:end], total, weights, first[c, start:end], second[c, start:end])
    for c in range(len(pairwise)):
        take_from(total, pairwise[c, start:end])


def potts(pairwise, first, second, weights):
    """pairwise[c, i] = Σ_{c' ≠ c} weights[0] · first[c', i] + weights[1] · second[c', i]."""
    each_task(potts_of_pixels, -(-pairwise.shape[1] // PIXELS), (pairwise, first, second, weights))


@inner
def add_costs(cost, least, unary, pairwise):
    """cost[q] = unary[q] + pairwise[q];  least[q] = min(least[q], cost[q])."""
    for q in range(cost.size):
        cost[q] = unary[q] + pairwise[q]
        least[q] = min(least[q], cost[q])


@inner
def to_powers(x, total, least):
    """x[q] = exp(least[q] - x[q]);  total[q] += x[q]."""
    for q in range(x.size):
        x[q] = exponential(least[q] - x[q])
        total[q] += x[q]


@inner
def multiply_by(factors, x):
    """x[q] = factors[q] x[q]"""
    for q in range(x.size):
        x[q] *= factors[q]


@inner
def softmax_of_pixels(task, q, unary, pairwise):
    start, end = task * PIXELS, min((task + 1) * PIXELS, q.shape[1])
    least, total = np.full(end - start, np.inf, q.dtype), np.zeros(end - start, q.dtype)
    for c in range(len(q)):
        add_costs(q[c, start:end], least, unary[c, start:end], pairwise[c, start:end])
    for c in range(len(q)):
        to_powers(q[c, start:end], total, least)                       # the largest is 1: the same quotient, and no overflow
    total[:] = 1 / total                                               # compiled divisions, which look for zeros, are slow
    for c in range(len(q)):
        multiply_by(total, q[c, start:end])


def softmax(q, unary, pairwise):
    """q[c, i] = exp(-unary[c, i] - pairwise[c, i]) / Σ_c' exp(-unary[c', i] - pairwise[c', i])."""
    each_task(softmax_of_pixels, -(-q.shape[1] // PIXELS), (q, unary, pairwise))
