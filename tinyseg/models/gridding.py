"""What is left of a kernel whose taps lie far apart: those that fall off a small map, and the pixels between them.

Kernels stand in the middle ("same" padding), and both axes are alike, so every count is a product of one for each axis.
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..op import Array
from ..sizes import IntPair, dilated, pair, same_padding


def valid_taps(size: IntPair, kernel_size: IntPair = 3, dilation: IntPair = 1) -> Array:
    """How many taps of a dilated kernel fall on the map, and not on its padding, at each output pixel: (H, W) int64.

    Where it is 1, the kernel is a 1x1 one: a 3x3 kernel is nothing else at any pixel once its rate reaches the size of
    the map.  That is why DeepLab v3 pools the whole image too (Chen et al. 2017, figure 4 and section 3.3).
    ValueError if a size is not positive.

    >>> valid_taps(4, dilation=1)
    array([[4, 6, 6, 4],
           [6, 9, 9, 6],
           [6, 9, 9, 6],
           [4, 6, 6, 4]])
    >>> [int((valid_taps(65, dilation=rate) == 9).sum()) for rate in (1, 18, 32, 33)]
    [3969, 841, 1, 0]
    """
    sizes, kernels, dilations = pair("size", size), pair("kernel_size", kernel_size), pair("dilation", dilation)
    rows, columns = (_on_axis(n, k, d) for n, k, d in zip(sizes, kernels, dilations))
    return np.outer(rows, columns)


def paths(dilations: Sequence[int], kernel_size: int = 3) -> Array:
    """How many ways lead from each input pixel, through a stack of dilated convolutions, to the output pixel above.

    dilations: of the layers, in any order; all have square kernels of that size, and stride 1.  Returns (R, R) int64, R
    the receptive field, the output pixel in its middle (of an even size: below and right of it).  Zeros are holes,
    pixels that the output does not see: equal dilations leave a grid of them, growing ones need not (Wang et al. 2018,
    "Understanding convolution for semantic segmentation", section 3.2).  ValueError if a dilation is not positive.

    >>> paths([2, 2])
    array([[1, 0, 2, 0, 3, 0, 2, 0, 1], [0, 0, 0, 0, 0, 0, 0, 0, 0],
           [2, 0, 4, 0, 6, 0, 4, 0, 2], [0, 0, 0, 0, 0, 0, 0, 0, 0],
           [3, 0, 6, 0, 9, 0, 6, 0, 3], [0, 0, 0, 0, 0, 0, 0, 0, 0],
           [2, 0, 4, 0, 6, 0, 4, 0, 2], [0, 0, 0, 0, 0, 0, 0, 0, 0],
           [1, 0, 2, 0, 3, 0, 2, 0, 1]])
    >>> for dilations in ([2, 2, 2], [2, 4, 8], [1, 2, 4]):
    ...     counts = paths(dilations)
    ...     print(len(counts), f"{(counts == 0).mean():.0%} holes")
    13 71% holes
    29 73% holes
    15 0% holes
    """
    k = pair("kernel_size", kernel_size)[0]
    ways = np.ones(1, np.int64)
    for d in dilations:
        d = pair("dilation", d)[0]
        comb = np.zeros(dilated(k, d), np.int64)
        comb[::d] = 1
        ways = np.convolve(ways, comb)
    return np.outer(ways, ways)


def _on_axis(n: int, k: int, d: int) -> Array:
    """For each of n pixels, how many of k taps at distance d lie on them."""
    tap = np.arange(n)[:, None] + d * np.arange(k) - same_padding(k, d)[0]
    return ((0 <= tap) & (tap < n)).sum(axis=1)
