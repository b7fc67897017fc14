"""Which algorithm computes a convolution: one table with its reasons, and a switch.

    print(ts.backends.conv2d)                        # the table
    with ts.backends.conv2d("im2col"):               # the readable kernels for everything
        model(x)
    ts.backends.conv2d.use("accurate")               # nothing that loses a digit for speed, from now on

All algorithms have the same three functions with the same arguments as `kernels/conv.py`: conv2d, conv2d_input_grad and
conv2d_weight_grad.  Transposed convolution is made of the same three.  An image, be it read or written, may be in two arrays
(`SideBySide`), if the algorithm takes them: Winograd's do.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

from .kernels import (conv, conv_depthwise, conv_direct, product, product_few, product_weights, simd, strided, taps,
                      taps_weights, winograd, winograd_rows)
from .kernels.side_by_side import Images, SideBySide

SETUP = 24        # a kernel could be multiplied with so many more tiles, or pixels, while it is transformed, or packed


class Work(NamedTuple):
    """One task ("conv2d", "conv2d_input_grad" or "conv2d_weight_grad") of the convolution of an image to an output."""

    task: str
    image: tuple[int, ...]                  # (N, G·C, H, W)
    weight: tuple[int, ...]                 # (G·O, C, KH, KW)
    output: tuple[int, ...]                 # (N, G·O, HO, WO)
    geometry: tuple[int, ...]               # (stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w)
    itemsize: int

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns that are computed alike: of the output, or of one phase of the input's gradient."""
        if self.task == "conv2d_input_grad":
            return -(-self.image[2] // self.geometry[0]), -(-self.image[3] // self.geometry[1])
        return self.output[2], self.output[3]


class Algorithm(NamedTuple):
    """A row of the table: taken where `fits` and no row above does."""

    name: str
    kernels: Any                            # has the three functions
    fits: Callable[[Work], bool]
    where: str
    why: str
    accurate: bool = True                   # errors of rounding as for a plain sum, or less
    pairs: bool = False                     # images may be in two arrays, if vectors of channels end where the first does

    def takes(self, image: Images) -> bool:
        """Can it do with an image as it is, or must the two arrays be joined?"""
        return not isinstance(image, SideBySide) or self.pairs and image.first.shape[1] % simd.lanes_of(image.first) == 0


def is_depthwise(work: Work) -> bool:
    return work.image[1] == work.weight[0] and work.weight[1] == 1


def lanes(work: Work) -> int:
    return simd.BITS // 8 // work.itemsize


def fills_a_vector(work: Work) -> bool:
    return work.grid[0] * work.grid[1] >= lanes(work)


def is_product(work: Work) -> bool:
    """No pixel under two taps, no tap beside the image, all of it in reach, vectors of positions in the smaller of the two.

    For the gradient of the weights, channels and outputs that fill vectors, or no stride and images of whole vectors.
    """
    outputs, channels, *kernel = work.weight
    stride, image, output = work.geometry[:2], work.image[2:], work.output[2:]
    depth, whole = channels * math.prod(kernel), stride == (1, 1) and math.prod(image) % lanes(work) == 0
    return (simd.COMPILED and channels == work.image[1] and work.geometry[2:4] == (0, 0) and math.prod(output) >= lanes(work)
            and all(k <= s and (out - 1) * s + k <= size <= out * s for k, s, size, out in zip(kernel, stride, image, output))
            and (work.task != "conv2d_weight_grad" or product_weights.fills_panels(outputs, depth, lanes(work))
                 or whole and outputs >= product_few.ROWS and channels >= product_few.COLS))


def skips_pixels(work: Work) -> bool:
    """Every input channel with every output channel, a stride, and vectors of what is computed that are mostly full."""
    outputs, channels, *_ = work.weight
    result, rows = (work.image, channels) if work.task == "conv2d_input_grad" else (work.output, outputs)
    room = -(-rows // lanes(work)) * lanes(work)
    return (simd.COMPILED and channels == work.image[1] and work.geometry[:2] != (1, 1) and 8 * rows >= 5 * room
            and math.prod(result[2:]) >= lanes(work))


def pays_to_sort(work: Work) -> bool:
    """At a stride, `product` sorts the pixels first.  Where outputs are few, that takes longer than `strided` does without."""
    every_pixel = work.task == "conv2d" and work.weight[2:] == work.geometry[:2]            # is used, once it is sorted
    few = 63 if every_pixel else 64
    return work.task == "conv2d_input_grad" or work.weight[0] > few or not skips_pixels(work)


def is_dense_3x3(work: Work) -> bool:
    """Every input channel with every output channel, and enough of both, at stride 1, in float32.

    Scratch memory grows with dilation: tiles that together cover the same columns are computed together.
    """
    outputs, channels, *kernel = work.weight
    return (simd.COMPILED and kernel == [3, 3] and channels == work.image[1] and min(channels, outputs) >= lanes(work)
            and work.geometry[:2] == (1, 1) and work.geometry[5] <= 32 and work.itemsize == 4)


def pairs_rows(work: Work) -> bool:
    """3x3 at stride 1 in float32, whole vectors in pairs of rows, and enough computed from each channel for transforming it.

    Of the weight gradient, vectors of outputs that are mostly full.
    """
    outputs, channels, *kernel = work.weight
    outputs = outputs * channels // work.image[1]                                                   # of a group
    rows, room = channels if work.task == "conv2d_input_grad" else outputs, -(-outputs // lanes(work)) * lanes(work)
    return (simd.COMPILED and kernel == [3, 3] and work.geometry[:2] == work.geometry[4:] == (1, 1) and work.itemsize == 4
            and work.grid[0] % 2 == 0 and work.grid[1] % lanes(work) == 0 and rows >= 8
            and (work.task != "conv2d_weight_grad" or 8 * outputs >= 5 * room))


def products(work: Work, m: int) -> int:
    """Multiplications of F(m x m, 3 x 3) for each pair of channels, transform included; with dilation it is δ x δ images."""
    tiles = [-(-size // (m * dilation)) * dilation for size, dilation in zip(work.grid, work.geometry[4:])]
    return (SETUP + work.image[0] * math.prod(tiles)) * (m + 2)**2


def plain_products(work: Work) -> int:
    """The same of the best algorithm but Winograd's, for a 3 x 3 kernel."""
    return 9 * SETUP + work.image[0] * (live_products(work) if sees_zeros(work) else 9 * math.prod(work.grid))


def live_products(work: Work) -> int:
    """Multiplications for each pair of channels of an image, without those by the zeros around it."""
    return taps.live_products(work.image[2:], work.output[2:], work.weight[2:], work.geometry)


def pays_4(work: Work) -> bool:
    """Less to multiply than otherwise, and kernels that do not outgrow the caches when 3 x 3 become 6 x 6."""
    return (products(work, 4) < min(products(work, 2), plain_products(work))
            and work.weight[0] * work.weight[1] <= (1 << (15 if work.task == "conv2d_weight_grad" else 16)))


def pays_2(work: Work) -> bool:
    return products(work, 2) < plain_products(work)


def sees_zeros(work: Work) -> bool:
    """Every input channel with every output channel, enough of both, and a fifth of what the taps see is no pixel."""
    outputs, channels, *kernel = work.weight
    return (simd.COMPILED and channels == work.image[1] and min(channels, outputs) >= taps_weights.ROWS
            and any(work.geometry[2:4]) and 5 * live_products(work) <= 4 * math.prod(kernel) * math.prod(work.output[2:]))


CONV2D = (
    Algorithm("depthwise", conv_depthwise, lambda work: simd.COMPILED and is_depthwise(work),
              "a kernel for each channel",
              "there is no matrix product in it: what counts is to have channels, or neighbours in a row, side by side"),
    Algorithm("winograd4", winograd.f4, lambda work: is_dense_3x3(work) and pays_4(work),
              "3x3, stride 1, dilation 32 at most, float32, channels fill a vector, at most 256 x 256 "
              "(weight gradients: half); less to multiply than tap by tap",
              "a quarter of the multiplications, for a digit of the result", accurate=False, pairs=True),
    Algorithm("winograd2", winograd.f2, lambda work: is_dense_3x3(work) and pays_2(work),
              "3x3, stride 1, dilation 32 at most, float32, channels fill a vector; less to multiply than tap by tap",
              "less than half of the multiplications, and errors as small", pairs=True),
    Algorithm("winograd2x1", winograd_rows, pairs_rows,
              "3x3, stride 1, no dilation, float32, 8 outputs or more, whole vectors in pairs of rows",
              "two thirds of the multiplications: where channels are few, transforming columns alone costs little"),
    Algorithm("product", product, lambda work: is_product(work) and pays_to_sort(work),
              "1x1, or kernels no larger than the stride (gradients of x, or enough outputs); no padding, no groups",
              "no pixel is under two taps: a matrix product of the image as it lies in memory, or with its pixels sorted"),
    Algorithm("taps", taps, sees_zeros, "a fifth or more of what taps see is around the image, 8 channels or more",
              "a 1x1 convolution for each tap, only where it sees the image: the zeros around it are not multiplied"),
    Algorithm("strided", strided, skips_pixels, "stride 2 or more, no groups, outputs fill vectors",
              "vectors of outputs, which read pixels one by one: nothing is sorted, and rows may be short"),
    Algorithm("direct", conv_direct, lambda work: simd.COMPILED and fills_a_vector(work),
              "images that fill a vector", "register tiles: no columns in memory, any stride, dilation and groups"),
    Algorithm("im2col", conv, lambda work: True,
              "all others, and NUMBA_DISABLE_JIT, NUMBA_BOUNDSCHECK", "plain loops that can be read, stepped through, checked"),
)


class Choice:
    """The algorithms of an operation, and which of them may be used: `setting` is "fast" (all), "accurate" or the name of one.

    An algorithm that does not fit the work leaves it to im2col.

    >>> with conv2d("im2col"):
    ...     conv2d.setting
    'im2col'
    >>> conv2d.setting
    'fast'
    """

    def __init__(self, table: tuple[Algorithm, ...]):
        self.table, self.setting = table, "fast"
        self._first_fit = lru_cache(maxsize=4096)(self._find)

    def use(self, setting: str) -> None:
        """Change the setting for good; ValueError if there is no such one."""
        allowed = ("fast", "accurate", *(algorithm.name for algorithm in self.table))
        if setting not in allowed:
            raise ValueError(f"backends: no setting {setting!r}; expected one of {', '.join(map(repr, allowed))}")
        self.setting = setting

    @contextmanager
    def __call__(self, setting: str) -> Iterator[None]:
        """Within this context, the setting is another one."""
        before = self.setting
        self.use(setting)
        try:
            yield
        finally:
            self.setting = before

    def algorithm(self, work: Work) -> Algorithm:
        """The first of the table that may be used and fits."""
        return self._first_fit(self.setting, work)

    def _find(self, setting: str, work: Work) -> Algorithm:
        return next(algorithm for algorithm in self.table if self.allows(algorithm) and algorithm.fits(work))

    def allows(self, algorithm: Algorithm) -> bool:
        return (self.setting in ("fast", algorithm.name) or algorithm is self.table[-1]
                or self.setting == "accurate" and algorithm.accurate)

    def __str__(self) -> str:
        rows = [("algorithm", "where", "why"), *((a.name, a.where, a.why) for a in self.table)]
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
        return "\n".join([*lines, f'setting: "{self.setting}"'])


conv2d = Choice(CONV2D)
