"""Upsampling and downsampling by a rule instead of by learned weights.

`scale` is (height, width): input pixels per output pixel, as `functional.interpolate` resolved it.
"""
from __future__ import annotations

import numpy as np

from .. import buffers
from ..kernels import dense, planes
from ..kernels import resize as kernels
from ..op import Op, Sample
from .sampling import normal


class Nearest(Op):
    """y[n, c, i, j] = x[n, c, ⌊i·scale⌋, ⌊j·scale⌋];   exact: ⌊(i + ½)·scale⌋, the pixel under the centre;   dx: summed back

    Without `exact` it is PyTorch's (and OpenCV's) mode "nearest", half a pixel off; "nearest-exact" is Pillow's.  Positions
    are rounded to float32, as PyTorch's are, before the fraction is cut off: ties fall on the same pixel.
    """

    linear = (0,)

    def forward(ctx, x, *, size, scale, exact):
        ctx.axes = tuple(_nearest_axis(x.shape[2 + a], size[a], scale[a], exact) for a in (0, 1))
        ctx.shape, y = x.shape, buffers.empty((*x.shape[:2], *size), x.dtype)
        kernels.nearest(planes(y), planes(dense(x)), *ctx.axes)
        return y

    def backward(ctx, dy):
        dx = buffers.empty(ctx.shape, dy.dtype)
        kernels.nearest_grad(planes(dx), planes(dense(dy)), *ctx.axes)
        return (dx,)

    def reference(x, *, size, scale, exact):
        y = np.empty((*x.shape[:2], *size), x.dtype)
        for i, j in np.ndindex(*size):
            h, w = (int(np.float32((o + exact / 2) * float(np.float32(step)))) for o, step in zip((i, j), scale))
            y[:, :, i, j] = x[:, :, min(h, x.shape[2] - 1), min(w, x.shape[3] - 1)]
        return y

    def samples(rng):
        for shape, size, scale, exact in [
            ((2, 3, 2, 3), (4, 6), (0.5, 0.5), False), ((1, 2, 5, 5), (3, 4), (5 / 3, 5 / 4), True),
            ((1, 1, 3, 2), (7, 5), (1 / 2.6, 1 / 2.6), False), ((1, 1, 1, 1), (2, 3), (0.5, 1 / 3), True),
        ]:
            yield Sample((normal(rng, *shape),), {"size": size, "scale": scale, "exact": exact})


class Bilinear(Op):
    """y[n, c, i, j] = Σ_hw (1 - |h - h(i)|)₊ (1 - |w - w(j)|)₊ x[n, c, h, w];   dx: the same weights, transposed

    h(i) = i·(H - 1)/(O - 1) with align_corners (the corner pixels' centres stay), else (i + ½)·scale - ½, clamped to the
    image (the image's edges stay).
    """

    linear = (0,)

    def forward(ctx, x, *, size, scale, align_corners):
        axes = [_bilinear_axis(x.shape[2 + a], size[a], scale[a], align_corners) for a in (0, 1)]
        ctx.axes = tuple(part for first, second, fraction in axes for part in (first, second, fraction.astype(x.dtype)))
        ctx.shape, y = x.shape, buffers.empty((*x.shape[:2], *size), x.dtype)
        kernels.bilinear(planes(y), planes(dense(x)), *ctx.axes)
        return y

    def backward(ctx, dy):
        dx = buffers.empty(ctx.shape, dy.dtype)
        kernels.bilinear_grad(planes(dx), planes(dense(dy)), *ctx.axes)
        return (dx,)

    def reference(x, *, size, scale, align_corners):
        weights = []
        for length, outputs, step in zip(x.shape[2:], size, scale):
            i = np.arange(outputs)
            source = i * (length - 1) / max(outputs - 1, 1) if align_corners else (i + 0.5) * step - 0.5
            distance = abs(np.clip(source, 0, length - 1)[:, None] - np.arange(length))
            weights.append(np.maximum(1 - distance, 0))                    # (O, H): the triangle around each source
        return np.einsum("ih,nchw,jw->ncij", weights[0], x, weights[1])

    def samples(rng):
        for shape, size, scale, align_corners in [
            ((2, 3, 2, 3), (4, 6), (0.5, 0.5), False), ((1, 2, 4, 4), (7, 7), (4 / 7, 4 / 7), True),
            ((1, 2, 6, 5), (3, 2), (2.0, 2.5), False), ((1, 1, 3, 4), (7, 1), (1 / 2.6, 4.0), False),
            ((1, 1, 3, 1), (1, 3), (3.0, 1 / 3), True),
        ]:
            yield Sample((normal(rng, *shape),), {"size": size, "scale": scale, "align_corners": align_corners})


class BedOfNails(Op):
    """y[n, c, i·s, j·s] = x[n, c, i, j], all else 0;   dx[n, c, i, j] = dy[n, c, i·s, j·s]"""

    linear = (0,)

    def forward(ctx, x, *, scale):
        ctx.nails = np.s_[:, :, ::scale[0], ::scale[1]]
        y = np.zeros((*x.shape[:2], x.shape[2] * scale[0], x.shape[3] * scale[1]), x.dtype)
        y[ctx.nails] = x
        return y

    def backward(ctx, dy): return (dy[ctx.nails],)

    def reference(x, *, scale):
        nail = np.zeros(scale)
        nail[0, 0] = 1
        return np.kron(x, nail)

    def samples(rng):
        for shape, scale in [((2, 3, 2, 3), (2, 2)), ((1, 1, 3, 1), (1, 3))]:
            yield Sample((normal(rng, *shape),), {"scale": scale})


def _nearest_axis(length, outputs, scale, exact):
    source = (np.arange(outputs) + exact / 2) * np.float64(np.float32(scale))
    return source.astype(np.float32).astype(np.int64).clip(max=length - 1)


def _bilinear_axis(length, outputs, scale, align_corners):
    """(first, second, fraction): where each output lies between two inputs."""
    i = np.arange(outputs)
    source = i * ((length - 1) / max(outputs - 1, 1)) if align_corners else (i + 0.5) * scale - 0.5
    source = source.clip(0, length - 1)
    first = source.astype(np.int64)
    return first, (first + 1).clip(max=length - 1), source - first
