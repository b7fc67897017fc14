"""Gaussian filters, the message passing of the CRF: the sum over all pixels j at every pixel i, in three ways.

A filter takes an array (C, H, W) to another one.  All channels go through it in the same way.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import buffers
from ..kernels import dense, gaussian, lattice, separable

Filter = Callable[..., np.ndarray]      # x (C, H, W), factors before and after (H, W): after · filtered(before · x)
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

    def __call__(self, x: np.ndarray, before: Any = 1, after: Any = 1) -> np.ndarray:
        return after * ((before * x).reshape(len(x), -1) @ self.matrix).reshape(x.shape)


class SeparableGaussian:
    """y[c, p] = Σ_p' exp(-|p - p'|²/2θ²)·x[c, p'] in the image plane, with the tail left out where it is below 1e-6."""

    def __init__(self, theta: float, shape: tuple[int, ...], dtype: np.dtype[Any]):
        radius = min(int(np.ceil(np.sqrt(2 * np.log(1e6)) * theta)), max(shape) - 1)
        self.taps = np.exp(-(np.arange(-radius, radius + 1) / theta) ** 2 / 2).astype(dtype)

    def __call__(self, x: np.ndarray, before: Any = 1, after: Any = 1) -> np.ndarray:
        before, after = (dense(np.broadcast_to(factor, x.shape[1:]).astype(x.dtype)) for factor in (before, after))
        y = buffers.empty_like(x)
        separable.separable_blur(y, dense(x), self.taps, before, after)
        return y


class PermutohedralLattice:
    """y[c, i] ≈ Σ_j exp(-|f_i - f_j|²/2)·x[c, j], with features f (H, W, d), at a cost that grows with N·d² instead of N²·d.

    Adams et al. blur once, by ¼ ½ ¼ along each axis.  On natural features that is off by a quarter, mostly because mass that
    passes through a vertex around which there is no pixel is lost.  Here
    - the blur goes along all axes forth and then back, so that the kernel is symmetric and positive semidefinite as a
      Gaussian is, with shares of 5/24: per axis, twice 2·5/24, and 1/12 each from splat and slice, make a variance of 1
      (Adams et al.: ⅔), at which the kernel's profile is nearest to a Gaussian's;
    - vertices without pixels are added, if there is room for them: those between two others, which mass may pass; around the
      pixels of a small image, which lie further apart, all neighbours, and theirs;
    - a point's kernel with itself, which follows from its barycentric coordinates, is scaled to 1 (and some per cent less
      remain where the blur passes beyond the vertices).
    """

    SHARE = 5 / 24
    SMALL, RINGS = 1 << 14, 2                                          # pixels of a small image; rings around them
    FEW = 1 << 17                                                      # vertices; around more none are added
    LANES = 8

    def __init__(self, features: np.ndarray, dtype: np.dtype[Any]):
        f = np.ascontiguousarray(features.reshape(-1, features.shape[-1]).T)               # (d, N)
        n, small = len(f) + 1, f.shape[1] <= self.SMALL
        middle = np.arange(n) - (n - 1) / 2                            # of a simplex
        shift = np.append(middle[::2], middle[1::2]) - f.mean(axis=1) @ self.embedding(n - 1)
        elevated = buffers.empty((n, f.shape[1]), np.float64)
        lattice.embed(elevated, f, self.embedding(n - 1), shift)
        digits = self._digits(elevated)
        steps = digits.sum() - n * np.append(digits, 0)                                    # to the next key along each axis
        keys = buffers.empty(elevated.shape, np.int64)
        self.weights = buffers.empty(keys.shape, dtype)
        lattice.simplices(keys, self.weights, elevated, steps)
        found, numbers, counts = buffers.empty_like(keys), buffers.empty(keys.shape, np.int32), np.empty(n, np.int64)
        lattice.distinct(found, numbers, counts, keys)
        vertices = [np.sort(row[:count]) for row, count in zip(found, counts)]             # of each remainder
        for _ in range(self.RINGS if small else 1):
            if sum(map(len, vertices)) < self.FEW:
                vertices = self._with_ring(vertices, steps, 1 if small else 2)
        self.starts, all_keys = self._starts(vertices), np.concatenate(vertices)
        self.vertices = numbers                                                            # (n, N)
        lattice.number_vertices(self.vertices, numbers, found, counts, all_keys, self.starts)
        self.below, self.above = buffers.empty((2, n, len(all_keys)), np.int32)
        lattice.neighbours(self.below, self.above, all_keys, self.starts, steps)
        forms = np.empty(f.shape[1], dtype)
        lattice.quadratic_forms(forms, self.weights, self._overlap(n).astype(dtype))
        self.scale = 1 / np.sqrt(forms)                                                    # (N,)

    def __call__(self, x: np.ndarray, before: Any = 1, after: Any = 1) -> np.ndarray:
        before, after = ((self.scale * np.ravel(factor)).astype(x.dtype) for factor in (before, after))
        values = dense(x.reshape(len(x), -1))                                              # (C, N)
        channels = -(-len(x) // self.LANES) * self.LANES
        rows = buffers.empty((len(self.scale), channels), x.dtype)
        rows[:, len(x):] = 0
        grid, other = buffers.empty((2, self.starts[-1] + 1, channels), x.dtype)
        grid[-1] = other[-1] = 0                                       # of all vertices that are not there
        gaussian.rows_of(rows, values, before)
        gaussian.splat(grid, rows, self.vertices, self.weights, self.starts)
        for axis in [*range(len(self.below)), *reversed(range(len(self.below)))]:
            gaussian.blur(other, grid, self.below[axis], self.above[axis], x.dtype.type(self.SHARE))
            grid, other = other, grid
        y = buffers.empty_like(values)
        gaussian.slice_lattice(y, grid, self.vertices, self.weights, after)
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
        margin = (self.RINGS + 3) * len(elevated)                      # to the simplex, through the rings, one step beyond
        spans = np.ceil(np.ptp(elevated[:-1], axis=1)) + 2 * margin
        if spans.prod() > 2 ** 61:
            raise ValueError("dense_crf: theta_alpha or theta_beta is too small for the lattice: it would take more than 2^61 "
                             "cells; give larger ones, or method='exact'")
        return np.cumprod([1, *spans[:-1]]).astype(np.int64)

    @staticmethod
    def _starts(vertices: list[np.ndarray]) -> np.ndarray:
        return np.cumsum([0, *map(len, vertices)])

    def _with_ring(self, vertices: list[np.ndarray], steps: np.ndarray, fewest: int) -> list[np.ndarray]:
        n = len(steps)
        room, counts = np.empty((n, (2 * n + 1) * max(map(len, vertices))), np.int64), np.empty(n, np.int64)
        lattice.ring(room, counts, np.concatenate(vertices), self._starts(vertices), steps, fewest)
        return [row[:count] for row, count in zip(room, counts)]

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
        one = np.ones(shape, dtype)
        sums = one if normalization == "none" else gaussian(one[None])[0]                  # (H, W)
        self.gaussian, self.self_term = gaussian, self_term
        self.before, self.after = {"none": (one, one), "before": (1 / sums, one), "after": (one, 1 / sums),
                                   "symmetric": (sums ** -0.5, sums ** -0.5)}[normalization]

    def __call__(self, q: np.ndarray) -> np.ndarray:
        messages = self.gaussian(q, self.before, self.after)
        return messages if self.self_term else messages - self.after * self.before * q
