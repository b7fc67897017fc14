"""A checksum of an array at the speed of memory: has anybody written to it?"""
from __future__ import annotations

import numpy as np

from .inner import inner
from .tasks import each_task

PART = 1 << 13                            # words that a task takes
GOLDEN = np.uint64(0x9E3779B97F4A7C15)    # 2⁶⁴ / golden ratio
FACTOR1, FACTOR2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
SHIFT1, SHIFT2, SHIFT3 = np.uint64(30), np.uint64(27), np.uint64(31)


@inner
def add_part(part, sums, words):
    total = np.uint64(0)
    for k in range(part * PART, min(words.size, (part + 1) * PART)):
        v = words[k] + np.uint64(k) * GOLDEN
        v = (v ^ (v >> SHIFT1)) * FACTOR1
        v = (v ^ (v >> SHIFT2)) * FACTOR2
        total += v ^ (v >> SHIFT3)
    sums[part] = total


def checksum(words):
    """Σ_k mix(words[k] + k·GOLDEN) mod 2⁶⁴, words of 64 bits; mix is the one of SplitMix64 (Steele et al. 2014).

    Each bit of a word changes half of the bits of what is added for it, and its place counts.
    """
    sums = np.empty(-(-words.size // PART), np.uint64)
    each_task(add_part, sums.size, (sums, words))
    return sums.sum()
