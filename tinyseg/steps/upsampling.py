"""Upsampling: all methods on one image, and where bilinear interpolation takes its weights from."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..functional import pixel_shuffle
from ..nn.init import bilinear_
from ..op import Array
from ..ops.conv import ConvTranspose2d
from ..ops.pool import MaxPool2d, MaxUnpool2d
from ..ops.resize import BedOfNails, Bilinear, Nearest
from ..sizes import IntPair, pair
from ..tensor import Tensor
from .checks import canvas_fits, plane
from .convolution import IMAGE
from .frames import Frame, Grid, Steps, grid, number
from .pooling import ENCODER_IMAGE
from .watch import reference, watch

WEIGHTS = "(1 - distance down)(1 - distance across)".replace(" ", "\xa0")             # in one line
Upsample = Callable[[Array], Array]


def upsampling(input: Any = ((1, 2), (3, 4)), stride: int = 2) -> Steps:
    """Every method of upsampling: on the same image, one frame each, and in each what becomes of one pixel.

    input (H, W), enlarged `stride` times; two ways keep corner pixels in the corners: s(H - 1) + 1 rows.

    >>> [frame.sentence.partition(":")[0] for frame in upsampling()][2:]
    ['Max unpooling', 'Bilinear', 'Bilinear, corners aligned', 'Transposed convolution', 'Pixel shuffle']
    """
    x, s = plane("upsampling: input", input), pair("upsampling: stride", stride)
    canvas_fits("upsampling", (x.shape[0] * s[0], x.shape[1] * s[1]))
    if s[0] != s[1]:
        raise ValueError(f"upsampling: stride={stride}; expected one number, the same for both axes")
    return Steps(f"Upsampling {x.shape[0]}x{x.shape[1]} pixels, {s[0]} times", _upsampling_frames(x, s[0]),
                 {"read": "one pixel", "written": "all that it reaches"})


def _upsampling_frames(x: Array, s: int) -> Iterator[Frame]:
    size, aligned = tuple(n * s for n in x.shape), tuple(s * (n - 1) + 1 for n in x.shape)
    encoded = np.resize(ENCODER_IMAGE, size)
    indices = reference(MaxPool2d)(encoded[None, None], kernel_size=(s, s), stride=(s, s), padding=(0, 0),
                                   dilation=(1, 1), ceil_mode=False, return_indices=True)[1]
    kernel = bilinear_(Tensor(np.empty((1, 1, 2 * s - 1, 2 * s - 1)))).numpy()
    step, crop = (1 / s, 1 / s), (s - 1, s - 1)
    indices_panel, kernel_panel = grid("Indices of the encoder's maxima", indices[0, 0]), grid("Kernel", kernel[0, 0])
    yield _reach("Nearest: every pixel is repeated.", x,
                 lambda a: reference(Nearest)(a, size=size, scale=step, exact=False))
    yield _reach("Bed of nails: every pixel goes to the top left of a block of zeros.", x,
                 lambda a: reference(BedOfNails)(a, scale=(s, s)))
    yield _reach("Max unpooling: every pixel goes back to where the encoder's max pooling found its maximum.", x,
                 lambda a: reference(MaxUnpool2d)(a, indices, output_size=size), indices_panel)
    yield _reach("Bilinear: every output mixes the pixels around it; beyond the outermost centres the border repeats.",
                 x, lambda a: reference(Bilinear)(a, size=size, scale=step, align_corners=False))
    yield _reach("Bilinear, corners aligned: the corner pixels stay where they are.", x,
                 lambda a: reference(Bilinear)(a, size=aligned, scale=step, align_corners=True))
    yield _reach("Transposed convolution: with this kernel, padding cropped, it is bilinear with corners aligned; "
                 "learned, it can be anything.", x,
                 lambda a: reference(ConvTranspose2d)(a, kernel, stride=(s, s), padding=crop, output_padding=(0, 0),
                                                      dilation=(1, 1), groups=1), kernel_panel)
    factors = np.arange(1.0, s * s + 1).reshape(-1, 1, 1)                  # a 1x1 convolution's kernels
    columns = [f"({i}, {j})" for i, j in np.ndindex(x.shape)]
    yield _reach(f"Pixel shuffle: a convolution makes {s * s} channels, here 1 to {s * s} times the image; at each pixel they "
                 f"become the {s}x{s} pixels of one block.", x, lambda a: pixel_shuffle(a * factors, s).numpy(),
                 grid("Channels, a row each", (x * factors).reshape(s * s, -1), read=np.s_[:, x.shape[1] - 1],
                      rows=[f"{k + 1}·x" for k in range(s * s)], columns=columns))


def _reach(sentence: str, x: Array, upsample: Upsample, *more: Grid) -> Frame:
    """The method applied to x, and to an image of one pixel alone, which shows what this pixel reaches."""
    pixel = (0, x.shape[1] - 1)
    alone = np.zeros((1, 1, *x.shape))
    alone[0, 0][pixel] = 1
    return Frame(sentence, (grid("Input", x, read=pixel), *more,
                            grid("Output", upsample(x[None, None])[0, 0], written=upsample(alone)[0, 0] != 0)))


def bilinear(input: Any = IMAGE, size: IntPair | None = None, align_corners: bool = True) -> Steps:
    """Bilinear interpolation: for each output pixel its place in the input, and the weights of the pixels around it.

    input (H, W), resized to `size`, twice as many less one unless given: the lecture's transposed convolution.
    align_corners: do the corner pixels' centres stay (True), or the image's edges?

    >>> bilinear([[0, 4]], size=(1, 5))[1]["Weights"].values
    array([[0.75, 0.25]])
    """
    x = plane("bilinear: input", input)
    shape = (2 * x.shape[0] - 1, 2 * x.shape[1] - 1) if size is None else pair("bilinear: size", size)
    canvas_fits("bilinear", shape)
    corners = "corners" if align_corners else "edges"
    title = f"Bilinear interpolation, {x.shape[0]}x{x.shape[1]} to {shape[0]}x{shape[1]}, {corners} aligned"
    return Steps(title, _bilinear_frames(x, shape, bool(align_corners)))


def _bilinear_frames(x: Array, size: tuple[int, int], align_corners: bool) -> Iterator[Frame]:
    scale = (x.shape[0] / size[0], x.shape[1] / size[1])
    run = watch(reference(Bilinear), "return np.einsum(", lambda at: at["weights"],
                x[None, None], size=size, scale=scale, align_corners=align_corners)
    (down, across), result = run.moments[0], run.result[0, 0]              # (O, H), (P, W)
    output = np.full(size, np.nan)
    for i, j in np.ndindex(size):
        weights = np.outer(down[i], across[j])
        output[i, j] = result[i, j]
        row, column = down[i] @ np.arange(x.shape[0]), across[j] @ np.arange(x.shape[1])
        around = np.count_nonzero(weights)
        yield Frame(f"Output ({i}, {j}) lies in the input at row {number(row)}, column {number(column)}: {around} "
                    f"pixel{'' if around == 1 else 's'} there, weighted {WEIGHTS}, "
                    f"make{'s' if around == 1 else ''} {number(output[i, j])}.",
                    (grid("Input", x, read=weights > 0), grid("Weights", weights, read=weights > 0),
                     grid("Output", output, written=(i, j))), run.code)
