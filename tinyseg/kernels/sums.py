"""Sums over the values of a channel.  They run in the array's own precision over one plane and in float64 across planes."""
from __future__ import annotations

import numpy as np

from .inner import inner
from .tasks import each_task

SUM = {"contract", "reassoc"}     # sums in any order, so that they vectorise; the order is the compiler's, always the same


@inner(fastmath=SUM)
def total(a):
    """Σ_q a[q]"""
    result = a.dtype.type(0)
    for q in range(a.size):
        result += a[q]
    return np.float64(result)


@inner
def add_planes(c, sums, x):
    s = 0.0
    for n in range(len(x)):
        s += total(x[n, c])
    sums[c] = s


def channel_sums(sums, x):
    """sums[c] = Σ_nq x[n, c, q]"""
    each_task(add_planes, x.shape[1], (sums, x))
