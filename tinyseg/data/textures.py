"""Textures: patterns on the objects of a scene, and smooth noise for the ground beneath them."""

from __future__ import annotations

from typing import Callable

import numpy as np

# takes coordinates u, v (H, W) in wavelengths and the sharpness, a wavelength in pixels / 2π, of edges one pixel wide;
# gives the share of the second colour, 0 to 1
Pattern = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def _wave(phase: np.ndarray, sharpness: float) -> np.ndarray:
    """A square wave of period 1 between 0 and 1, its edges ramps of one pixel: antialiased."""
    return np.clip(0.5 + sharpness * np.sin(2 * np.pi * phase), 0, 1)


def plain(u: np.ndarray, v: np.ndarray, sharpness: float) -> np.ndarray:
    """One colour."""
    return np.zeros_like(u)


def striped(u: np.ndarray, v: np.ndarray, sharpness: float) -> np.ndarray:
    """Parallel stripes."""
    return _wave(u, sharpness)


def checkered(u: np.ndarray, v: np.ndarray, sharpness: float) -> np.ndarray:
    """A chessboard."""
    wave = np.sin(np.pi * u) * np.sin(np.pi * v)
    return np.clip(0.5 + 2 * sharpness * wave, 0, 1)


def dotted(u: np.ndarray, v: np.ndarray, sharpness: float) -> np.ndarray:
    """Round dots on a square lattice."""
    distance = np.hypot(u - np.floor(u) - 0.5, v - np.floor(v) - 0.5)
    return np.clip(0.5 + 2 * np.pi * sharpness * (0.33 - distance), 0, 1)


def ringed(u: np.ndarray, v: np.ndarray, sharpness: float) -> np.ndarray:
    """Rings around the middle."""
    return _wave(np.hypot(u, v), sharpness)


PATTERNS: dict[str, Pattern] = {
    "striped": striped, "checkered": checkered, "dotted": dotted, "ringed": ringed, "plain": plain,
}


def noise(rng: np.random.Generator, height: int, width: int, cell: float) -> np.ndarray:
    """Value noise (H, W), about 0 to 1: random values every `cell` pixels (at least 1), bicubic in between."""
    from PIL import Image

    cell = max(cell, 1.0)
    grid = rng.random((int(height / cell) + 2, int(width / cell) + 2), dtype=np.float32)
    box = (0.5, 0.5, 0.5 + width / cell, 0.5 + height / cell)
    return np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC, box=box))
