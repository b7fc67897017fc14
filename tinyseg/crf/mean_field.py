"""Krähenbühl & Koltun 2011, "Efficient inference in fully connected CRFs with Gaussian edge potentials".

Every pixel i has a label x_i, and every two pixels are neighbours (equations 1 to 3 of the paper)::

    E(x) = Σ_i ψ_u(x_i) + Σ_{i<j} μ(x_i, x_j) · [w1·k1(i, j) + w2·k2(i, j)]

    k1(i, j) = exp(-|p_i - p_j|² / 2θα² - |I_i - I_j|² / 2θβ²)       appearance: near pixels of like colour
    k2(i, j) = exp(-|p_i - p_j|² / 2θγ²)                             smoothness: near pixels

p is the position in pixels and I the colour, 0 to 255.  The mean field Q(x) = Π_i Q_i(x_i) that is closest to
P(x) = exp(-E(x))/Z is sought by the paper's algorithm 1: `DenseCRF` has one method for each of its lines.  A message pass,
the sum over all pixels at every pixel, is one of two: every pair of pixels (method "exact", to learn from, and for small
images) or the permutohedral lattice (method "lattice").
"""
from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import buffers
from ..kernels import dense, mean_field
from .filters import ExactGaussian, Filter, NormalizedKernel, PermutohedralLattice, SeparableGaussian

METHODS = ("lattice", "exact")
NORMALIZATIONS = ("symmetric", "before", "after", "none")
SMALLEST = 1e-5                # probability; the unary potential is at most 11.5


def dense_crf(probabilities: np.ndarray, image: np.ndarray, *, iterations: int = 10, **settings: Any) -> np.ndarray:
    """The mean-field marginals of a fully connected CRF: probabilities (C, H, W) of an image (H, W, 3) -> (C, H, W).

    iterations: how many mean-field updates; the paper finds no change after 10.
    settings: w1, theta_alpha, theta_beta, w2, theta_gamma, compatibility, method, normalization, self_term of `DenseCRF`,
    which checks everything and tells what does not fit.

    >>> image = np.zeros((4, 6, 3), np.uint8)
    >>> image[:, 3:] = 200                                             # two halves; the probabilities know little of them
    >>> right = np.full((4, 6), 0.4); right[:, 3:] = 0.6; right[1, 1] = 0.9
    >>> dense_crf(np.stack([1 - right, right]), image).argmax(axis=0)[1]
    array([0, 0, 0, 1, 1, 1])
    """
    for step in DenseCRF(probabilities, image, **settings).mean_field(iterations):
        pass
    return np.ascontiguousarray(step.probabilities)


class DenseCRF:
    """The model, and the lines of the paper's algorithm 1 as methods.

    probabilities: (C, H, W) float32 or float64, 0 to 1, for 1 to 255 classes; ψ_u = -log of them, which are taken as at least
    1e-5.  The result has their dtype.
    image: (H, W, 3) uint8.
    w1, theta_alpha (pixels), theta_beta (colour levels): the appearance kernel;  w2, theta_gamma (pixels): the smoothness
    kernel.  The defaults are those of the authors' own program.
    compatibility: μ, a symmetric (C, C) array of the cost of each two labels; None is the Potts model, μ(l, l') = [l ≠ l'].
    method: "lattice" or "exact".  The lattice approximates the appearance kernel alone (see `PermutohedralLattice`); the
    smoothness kernel is blurred row by row and column by column in both senses exactly, up to a tail of 1e-6.

    Two conventions differ between programs.  The defaults, here as in the authors' program, differ from the paper's equations:

    normalization: with n_i = Σ_j k(i, j), a kernel is k(i, j) / √(n_i·n_j) ("symmetric", the default), k / n_j ("before" the
    filter), k / n_i ("after" it), or k as in the paper ("none"; its sums grow with the image, and so must 1/w).
    self_term: True (the default) leaves the pixel's own k(i, i) in the sum over j; False takes it out, the paper's j ≠ i.

    In parallel updates the free energy need not fall.  It never rises where -μ and the kernels are positive semidefinite, as
    with Potts, a symmetric normalization or none, and the self term: the pairwise part is then concave in Q, and an update
    minimises it linearised (Krähenbühl & Koltun 2013).  Without the self term it may rise, and even swing for ever.

    ValueError or TypeError says what does not fit.

    >>> crf = DenseCRF(np.full((2, 3, 4), 0.5), np.zeros((3, 4, 3), np.uint8), method="exact")
    >>> [round(step.free_energy, 3) for step in crf.mean_field(iterations=1)]      # equal probabilities stay as they are
    [38.993, 38.993]
    """

    def __init__(self, probabilities: np.ndarray, image: np.ndarray, *, w1: float = 10.0, theta_alpha: float = 80.0,
                 theta_beta: float = 13.0, w2: float = 3.0, theta_gamma: float = 3.0, compatibility: np.ndarray | None = None,
                 method: str = "lattice", normalization: str = "symmetric", self_term: bool = True):
        _check_arrays(probabilities, image)
        _check_settings(method, normalization, {"w1": w1, "w2": w2},
                        {"theta_alpha": theta_alpha, "theta_beta": theta_beta, "theta_gamma": theta_gamma})
        shape, dtype = probabilities.shape[1:], probabilities.dtype
        self.unary = np.maximum(probabilities, dtype.type(SMALLEST))                       # (C, H, W)
        np.negative(np.log(self.unary, out=self.unary), out=self.unary)
        self.compatibility = _checked_compatibility(compatibility, len(probabilities), dtype)
        position = np.moveaxis(np.indices(shape), 0, -1)                                   # (H, W, 2)
        appearance = np.concatenate([position / theta_alpha, image / theta_beta], axis=-1)  # (H, W, 5)
        filters: list[Filter]
        if method == "exact":
            filters = [ExactGaussian(appearance, dtype), ExactGaussian(position / theta_gamma, dtype)]
        else:
            filters = [PermutohedralLattice(appearance, dtype), SeparableGaussian(theta_gamma, shape, dtype)]
        self.kernels = [(weight, NormalizedKernel(f, normalization, self_term, shape, dtype))
                        for weight, f in zip([w1, w2], filters)]

    def initialise(self) -> np.ndarray:
        """Q_i(l) = exp(-ψ_u(l)) / Z_i."""
        return self.local_update(np.zeros_like(self.unary))

    def message_passing(self, q: np.ndarray) -> list[np.ndarray]:
        """Q̃ₘ_i(l) = Σ_j kₘ(i, j)·Q_j(l), from all j to all i at once, for each of the two kernels."""
        return [kernel(q) for _, kernel in self.kernels]

    def compatibility_transform(self, messages: list[np.ndarray]) -> np.ndarray:
        """Q̂_i(l) = Σ_l' μ(l, l')·Σ_m wₘ·Q̃ₘ_i(l')."""
        (w1, _), (w2, _) = self.kernels
        if self.compatibility is None:
            pairwise = buffers.empty_like(messages[0])
            appearance, smoothness = map(_classes, messages)
            mean_field.potts(_classes(pairwise), appearance, smoothness, np.array([w1, w2], pairwise.dtype))
            return pairwise
        weighted = w1 * messages[0] + w2 * messages[1]
        return np.tensordot(self.compatibility, weighted, axes=1)

    def local_update(self, pairwise: np.ndarray) -> np.ndarray:
        """Q_i(l) = exp(-ψ_u(l) - Q̂_i(l)), normalised at every pixel."""
        q = buffers.empty_like(self.unary)
        mean_field.softmax(_classes(q), _classes(self.unary), _classes(pairwise))
        return q

    def free_energy(self, q: np.ndarray, pairwise: np.ndarray) -> float:
        """Σ_i Σ_l Q_i(l)·(ψ_u(l) + ½ Q̂_i(l) + log Q_i(l)): the expected energy less the entropy, D(Q‖P) - log Z."""
        log_q = np.log(np.maximum(q, np.finfo(q.dtype).tiny))          # 0·log 0 = 0
        return float((q * (self.unary + pairwise / 2 + log_q)).sum(dtype=np.float64))

    def mean_field(self, iterations: int = 10) -> Iterator[Step]:
        """The initial Q, and then Q after each of so many updates."""
        if iterations < 0:
            raise ValueError(f"dense_crf: iterations={iterations}; expected 0 or more")
        step = Step(self, self.initialise())
        yield step
        for _ in range(iterations):
            step = step.update()
            yield step


class Step:
    """Where the mean field stands: `probabilities` Q (C, H, W), and what follows from it, computed when it is asked for."""

    def __init__(self, crf: DenseCRF, probabilities: np.ndarray):
        self.crf, self.probabilities = crf, probabilities

    @property
    def messages(self) -> list[np.ndarray]:
        """What arrives at every pixel through the appearance and the smoothness kernel, two arrays (C, H, W)."""
        return self.crf.message_passing(self.probabilities)

    @functools.cached_property
    def pairwise(self) -> np.ndarray:
        """What each label costs at every pixel, given what the others say: (C, H, W)."""
        return self.crf.compatibility_transform(self.messages)

    @property
    def free_energy(self) -> float:
        """`DenseCRF.free_energy` of these probabilities."""
        return self.crf.free_energy(self.probabilities, self.pairwise)

    def update(self) -> Step:
        """The next step."""
        return Step(self.crf, self.crf.local_update(self.pairwise))


def _classes(x: np.ndarray) -> np.ndarray:
    return dense(x.reshape(len(x), -1))                                # (C, H, W) -> (C, H·W)


# What does not fit ---------------------------------------------------------------------------------------------------------


def _check_arrays(probabilities: np.ndarray, image: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"dense_crf: the image has shape {image.shape}; expected (H, W, 3) with at least one pixel")
    if image.dtype != np.uint8:
        raise TypeError(f"dense_crf: the image is {image.dtype}; expected uint8 RGB, 0 to 255, as it was before normalisation")
    if probabilities.dtype not in (np.float32, np.float64):
        raise TypeError(f"dense_crf: the probabilities are {probabilities.dtype}; expected float32 or float64: use astype")
    if probabilities.ndim != 3 or probabilities.shape[1:] != image.shape[:2]:
        last = probabilities.ndim == 3 and probabilities.shape[:2] == image.shape[:2]
        hint = "; the classes come first: transpose(2, 0, 1)" if last else ""
        raise ValueError(f"dense_crf: the probabilities have shape {probabilities.shape}; for an image of "
                         f"{image.shape[0]}x{image.shape[1]} expected (C, {image.shape[0]}, {image.shape[1]}){hint}")
    if not 1 <= len(probabilities) <= 255:
        raise ValueError(f"dense_crf: {len(probabilities)} classes; expected 1 to 255")
    if not (probabilities.min() >= 0 and probabilities.max() <= 1.001):                    # NaN compares as False
        raise ValueError(f"dense_crf: the probabilities go from {probabilities.min():.3g} to {probabilities.max():.3g}; "
                         "expected 0 to 1, not NaN: of scores take the softmax over the classes")


def _check_settings(method: str, normalization: str, weights: dict[str, float], thetas: dict[str, float]) -> None:
    for name, value, choices in ("method", method, METHODS), ("normalization", normalization, NORMALIZATIONS):
        if value not in choices:
            raise ValueError(f"dense_crf: {name}={value!r}; expected one of {', '.join(map(repr, choices))}")
    for name, weight in weights.items():
        if not 0 <= weight < np.inf:
            raise ValueError(f"dense_crf: {name}={weight}; expected 0 (without this kernel) or more")
    for name, theta in thetas.items():
        if not 0 < theta < np.inf:
            raise ValueError(f"dense_crf: {name}={theta}; expected more than 0: it is a standard deviation")


def _checked_compatibility(mu: np.ndarray | None, classes: int, dtype: np.dtype[Any]) -> np.ndarray | None:
    if mu is None:
        return None
    mu = np.asarray(mu, dtype)
    if mu.shape != (classes, classes) or not np.isfinite(mu).all():
        raise ValueError(f"dense_crf: compatibility has shape {mu.shape}; expected ({classes}, {classes}) finite costs")
    if not np.array_equal(mu, mu.T):
        raise ValueError("dense_crf: compatibility is not symmetric, but two pixels have no order; give (μ + μ.T) / 2")
    return mu
