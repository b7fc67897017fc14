"""The one source of randomness for initial weights and dropout.

>>> manual_seed(0); first = generator().random()
>>> manual_seed(0); first == generator().random()
True
"""
from __future__ import annotations

import numpy as np

_generator = np.random.Generator(np.random.PCG64(0))


def manual_seed(seed: int) -> None:
    """Start the random numbers anew: the same seed gives the same weights and the same dropout.

    seed: an integer of at least 0; ValueError otherwise.
    """
    if seed < 0:
        raise ValueError(f"manual_seed: seed={seed}, expected at least 0")
    _generator.bit_generator.state = np.random.PCG64(seed).state


def generator() -> np.random.Generator:
    """The generator; its `bit_generator.state` is what a checkpoint keeps."""
    return _generator
