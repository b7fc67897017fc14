"""Outlines as signed distances: negative inside, zero on the edge, positive outside.

Every outline is about one unit in radius around the origin and takes coordinate arrays: `u` to the right, `v` down.
A distance, unlike a filled raster, gives everything that a drawing needs: antialiased coverage, a border of any width,
a soft shadow and, by its gradient, the direction in which the surface falls off.

Formulas: I. Quilez, "2D distance functions", https://iquilezles.org/articles/distfunctions2d/
"""

from __future__ import annotations

from functools import partial
from typing import Callable

import numpy as np

Outline = Callable[[np.ndarray, np.ndarray], np.ndarray]


def disc(u: np.ndarray, v: np.ndarray, radius: float = 0.9) -> np.ndarray:
    """Distance to a circle around the origin.

    >>> disc(np.array([0.0, 2.0]), np.array([0.0, 0.0]), radius=1.0)
    array([-1.,  1.])
    """
    return np.hypot(u, v) - radius


def ring(u: np.ndarray, v: np.ndarray, radius: float = 0.68, half_width: float = 0.27) -> np.ndarray:
    """Distance to an annulus whose middle line has `radius`."""
    return np.abs(disc(u, v, radius)) - half_width


def crescent(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A disc with a smaller disc bitten out of its right side."""
    return np.maximum(disc(u, v, 1.0), -disc(u - 0.5, v, 0.75))


def half_disc(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The upper half of a disc."""
    return np.maximum(disc(u, v - 0.4, 1.1), v - 0.4)


def polygon(u: np.ndarray, v: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Distance to a closed polygon with `corners` (K, 2): the nearest edge, signed by the parity of the edges crossed.

    >>> square = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    >>> polygon(np.array([[0.0, 3.0]]), np.array([[0.0, 0.0]]), square)
    array([[-1.,  2.]])
    """
    a = corners[:, :, None, None].astype(u.dtype)                               # (K, 2, 1, 1)
    b = np.roll(a, -1, axis=0)
    edge_u, edge_v = b[:, 0] - a[:, 0], b[:, 1] - a[:, 1]                       # (K, 1, 1)
    to_u, to_v = u - a[:, 0], v - a[:, 1]                                       # (K, H, W)
    along = np.clip((to_u * edge_u + to_v * edge_v) / (edge_u**2 + edge_v**2), 0, 1)
    nearest = ((to_u - along * edge_u) ** 2 + (to_v - along * edge_v) ** 2).min(axis=0)

    below_a, above_b = v >= a[:, 1], v < b[:, 1]
    left = edge_u * to_v > edge_v * to_u
    crossed = (below_a == above_b) & (above_b == left)
    inside = np.logical_xor.reduce(crossed, axis=0)
    distance = np.sqrt(nearest)
    return np.where(inside, -distance, distance)


def _regular(count: int, *radii: float) -> np.ndarray:
    """Corners at `count` equal angles, their radii taken in turn from `radii`: a polygon or, with two radii, a star."""
    angle = 2 * np.pi * np.arange(count) / count - np.pi / 2
    radius = np.resize(radii, count)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


_CROSS = [(-.3, -1), (.3, -1), (.3, -.3), (1, -.3), (1, .3), (.3, .3),
          (.3, 1), (-.3, 1), (-.3, .3), (-1, .3), (-1, -.3), (-.3, -.3)]
_BAR = [(-1.15, -.4), (1.15, -.4), (1.15, .4), (-1.15, .4)]
_ARROW = [(0, -1.05), (.85, -.05), (.35, -.05), (.35, .95), (-.35, .95), (-.35, -.05), (-.85, -.05)]

OUTLINES: dict[str, Outline] = {
    "disc": disc,
    "square": partial(polygon, corners=_regular(4, 1.12)),
    "triangle": partial(polygon, corners=_regular(3, 1.15)),
    "star": partial(polygon, corners=_regular(10, 1.25, 0.6)),
    "ring": ring,
    "cross": partial(polygon, corners=np.array(_CROSS)),
    "crescent": crescent,
    "bar": partial(polygon, corners=np.array(_BAR)),
    "arrow": partial(polygon, corners=np.array(_ARROW)),
    "half-disc": half_disc,
}
