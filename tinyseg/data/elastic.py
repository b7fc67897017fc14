"""Elastic deformation, with which U-Net learns from few images (Ronneberger et al. 2015, section 3.1)."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .dataset import Pair
from .transforms import Transform


@dataclass
class RandomElastic(Transform):
    """Deform image and mask smoothly: random displacements on a coarse grid, interpolated bicubically between.

    std: standard deviation of the Gaussian displacements, in pixels, along each axis.
    grid: nodes along each axis, spread from edge to edge; the paper has 3 x 3.
    The image is interpolated bilinearly, the mask takes the nearest pixel; beyond the edges both are mirrored.
    """

    std: float = 10.0
    grid: int = 3

    def __post_init__(self) -> None:
        if not (0 <= self.std < np.inf and self.grid >= 2):
            raise ValueError(f"RandomElastic: expects std of at least 0 and grid of at least 2, got std={self.std} "
                             f"grid={self.grid}")

    def apply(self, image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> Pair:
        nodes = rng.normal(0, self.std, (2, self.grid, self.grid))            # of rows, of columns
        height, width = mask.shape
        down, across = cubic_weights(height, self.grid) @ nodes @ cubic_weights(width, self.grid).T
        rows = mirrored(np.arange(height)[:, None] + down, height)
        columns = mirrored(np.arange(width) + across, width)
        return _bilinear(image, rows, columns), mask[np.rint(rows).astype(int), np.rint(columns).astype(int)]


def cubic_weights(length: int, nodes: int) -> np.ndarray:
    """How much each node counts at each pixel, (length, nodes), in cubic interpolation; a row sums to 1.

    The first node lies on the first pixel, the last on the last; each stands for itself once more beyond the edge.
    Keys 1981, "Cubic convolution interpolation for digital image processing", equation 15 (a = -½).

    >>> cubic_weights(5, 3)
    array([[ 1.    ,  0.    ,  0.    ],
           [ 0.5   ,  0.5625, -0.0625],
           [ 0.    ,  1.    ,  0.    ],
           [-0.0625,  0.5625,  0.5   ],
           [ 0.    ,  0.    ,  1.    ]])
    """
    place = np.arange(length) * (nodes - 1) / max(length - 1, 1)
    node = np.arange(-2, nodes + 2)
    s = abs(place[:, None] - node)
    weights = np.where(s < 1, 1.5 * s**3 - 2.5 * s**2 + 1, np.where(s < 2, -0.5 * s**3 + 2.5 * s**2 - 4 * s + 2, 0))
    return weights @ (node.clip(0, nodes - 1)[:, None] == np.arange(nodes))


def mirrored(place: np.ndarray, length: int) -> np.ndarray:
    """Places beyond the edges, reflected back to 0 … length - 1 as often as it takes; the edge pixel is not repeated.

    >>> mirrored(np.array([-1.5, 0, 2, 2.25, 5]), 3).tolist()
    [1.5, 0.0, 2.0, 1.75, 1.0]
    """
    if length == 1:
        return np.zeros_like(place)
    place = abs(place) % (2 * (length - 1))
    return np.minimum(place, 2 * (length - 1) - place)


def _bilinear(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The image (H, W, 3) uint8 at places (H', W') between its pixels."""
    top, left = rows.astype(int), columns.astype(int)
    bottom, right = (np.minimum(first + 1, n - 1) for first, n in zip((top, left), image.shape))
    b, a = (rows - top)[..., None], (columns - left)[..., None]
    upper = (1 - a) * image[top, left] + a * image[top, right]
    lower = (1 - a) * image[bottom, left] + a * image[bottom, right]
    return np.rint((1 - b) * upper + b * lower).astype(np.uint8)
