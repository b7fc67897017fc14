"""Transposed convolution in its two views: every element times the kernel, scattered; every output pixel gathered."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..op import Array
from ..ops.conv import ConvTranspose2d
from ..ops.resize import BedOfNails
from ..ops.shape import Pad
from ..sizes import IntPair, conv_transpose_output, pair
from .checks import canvas_fits, plane, settings
from .convolution import IMAGE, KERNEL, describe, slide, sliding_frames
from .frames import Frame, Steps, grid, number
from .watch import reference, watch

Settings = dict[str, tuple[int, int]]


def conv_transpose(input: Any = IMAGE, kernel: Any = KERNEL, stride: IntPair = 2, padding: IntPair = 1,
                   dilation: IntPair = 1, output_padding: IntPair = 0) -> Steps:
    """Transposed convolution, scattered: each element times the kernel is added to a canvas, `stride` pixels further.

    The lecture's tables "Element x Kernel" and "Added Result": two frames for each element of the input.  The canvas is
    cropped by `padding` in the end.  input (H, W), kernel (KH, KW).  ValueError, TypeError for what does not fit.

    >>> conv_transpose([[1, 2]], [[1, 1, 1]], padding=0)[-1]["Canvas"].values
    array([[1., 1., 3., 2., 2.]])
    """
    x, w, s = _checked("conv-transpose", input, kernel, stride, padding, dilation, output_padding)
    return Steps(f"Transposed convolution, {describe(w, **s)}", _scatter_frames(x, w, s))


def _scatter_frames(x: Array, kernel: Array, s: Settings) -> Iterator[Frame]:
    """The reference, watched on x, and on ones: where the count of summands grows is where an element is added."""
    def see(at: Mapping[str, Any]) -> tuple[int, int, Array, Array]:
        return at["i"], at["j"], at["element_x_kernel"][0, 0], at["out"][0, 0].copy()

    line, scatter = "out[:, :, i * sh", reference(ConvTranspose2d)
    run = watch(scatter, line, see, x[None, None], kernel[None, None], groups=1, **s)
    ones = np.ones((1, 1, *x.shape)), np.ones((1, 1, *kernel.shape))
    counts = [canvas for *_, canvas in watch(scatter, line, see, *ones, groups=1, **s).moments]
    before, count_before = np.full(counts[0].shape, np.nan), np.zeros(counts[0].shape)
    yield Frame("Each element of the input will be multiplied by the whole kernel and added to the canvas.",
                (grid("Input", x), grid("Kernel", kernel), grid("Element × kernel", np.full(kernel.shape, np.nan)),
                 grid("Canvas", before)))
    for (i, j, product, canvas), count in zip(run.moments, counts):
        source, target = grid("Input", x, read=(i, j)), count > count_before
        yield Frame(f"Element ({i}, {j}) is {number(x[i, j])}: it multiplies the kernel.",
                    (source, grid("Kernel", kernel, read=np.s_[:]), grid("Element × kernel", product, written=np.s_[:]),
                     grid("Canvas", before)))
        overlap = ", and to what stands there already." if (target & (count_before > 0)).any() else "."
        before, count_before = np.where(count > 0, canvas, np.nan), count
        yield Frame(f"Element ({i}, {j}) × kernel is added to the canvas, {_extent(target)}{overlap}",
                    (source, grid("Kernel", kernel), grid("Element × kernel", product, read=np.s_[:]),
                     grid("Canvas", before, written=target)), run.code)
    (top, left), output = s["padding"], run.result[0, 0]
    inner = np.s_[top:top + output.shape[0], left:left + output.shape[1]]
    sentence = "The canvas is the output; cells that no element has reached are 0." if not (top or left) else \
        f"Padding crops the canvas: rows are cut off at top and bottom, {top} each, columns at left and right, {left} each."
    yield Frame(sentence, (grid("Canvas", canvas, padding=np.s_[:], read=inner),
                           grid("Output", output, written=np.s_[:])))


def conv_transpose_gather(input: Any = IMAGE, kernel: Any = KERNEL, stride: IntPair = 2, padding: IntPair = 1,
                          dilation: IntPair = 1, output_padding: IntPair = 0) -> Steps:
    """Transposed convolution, gathered: zeros between the pixels, then a convolution with the flipped kernel.

    The lecture's fractionally-strided convolution (stride 1/s, so the window moves by one of the interleaved pixels),
    and its homework: the kernel must be flipped.
    """
    x, w, s = _checked("conv-transpose-gather", input, kernel, stride, padding, dilation, output_padding)
    return Steps(f"Fractionally-strided convolution, {describe(w, **s)}", _gather_frames(x, w, s),
                 {"read": "read", "written": "written", "padding": "zeros put in"})


def _gather_frames(x: Array, kernel: Array, s: Settings) -> Iterator[Frame]:
    widths = tuple((d * (k - 1) - p, d * (k - 1) - p + extra)
                   for k, p, d, extra in zip(kernel.shape, s["padding"], s["dilation"], s["output_padding"]))
    interleaved, holes = (_interleave(a, s["stride"]) for a in (x, np.ones(x.shape)))
    padded, zeros = (reference(Pad)(a, widths=widths, mode="constant", value=0) for a in (interleaved, holes))
    flipped = kernel[::-1, ::-1]
    yield Frame("The input and the kernel of the transposed convolution.", (grid("Input", x), grid("Kernel", kernel)))
    yield Frame(f"Zeros go between the pixels, {s['stride'][0] - 1} down and {s['stride'][1] - 1} across: a stride of "
                f"{' and '.join(f'1/{n}' for n in dict.fromkeys(s['stride']))}.",
                (grid("Input", x), grid("Zero-interleaved", interleaved, padding=holes == 0, read=holes == 1)))
    yield Frame(f"Zeros around it, d(k - 1) - p: {widths[0][0]} above, {widths[0][1]} below, {widths[1][0]} left, "
                f"{widths[1][1]} right{' (negative: cropped)' if np.min(widths) < 0 else ''}.",
                (grid("Zero-interleaved", interleaved, padding=holes == 0),
                 grid("Zero-interleaved and padded", padded, padding=zeros == 0, read=zeros == 1)))
    yield Frame("The kernel is flipped in both directions: what an element scatters to the right, an output gathers "
                "from the left.", (grid("Kernel", kernel), grid("Flipped kernel", flipped)))
    run = slide(padded, flipped, (1, 1), (0, 0), s["dilation"])
    run = run._replace(padding=zeros == 0)
    yield from sliding_frames(run, flipped, "Zero-interleaved and padded", "Flipped kernel")


def _interleave(x: Array, stride: tuple[int, int]) -> Array:
    """The bed of nails without the zeros after the last pixel."""
    nails = reference(BedOfNails)(x, scale=stride)
    return nails[:nails.shape[0] - stride[0] + 1, :nails.shape[1] - stride[1] + 1]


def _extent(mask: Array) -> str:
    """rows 0 to 2, column 4"""
    rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
    return ", ".join(f"{name}s {at[0]} to {at[-1]}" if len(at) > 1 else f"{name} {at[0]}"
                     for name, at in (("row", rows), ("column", columns)))


def _checked(name: str, input: Any, kernel: Any, stride: IntPair, padding: IntPair, dilation: IntPair,
             output_padding: IntPair) -> tuple[Array, Array, Settings]:
    x, w = plane(f"{name}: input", input), plane(f"{name}: kernel", kernel)
    s = settings(name, stride, padding, dilation)
    s["output_padding"] = pair(f"{name}: output_padding", output_padding, minimum=0)
    for axis in (0, 1):
        if s["output_padding"][axis] >= max(s["stride"][axis], s["dilation"][axis]):
            raise ValueError(f"{name}: output_padding={s['output_padding']} must be less than the stride {s['stride']} "
                             f"or the dilation {s['dilation']}")
    size = [conv_transpose_output(x.shape[a], w.shape[a], s["stride"][a], s["padding"][a], s["dilation"][a],
                                  s["output_padding"][a]) for a in (0, 1)]
    canvas_fits(name, (size[0], size[1]))
    canvas_fits(name, (size[0] + 2 * s["padding"][0], size[1] + 2 * s["padding"][1]))
    return x, w, s
