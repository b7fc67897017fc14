"""Random arguments for the samples that ops declare; all float64."""
from __future__ import annotations

import numpy as np

from ..op import Array


def normal(rng: np.random.Generator, *shape: int) -> Array:
    """Standard normal values."""
    return rng.standard_normal(shape)


def positive(rng: np.random.Generator, *shape: int) -> Array:
    """Values in [0.5, 2]."""
    return rng.uniform(0.5, 2.0, shape)


def distinct(rng: np.random.Generator, *shape: int) -> Array:
    """Values at least 0.1 apart and 0.05 away from 0, so that no finite difference steps over a kink or a tie."""
    n = int(np.prod(shape))
    return ((rng.permutation(n) - n // 2) * 0.1 + 0.05).reshape(shape)


def labels(rng: np.random.Generator, num_classes: int, *shape: int, void: float = 0.2) -> Array:
    """Integer labels, a share of them 255."""
    target = rng.integers(0, num_classes, shape)
    return np.where(rng.random(shape) < void, 255, target)
