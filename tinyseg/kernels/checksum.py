"""A checksum of an array at the speed of memory: has anybody written to it?"""
from __future__ import annotations

import numpy as np
from numba import njit, prange

PART = 1 << 13                            # words that a task takes
GOLDEN = np.uint64(0x9E3779B97F4A7C15)    # 2⁶⁴ / golden ratio
FACTOR1, FACTOR2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
SHIFT1, SHIFT2, SHIFT3 = np.uint64(30), np.uint64(27), np.uint64(31)


@njit(cache=True)
def mixed_sum(words, first, last):
    total = np.uint64(0)
    for k in range(first, last):
        v = words[k] + np.uint64(k) * GOLDEN
        v = (v ^ (v >> SHIFT1)) * FACTOR1
        v = (v ^ (v >> SHIFT2)) * FACTOR2
        total += v ^ (v >> SHIFT3)
    return total


@njit(cache=True, parallel=True, nogil=True)
def checksum(words):
    """Σ_k mix(words[k] + k·GOLDEN) mod 2⁶⁴, words of 64 bits; mix is the one of SplitMix64 (Steele et al. 2014).

    Each bit of a word changes half of the bits of what is added for it, and its place counts.
    """
    parts = np.zeros((words.size + PART - 1) // PART, np.uint64)
    for part in prange(parts.size):
        parts[part] = mixed_sum(words, part * PART, min(words.size, (part + 1) * PART))
    return parts.sum()
