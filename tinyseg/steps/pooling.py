"""Max pooling that remembers where its maxima stood, and unpooling that puts them back."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..op import Array
from ..ops.pool import MaxPool2d, MaxUnpool2d
from ..sizes import IntPair, pair
from .checks import kernel_fits, plane, settings
from .frames import Frame, Steps, grid, number
from .watch import reference, watch

ENCODER_IMAGE = np.array([[1, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8]], float)


def max_pool(input: Any = ENCODER_IMAGE, kernel_size: IntPair = 2, stride: IntPair | None = None, padding: IntPair = 0,
             dilation: IntPair = 1) -> Steps:
    """Max pooling with indices, then max unpooling with them: what SegNet's encoder and decoder do.

    input (H, W); the stride is the kernel size unless given; padding is at most half the kernel.  Raises ValueError,
    TypeError for what does not fit.

    >>> run = max_pool([[1, 5], [7, 3]])
    >>> run[-1]["Unpooled"].values.tolist()
    [[0.0, 0.0], [7.0, 0.0]]
    """
    x, kernel = plane("max-pool: input", input), pair("max-pool: kernel_size", kernel_size)
    s = settings("max-pool", kernel if stride is None else stride, padding, dilation)
    if any(2 * p > k for p, k in zip(s["padding"], kernel)):
        raise ValueError(f"max-pool: padding={s['padding']} exceeds half the kernel {kernel}; a window could lie "
                         f"outside the image")
    kernel_fits("max-pool", x, kernel, s["padding"], s["dilation"])
    title = f"Max pooling and unpooling, kernel {kernel[0]}x{kernel[1]}, stride {s['stride'][0]}x{s['stride'][1]}"
    legend = {"read": "read", "written": "written, or the maximum"}
    return Steps(title, _frames(x, {"kernel_size": kernel, **s}), legend)


def _frames(x: Array, s: dict[str, tuple[int, int]]) -> Iterator[Frame]:
    pool = watch(reference(MaxPool2d), "y[n, c, i, j], indices[n, c, i, j] =",
                 lambda at: (at["i"], at["j"], at["cells"], (at["h"], at["w"])), x[None, None], ceil_mode=False,
                 return_indices=True, **s)
    y, indices = (result[0, 0] for result in pool.result)
    pooled, places = np.full(y.shape, np.nan), np.full(y.shape, np.nan)
    for i, j, cells, maximum in pool.moments:
        pooled[i, j], places[i, j] = y[i, j], indices[i, j]
        yield Frame(f"Output ({i}, {j}): the largest of {len(cells)} pixels is {number(y[i, j])}, at {maximum}, which "
                    f"is pixel {indices[i, j]} counted row by row.",
                    (grid("Input", x, read=tuple(zip(*cells)), written=maximum), grid("Pooled", pooled, written=(i, j)),
                     grid("Indices", places, written=(i, j))), pool.code)
    unpool = watch(reference(MaxUnpool2d), "y[n, c, indices[n, c, i, j]] =",
                   lambda at: (at["i"], at["j"], at["y"][0, 0].reshape(x.shape).copy()),
                   y[None, None], indices[None, None], output_size=x.shape)
    for i, j, unpooled in unpool.moments:
        place = divmod(int(indices[i, j]), x.shape[1])
        yield Frame(f"Unpooling: {number(y[i, j])} goes back to pixel {indices[i, j]}, at {place}; all else stays 0.",
                    (grid("Pooled", y, read=(i, j)), grid("Indices", indices, read=(i, j)),
                     grid("Unpooled", unpooled, written=place)), unpool.code)
