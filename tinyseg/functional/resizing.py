"""interpolate, bed_of_nails, pixel_shuffle, pad."""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Union

from ..ops.resize import BedOfNails, Bilinear, Nearest
from ..ops.shape import Pad
from ..sizes import IntPair, pair
from ..tensor import Tensor, apply
from .checks import TensorLike, on_images, tensor

FloatPair = Union[float, Sequence[float]]


@on_images
def interpolate(input: TensorLike, size: IntPair | None = None, scale_factor: FloatPair | None = None,
                mode: str = "nearest", align_corners: bool | None = None) -> Tensor:
    """Resize images to `size`, or by `scale_factor` to ⌊H·factor⌋ rows (the factor itself then sets the sampling step).

    input (N, C, H, W) or (C, H, W).  mode: "nearest" (PyTorch's, half a pixel off), "nearest-exact" (the pixel under the
    centre) or "bilinear".  align_corners, for bilinear only: True maps corner centres onto each other, False (the default)
    corner edges.  Nothing is smoothed when shrinking.  Raises ValueError for settings that do not fit.

    >>> import numpy as np
    >>> x = np.array([[[1., 2.]]])
    >>> interpolate(x, size=(1, 4), mode="bilinear").numpy()[0, 0]
    array([1.  , 1.25, 1.75, 2.  ])
    >>> interpolate(x, scale_factor=(1, 2)).numpy()[0, 0]
    array([1., 1., 2., 2.])
    """
    x = tensor(input)
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate: give either size or scale_factor")
    if mode not in ("nearest", "nearest-exact", "bilinear"):
        raise ValueError(f'interpolate: mode={mode!r}; expected "nearest", "nearest-exact" or "bilinear"')
    if align_corners is not None and mode != "bilinear":
        raise ValueError(f'interpolate: align_corners is for mode="bilinear", not {mode!r}')
    if size is not None:
        out = pair("interpolate: size", size)
        step = (x.shape[2] / out[0], x.shape[3] / out[1])
    else:
        assert scale_factor is not None
        factors = tuple(scale_factor) if isinstance(scale_factor, Sequence) else (scale_factor, scale_factor)
        if len(factors) != 2 or not all(f > 0 and math.isfinite(f) for f in factors):
            raise ValueError(f"interpolate: scale_factor={scale_factor}; expected a positive number or a pair of them")
        out = (math.floor(x.shape[2] * factors[0]), math.floor(x.shape[3] * factors[1]))
        if min(out) < 1:
            raise ValueError(f"interpolate: scale_factor={scale_factor} leaves nothing of an input of size {x.shape[2:]}")
        step = (1 / factors[0], 1 / factors[1])
    if mode == "nearest":          # PyTorch's exceptions: an unchanged or doubled size is sampled evenly, whatever the factor
        step = tuple(n / o if o in (n, 2 * n) else s for n, o, s in zip(x.shape[2:], out, step))  # type: ignore[assignment]
    if mode == "bilinear":
        return apply(Bilinear, x, size=out, scale=step, align_corners=bool(align_corners))
    return apply(Nearest, x, size=out, scale=step, exact=mode == "nearest-exact")


@on_images
def bed_of_nails(input: TensorLike, scale_factor: IntPair = 2) -> Tensor:
    """Upsample by putting each pixel into the top left of a block of zeros: the zero-interleaved image of the lecture.

    >>> import numpy as np
    >>> bed_of_nails(np.array([[[1., 2.]]])).numpy()
    array([[[1., 0., 2., 0.],
            [0., 0., 0., 0.]]])
    """
    return apply(BedOfNails, tensor(input), scale=pair("bed_of_nails: scale_factor", scale_factor))


@on_images
def pixel_shuffle(input: TensorLike, upscale_factor: int) -> Tensor:
    """Upsample by laying r² channels side by side as the r x r pixels of one: (N, C·r², H, W) -> (N, C, r·H, r·W).

    y[n, c, r·h + i, r·w + j] = x[n, r²·c + r·i + j, h, w].  After a convolution this is sub-pixel convolution (Shi et
    al. 2016, "Real-time single image and video super-resolution", equation 4).  ValueError if r, the upscale_factor, is
    not a positive integer, or r² does not divide the channels.

    >>> import numpy as np
    >>> pixel_shuffle(np.array([[[1., 5.]], [[2., 6.]], [[3., 7.]], [[4., 8.]]]), 2).numpy()
    array([[[1., 2., 5., 6.],
            [3., 4., 7., 8.]]])
    """
    x, r = tensor(input), upscale_factor
    if not isinstance(r, int) or r < 1:
        raise ValueError(f"pixel_shuffle: upscale_factor={r!r}; expected an integer, at least 1")
    n, channels, h, w = x.shape
    if channels % r**2:
        raise ValueError(f"pixel_shuffle: input {x.shape} has {channels} channels; expected a multiple of "
                         f"upscale_factor² = {r**2}")
    c = channels // r**2
    x = x.reshape(n, c, r, r, h, w)                        # (N, C, i, j, H, W)
    x = x.permute(0, 1, 4, 2, 5, 3)                        # (N, C, H, i, W, j)
    return x.reshape(n, c, h * r, w * r)


def pad(input: TensorLike, pad: Sequence[int], mode: str = "constant", value: float = 0.0) -> Tensor:
    """Extend an array at its borders: pad = (left, right), or (left, right, top, bottom), … from the last dimension on.

    mode: "constant" (fills with `value`; negative numbers crop), "reflect" (mirrors, less than the size), "replicate"
    (repeats the border) or "circular" (goes round, at most the size).

    >>> import numpy as np
    >>> pad(np.array([1., 2., 3.]), (2, 1), mode="reflect").numpy()
    array([3., 2., 1., 2., 3., 2.])
    """
    x = tensor(input)
    if len(pad) % 2 or len(pad) > 2 * x.ndim:
        raise ValueError(f"pad: {len(pad)} numbers for an input of shape {x.shape}; expected a pair for each of the last "
                         f"dimensions")
    if mode not in ("constant", "reflect", "replicate", "circular"):
        raise ValueError(f'pad: mode={mode!r}; expected "constant", "reflect", "replicate" or "circular"')
    widths = [(0, 0)] * (x.ndim - len(pad) // 2) + [(int(a), int(b)) for a, b in zip(pad[-2::-2], pad[::-2])]
    limits = {"reflect": -1, "circular": 0}
    for n, width in zip(x.shape, widths):
        most = n + limits.get(mode, max(width)) if n else 0
        if mode != "constant" and any(width) and not 0 <= min(width) <= max(width) <= most:
            raise ValueError(f"pad: {width} does not fit mode {mode!r} and size {n}; expected 0 to {most}")
        if sum(width) + n < 0 or -min(width) > n:
            raise ValueError(f"pad: {width} crops more than the size {n}")
    return apply(Pad, x, widths=tuple(widths), mode=mode, value=value)
