"""Convolution: as a sliding window, as im2col and one matrix product, as a matrix and its transpose."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..op import Array
from ..ops.conv import Conv2d
from ..sizes import IntPair
from .checks import kernel_fits, matrix_fits, plane, settings
from .frames import Frame, Steps, grid, number
from .watch import reference, watch

IMAGE = np.arange(16.0).reshape(4, 4)                                                  # the lecture's
LARGER_IMAGE = np.arange(25.0).reshape(5, 5)
KERNEL = np.array([[0.25, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 0.25]])


class Window(NamedTuple):
    """One turn of the convolution's loop: its place in the output, and what lies under the kernel."""

    place: tuple[int, int]
    values: Array                # (KH, KW)
    read: Array                  # bool, as the padded input: the cells under the kernel
    output: Array                # as far as it has come; NaN in the cells that are still to come


class Sliding(NamedTuple):
    """The convolution of a plane, watched."""

    code: str
    padded: Array
    padding: Array               # bool: which cells of `padded` are padding
    windows: list[Window]
    output: Array


def slide(x: Array, kernel: Array, stride: tuple[int, int], padding: tuple[int, int],
          dilation: tuple[int, int]) -> Sliding:
    """Watch `Conv2d.reference` on x, and again on the numbers of the padded cells, which tells what a window reads."""
    pads = tuple((p, p) for p in padding)
    inside = np.pad(np.ones(x.shape, bool), pads)
    numbers = np.arange(inside.size).reshape(1, 1, *inside.shape)
    line, weight, rest = "yg[:, :, i, j] =", kernel[None, None], {"stride": stride, "dilation": dilation}
    names = ("x", "window", "y")
    run = watch(reference(Conv2d), line, lambda at: (at["i"], at["j"], *(at[name][0, 0].copy() for name in names)),
                x[None, None], weight, padding=pads, **rest)
    cells = watch(reference(Conv2d), line, lambda at: at["window"][0, 0].copy(),
                  numbers, weight, padding=((0, 0), (0, 0)), **rest)
    windows, done = [], np.zeros(run.result.shape[2:], bool)
    for (i, j, padded, values, y), places in zip(run.moments, cells.moments):
        done[i, j] = True
        read = np.isin(numbers[0, 0], places)
        windows.append(Window((i, j), values, read, np.where(done, y, np.nan)))
    return Sliding(run.code, padded, ~inside, windows, run.result[0, 0])


def conv(input: Any = IMAGE, kernel: Any = KERNEL, stride: IntPair = 1, padding: IntPair = 1,
         dilation: IntPair = 1) -> Steps:
    """Convolution: the kernel lies on one window after another; the products are summed to one output pixel each.

    input (H, W), kernel (KH, KW).  Raises ValueError and TypeError for what does not fit.

    >>> conv([[1, 2, 3]], [[1, 10]], padding=0)[-1]["Output"].values
    array([[21., 32.]])
    """
    return _conv("conv", input, kernel, stride, padding, dilation)


def conv_strided(input: Any = IMAGE, kernel: Any = KERNEL, stride: IntPair = 2, padding: IntPair = 1,
                 dilation: IntPair = 1) -> Steps:
    """Strided convolution: the window moves by several pixels at a time, so the output has fewer of them."""
    return _conv("conv-strided", input, kernel, stride, padding, dilation)


def conv_dilated(input: Any = LARGER_IMAGE, kernel: Any = KERNEL, stride: IntPair = 1, padding: IntPair = 2,
                 dilation: IntPair = 2) -> Steps:
    """Dilated (atrous) convolution: holes in the kernel widen what it sees, with no further weight."""
    return _conv("conv-dilated", input, kernel, stride, padding, dilation)


def _conv(name: str, input: Any, kernel: Any, stride: IntPair, padding: IntPair, dilation: IntPair) -> Steps:
    x, w, s = _checked(name, input, kernel, stride, padding, dilation)
    return Steps(f"Convolution, {describe(w, **s)}", sliding_frames(slide(x, w, **s), w, "Input", "Kernel"))


def sliding_frames(run: Sliding, kernel: Array, input_title: str, kernel_title: str) -> Iterator[Frame]:
    """A frame for each window, and one before them."""
    empty = np.full(kernel.shape, np.nan)
    panels = (grid(input_title, run.padded, padding=run.padding), grid(kernel_title, kernel),
              grid("Window × kernel", empty), grid("Running sum", empty),
              grid("Output", np.full(run.output.shape, np.nan)))
    yield Frame(f"The kernel will lie on {run.output.size} windows of the input, one for each output pixel.", panels)
    for window in run.windows:
        products = window.values * kernel
        sums = products.cumsum().reshape(kernel.shape)
        panels = (grid(input_title, run.padded, read=window.read, padding=run.padding),
                  grid(kernel_title, kernel, read=np.s_[:]), grid("Window × kernel", products),
                  grid("Running sum", sums, read=(-1, -1)), grid("Output", window.output, written=window.place))
        yield Frame(f"Output {window.place}: the {kernel.size} products of window and kernel sum to "
                    f"{number(window.output[window.place])}.", panels, run.code)


def im2col(input: Any = IMAGE, kernel: Any = KERNEL, stride: IntPair = 1, padding: IntPair = 1,
           dilation: IntPair = 1) -> Steps:
    """Convolution by im2col: each window becomes a column; one matrix product (GEMM) is the whole convolution."""
    x, w, s = _checked("im2col", input, kernel, stride, padding, dilation)
    run = slide(x, w, **s)
    matrix_fits("im2col", w.size, run.output.size)
    return Steps(f"im2col, {describe(w, **s)}", _im2col_frames(run, w))


def _im2col_frames(run: Sliding, kernel: Array) -> Iterator[Frame]:
    columns = np.full((kernel.size, len(run.windows)), np.nan)             # (KH·KW, HO·WO)
    row, weights = np.full((1, len(run.windows)), np.nan), kernel.reshape(1, -1)
    yield Frame(f"The matrix will have a column for each of the {columns.shape[1]} windows, a row for each of the "
                f"{kernel.size} weights.", (grid("Input", run.padded, padding=run.padding), grid("Kernel", kernel),
                                            grid("Columns", columns)))
    for c, window in enumerate(run.windows):
        columns[:, c] = window.values.ravel()
        yield Frame(f"Window {window.place} of the image becomes column {c}, read row by row.",
                    (grid("Input", run.padded, read=window.read, padding=run.padding), grid("Kernel", kernel),
                     grid("Columns", columns, written=np.s_[:, c])), run.code)
    for c, window in enumerate(run.windows):
        row[0, c] = window.output[window.place]
        yield Frame(f"GEMM: the kernel's row times column {c} is {number(row[0, c])}.",
                    (grid("Kernel as a row", weights, read=np.s_[:]), grid("Columns", columns, read=np.s_[:, c]),
                     grid("Product", row, written=(0, c))), run.code)
    yield Frame("The product's row, cut into rows of the output's width, is the output image.",
                (grid("Columns", columns), grid("Product", row, read=np.s_[:]),
                 grid("Output", run.output, written=np.s_[:])), run.code)


def conv_matrix(input: Any = IMAGE, kernel: Any = KERNEL, stride: IntPair = 1, padding: IntPair = 0,
                dilation: IntPair = 1) -> Steps:
    """Convolution as a matrix C: column by column; then y = C x; then the transposed convolution, Cᵀ y.

    Column p of C is what the convolution makes of an image that is 1 at pixel p and 0 elsewhere.  Dumoulin & Visin
    2016, sections 4.1 and 4.2.
    """
    x, w, s = _checked("conv-matrix", input, kernel, stride, padding, dilation)

    def convolve(image: Array) -> Array:
        pads = tuple((p, p) for p in s["padding"])
        return reference(Conv2d)(image[None, None], w[None, None], **{**s, "padding": pads})[0, 0]

    matrix_fits("conv-matrix", convolve(x).size, x.size)
    return Steps(f"Convolution as a matrix, {describe(w, **s)}", _matrix_frames(x, w, convolve))


def _matrix_frames(x: Array, kernel: Array, convolve: Callable[[Array], Array]) -> Iterator[Frame]:
    y = convolve(x)
    matrix = np.full((y.size, x.size), np.nan)                              # (HO·WO, H·W)
    for p in range(x.size):
        unit = np.eye(x.size)[p].reshape(x.shape)
        image = convolve(unit)
        matrix[:, p] = image.ravel()
        pixel = divmod(p, x.shape[1])
        yield Frame(f"Column {p} of C is the convolution of an image that is 1 at pixel {pixel}, else 0.",
                    (grid("Image of one pixel", unit, read=pixel), grid("Kernel", kernel),
                     grid("Its convolution", image, read=np.s_[:]), grid("C", matrix, written=np.s_[:, p])))
    product = np.full(y.size, np.nan)
    for q in range(y.size):
        product[q] = matrix[q] @ x.ravel()
        yield Frame(f"Row {q} of C times the image, as one long vector, is output pixel {divmod(q, y.shape[1])}: "
                    f"{number(product[q])}.",
                    (grid("C", matrix, read=np.s_[q]), grid("Input", x, read=np.s_[:]),
                     grid("Output", product.reshape(y.shape), written=divmod(q, y.shape[1]))))
    back = np.full(x.size, np.nan)
    for p in range(x.size):
        back[p], pixel = matrix[:, p] @ product, divmod(p, x.shape[1])
        yield Frame(f"Transposed: column {p} of C times the output is pixel {pixel} of an image as large as the input: "
                    f"{number(back[p])}.",
                    (grid("C", matrix, read=np.s_[:, p]), grid("Output", product.reshape(y.shape), read=np.s_[:]),
                     grid("Transposed convolution of the output", back.reshape(x.shape), written=pixel)))


def describe(kernel: Array, **settings: tuple[int, int]) -> str:
    """kernel 3x3, stride 2, padding 1: as the lecture's slides say it."""
    usual = {"dilation": (1, 1), "output_padding": (0, 0)}
    parts = [f"{name.replace('_', ' ')} {h}" if h == w else f"{name.replace('_', ' ')} {h}x{w}"
             for name, (h, w) in settings.items() if (h, w) != usual.get(name)]
    return ", ".join([f"kernel {kernel.shape[0]}x{kernel.shape[1]}", *parts])


def _checked(name: str, input: Any, kernel: Any, stride: IntPair, padding: IntPair,
             dilation: IntPair) -> tuple[Array, Array, dict[str, tuple[int, int]]]:
    x, w = plane(f"{name}: input", input), plane(f"{name}: kernel", kernel)
    s = settings(name, stride, padding, dilation)
    kernel_fits(name, x, (w.shape[0], w.shape[1]), s["padding"], s["dilation"])
    return x, w, s
