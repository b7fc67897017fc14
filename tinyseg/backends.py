"""Which algorithm computes a convolution: one table with its reasons, and a switch.

    print(ts.backends.conv2d)                        # the table
    with ts.backends.conv2d("im2col"):               # the readable kernels for everything
        model(x)

All algorithms have the same three functions with the same arguments as `kernels/conv.py`: conv2d, conv2d_input_grad and
conv2d_weight_grad.  Transposed convolution is made of the same three.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import NamedTuple

from .kernels import conv, conv_depthwise, conv_direct, simd


class Work(NamedTuple):
    """One task ("conv2d", "conv2d_input_grad" or "conv2d_weight_grad") of the convolution of an image to an output."""

    task: str
    image: tuple[int, ...]                  # (N, G·C, H, W)
    weight: tuple[int, ...]                 # (G·O, C, KH, KW)
    output: tuple[int, ...]                 # (N, G·O, HO, WO)
    geometry: tuple[int, ...]               # (stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w)
    itemsize: int

    @property
    def positions(self) -> int:
        """How many neighbours a vector can be filled with: of the output, or of one phase of the input's gradient."""
        if self.task == "conv2d_input_grad":
            return -(-self.image[2] // self.geometry[0]) * -(-self.image[3] // self.geometry[1])
        return self.output[2] * self.output[3]


class Algorithm(NamedTuple):
    """A row of the table: taken where `fits` and no row above does."""

    name: str
    kernels: ModuleType
    fits: Callable[[Work], bool]
    where: str
    why: str


def is_depthwise(work: Work) -> bool:
    return work.image[1] == work.weight[0] and work.weight[1] == 1


def is_stepping_back(work: Work) -> bool:
    return work.task == "conv2d_input_grad" and work.geometry[:2] != (1, 1)


def fills_a_vector(work: Work) -> bool:
    return work.positions >= simd.BITS // 8 // work.itemsize


CONV2D = (
    Algorithm("depthwise", conv_depthwise, lambda work: simd.COMPILED and is_depthwise(work) and not is_stepping_back(work),
              "a kernel for each channel; not the input gradient at a stride",
              "there is no matrix product in it: a tile of several outputs would be empty but for one"),
    Algorithm("direct", conv_direct, lambda work: simd.COMPILED and fills_a_vector(work),
              "images that fill a vector", "register tiles: no columns in memory, any stride, dilation and groups"),
    Algorithm("im2col", conv, lambda work: True,
              "all others, and NUMBA_DISABLE_JIT, NUMBA_BOUNDSCHECK", "plain loops that can be read, stepped through, checked"),
)


class Choice:
    """The algorithms of an operation, and which of them may be used: `setting` is "fast" (all) or the name of one.

    An algorithm that does not fit the work leaves it to im2col.

    >>> with conv2d("im2col"):
    ...     conv2d.setting
    'im2col'
    >>> conv2d.setting
    'fast'
    """

    def __init__(self, table: tuple[Algorithm, ...]):
        self.table, self.setting = table, "fast"

    def use(self, setting: str) -> None:
        """Change the setting for good; ValueError if there is no such one."""
        allowed = ("fast", *(algorithm.name for algorithm in self.table))
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
        return next(algorithm for algorithm in self.table
                    if (self.setting in ("fast", algorithm.name) or algorithm is self.table[-1]) and algorithm.fits(work))

    def __str__(self) -> str:
        rows = [("algorithm", "where", "why"), *((a.name, a.where, a.why) for a in self.table)]
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
        return "\n".join([*lines, f'setting: "{self.setting}"'])


conv2d = Choice(CONV2D)
