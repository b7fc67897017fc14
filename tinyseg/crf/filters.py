"""Gaussian filters, the message passing of the CRF: the sum over all pixels j at every pixel i, in three ways.

A filter takes an array (C, H, W) to another one.  All channels go through it in the same way.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..kernels import dense, lattice

Filter = Callable[[np.ndarray], np.ndarray]        # (C, H, W) -> (C, H, W)
EXACT_PIXELS = 1 << 14         # above, the matrix of all pairs would take more than a gigabyte


class ExactGaussian:
    """y[c, i] = Σ_j exp(-|f_i - f_j|²/2)·x[c, j], with features f (H, W, d): the matrix of all pairs, N² values."""

    def __init__(self, features: np.ndarray, dtype: np.dtype[Any]):
        f = features.reshape(-1, features.shape[-1])                                       # (N, d)
        if len(f) > EXACT_PIXELS:
            raise ValueError(f"dense_crf: method='exact' pairs each of {len(f)} pixels with all others, "
                             f"{8e-9 * len(f) ** 2:.0f} GB in float64; at most {EXACT_PIXELS}, or method='lattice'")
        distance = sum((column[:, None] - column) ** 2 for column in f.T)                  # (N, N)
        self.matrix = np.exp(-distance / 2).astype(dtype)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return (x.reshape(len(x), -1) @ self.matrix).reshape(x.shape)


class SeparableGaussian:
    """y[c, p] = Σ_p' exp(-|p - p'|²/2θ²)·x[c, p'] in the image plane, with the tail left out where it is below 1e-6."""

    def __init__(self, theta: float, shape: tuple[int, ...], dtype: np.dtype[Any]):
        radius = min(int(np.ceil(np.sqrt(2 * np.log(1e6)) * theta)), max(shape) - 1)
        self.taps = np.exp(-(np.arange(-radius, radius + 1) / theta) ** 2 / 2).astype(dtype)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        y = np.empty_like(x)
        lattice.separable_blur(y, dense(x), self.taps)
        return y


class PermutohedralLattice:
    """y[c, i] ≈ Σ_j exp(-|f_i - f_j|²/2)·x[c, j], with features f (H, W, d), at a cost that grows with N·d² instead of N²·d.

    Adams et al. blur once, by ¼ ½ ¼ along each axis.  On natural features that is off by a quarter, mostly because mass that
    passes through a vertex around which there is no pixel is lost.  Here
    - the blur goes along all axes forth and then back, so that the kernel is symmetric and positive semidefinite as a
      Gaussian is, with shares of 5/24: per axis, twice 2·5/24, and 1/12 each from splat and slice, make a variance of 1
      (Adams et al.: ⅔), at which the kernel's profile is nearest to a Gaussian's;
    - up to two rings of vertices are added around those with pixels, while there are less than 2^17;
    - a point's kernel with itself, which follows from its barycentric coordinates, is scaled to 1 (and some per cent less
      remain where the blur passes beyond the rings).
    """

    SHARE = 5 / 24
    RINGS, FEW = 2, 1 << 17
    TASKS = 64

    def __init__(self, features: np.ndarray, dtype: np.dtype[Any]):
        f = features.reshape(-1, features.shape[-1])                                       # (N, d)
        n = f.shape[1] + 1
        middle = np.arange(n) - (n - 1) / 2                            # of a simplex
        elevated = (f - f.mean(axis=0)) @ self.embedding(n - 1) + np.append(middle[::2], middle[1::2])     # (N, n)
        digits = self._digits(elevated)
        keys = np.empty(elevated.shape, np.int64)
        self.weights = np.empty(elevated.shape, dtype)
        lattice.simplices(keys, self.weights, elevated, digits)
        steps = digits.sum() - n * np.append(digits, 0)                                    # to the next key along each axis
        vertices = self._with_rings(np.unique(keys), steps)
        self.vertices = self._find(vertices, keys)                                         # (N, n)
        self.neighbours = [self._find(vertices, np.stack([vertices - s, vertices + s], axis=1)) for s in steps]
        self.starts = np.empty(len(vertices) + 1, np.int64)
        self.points = np.empty(keys.size, np.int32)
        self.shares = np.empty(keys.size, dtype)
        lattice.members(self.starts, self.points, self.shares, self.vertices, self.weights)
        self.tasks = np.searchsorted(self.starts, np.linspace(0, keys.size, self.TASKS + 1))
        self.tasks[-1] = len(vertices)
        self.scale = ((self.weights @ self._overlap(n).astype(dtype) * self.weights).sum(axis=1)) ** -0.5

    def __call__(self, x: np.ndarray) -> np.ndarray:
        values = dense(x.reshape(len(x), -1))                                              # (C, N)
        rows = np.empty(values.shape[::-1], x.dtype)
        lattice.rows_of(rows, values, self.scale)
        grid = np.zeros((len(self.starts), len(x)), x.dtype)                               # the last row: vertices not there
        other = np.zeros_like(grid)
        lattice.splat(grid, rows, self.starts, self.points, self.shares, self.tasks)
        for neighbours in [*self.neighbours, *reversed(self.neighbours)]:
            lattice.blur(other, grid, neighbours, x.dtype.type(self.SHARE))
            grid, other = other, grid
        y = np.empty_like(values)
        lattice.slice_lattice(y, grid, self.vertices, self.weights, self.scale)
        return y.reshape(x.shape)

    @staticmethod
    def embedding(d: int) -> np.ndarray:
        """(d, d + 1): d features into the hyperplane of coordinates that sum to 0, all lengths times d + 1.

        >>> PermutohedralLattice.embedding(1).round(3)
        array([[ 1.414, -1.414]])
        """
        rows = np.tril(np.ones((d, d + 1)), k=0)                       # 1, …, 1, -j, 0, …: at right angles to one another
        j = np.arange(1, d + 1)
        rows[j - 1, j] = -j
        return (d + 1) * rows / np.sqrt(j * (j + 1))[:, None]

    def _digits(self, elevated: np.ndarray) -> np.ndarray:
        """What one unit of each of the first d coordinates adds to a key."""
        margin = (self.RINGS + 3) * elevated.shape[1]                  # to the simplex, through the rings, one step beyond
        spans = np.ceil(np.ptp(elevated[:, :-1], axis=0)) + 2 * margin
        if spans.prod() > 2 ** 61:
            raise ValueError("dense_crf: theta_alpha or theta_beta is too small for the lattice: it would take more than 2^61 "
                             "cells; give larger ones, or method='exact'")
        return np.cumprod([1, *spans[:-1]]).astype(np.int64)

    def _with_rings(self, keys: np.ndarray, steps: np.ndarray) -> np.ndarray:
        for _ in range(self.RINGS):
            if len(keys) < self.FEW:
                keys = np.unique(np.concatenate([keys, *(keys + s for s in steps), *(keys - s for s in steps)]))
        return keys

    @staticmethod
    def _find(vertices: np.ndarray, keys: np.ndarray) -> np.ndarray:
        places = np.empty(keys.shape, np.int32)
        lattice.find(places.reshape(-1), vertices, keys.reshape(-1))
        return places

    def _overlap(self, n: int) -> np.ndarray:
        """(n, n): how much of what is splatted on vertex k of a simplex the blur brings to its vertex l.

        From k to l it is one step along |k - l| axes, or, since a step along every axis leads back, t more along all of them.
        """
        once = np.array([self.SHARE, 1 - 2 * self.SHARE, self.SHARE])
        p = np.pad(np.convolve(once, once), 1)                         # forth and back along one axis: from -3 to 3 steps
        m = np.arange(n)[:, None]
        by_distance = (p[:-1] ** (n - m) * p[1:] ** m).sum(axis=1)
        return by_distance[abs(np.arange(n) - m)]


class NormalizedKernel:
    """A filter with its normalization, and with or without the self term k(i, i) = 1 (see `DenseCRF`)."""

    def __init__(self, gaussian: Filter, normalization: str, self_term: bool, shape: tuple[int, ...], dtype: np.dtype[Any]):
        one = np.ones((1, *shape), dtype)
        sums = one if normalization == "none" else gaussian(one)                           # (1, H, W)
        self.gaussian, self.self_term = gaussian, self_term
        self.before, self.after = {"none": (one, one), "before": (1 / sums, one), "after": (one, 1 / sums),
                                   "symmetric": (sums ** -0.5, sums ** -0.5)}[normalization]

    def __call__(self, q: np.ndarray) -> np.ndarray:
        x = self.before * q
        return self.after * (self.gaussian(x) if self.self_term else self.gaussian(x) - x)
