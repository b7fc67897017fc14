"""U-Net's weight map: pixels between objects that nearly touch count more (Ronneberger et al. 2015, section 3)."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..kernels import dense
from ..kernels import distance as kernels
from .palette import VOID


def distance_transform(mask: np.ndarray) -> np.ndarray:
    """The Euclidean distance of every pixel to the nearest True one: (H, W) bool -> (H, W) float64; ∞ if none is True.

    Exact, in time proportional to the pixels (Felzenszwalb & Huttenlocher 2012).  ValueError if it is not such a mask.

    >>> distance_transform(np.array([[True, False, False], [False, False, False]])).round(2)
    array([[0.  , 1.  , 2.  ],
           [1.  , 1.41, 2.24]])
    """
    if mask.ndim != 2 or mask.dtype != bool or 0 in mask.shape:
        raise ValueError(f"distance_transform: expects a mask (H, W) bool with at least one pixel, got {mask.shape} "
                         f"{mask.dtype}; compare labels first, such as labels == 1")
    columns, squared = np.empty(mask.shape), np.empty(mask.shape)
    kernels.along_columns(columns, dense(mask))
    kernels.along_rows(squared, columns)
    return np.sqrt(squared)


def border_weights(objects: np.ndarray, w_c: np.ndarray | float = 1.0, w0: float = 10.0, sigma: float = 5.0,
                   background: Sequence[int] = (0, VOID)) -> np.ndarray:
    """w(x) = w_c(x) + w₀·exp(-(d₁(x) + d₂(x))² / 2σ²): Ronneberger et al. 2015, equation 2.  (H, W) float32.

    objects: (H, W) integers, another one for each object (each cell); the labels in `background` are none.
    w_c: the weight that balances the class frequencies, for all pixels or for each (H, W): class_weights[mask].
    d₁, d₂: distance to the nearest and to the second nearest object, in pixels; d₁ is 0 within an object.  With less
    than two objects nothing is added.  sigma: in pixels.  ValueError where shapes or settings do not fit.

    In the loss the weights multiply what each pixel has to pay:

    >>> from tinyseg import Tensor
    >>> from tinyseg.functional import cross_entropy
    >>> objects = np.array([[1, 1, 0, 2, 2]])
    >>> weights = border_weights(objects)
    >>> weights.round(2)
    array([[ 9.35, 10.23, 10.23, 10.23,  9.35]], dtype=float32)
    >>> scores = Tensor(np.zeros((1, 2, 1, 5), np.float32), requires_grad=True)         # of background and cell
    >>> energy = (cross_entropy(scores, (objects > 0)[None].astype(np.uint8), reduction="none") * weights).sum()
    >>> energy.backward()
    >>> scores.grad[0, 1, 0].round(2)                                                   # w(x)·(p(x) - target(x))
    array([-4.68, -5.12,  5.12, -5.12, -4.68], dtype=float32)
    """
    if objects.ndim != 2 or objects.dtype.kind not in "iu" or 0 in objects.shape:
        raise ValueError(f"border_weights: expects labels of objects (H, W), integers, got {objects.shape} "
                         f"{objects.dtype}")
    if np.ndim(w_c) and np.shape(w_c) != objects.shape:
        raise ValueError(f"border_weights: w_c has shape {np.shape(w_c)}; expected one number, or {objects.shape}")
    if not (w0 >= 0 and sigma > 0):
        raise ValueError(f"border_weights: w0={w0}, sigma={sigma}; expected w0 of at least 0, and a positive sigma")
    d1, d2 = np.full((2, *objects.shape), np.inf)
    for label in np.setdiff1d(objects, background):
        d = distance_transform(objects == label)
        d2 = np.minimum(d2, np.maximum(d1, d))
        d1 = np.minimum(d1, d)
    return (w_c + w0 * np.exp(-(d1 + d2) ** 2 / (2 * sigma**2))).astype(np.float32)
