"""The CRF against its equations, the lattice against all pairs, and what a user gets wrong."""
import numpy as np
import pytest
from kernels.threads import needs_two, using
from numpy.testing import assert_allclose

import tinyseg as ts
from tinyseg.crf import DenseCRF, dense_crf
from tinyseg.crf.filters import PermutohedralLattice, SeparableGaussian
from tinyseg.data import Scenes, VOCSegmentation
from tinyseg.metrics import boundary_band

PAPER = {"w1": 2.0, "theta_alpha": 3.0, "theta_beta": 40.0, "w2": 1.0, "theta_gamma": 1.5}


def smooth(x, times=6):
    """Noise with large patches: each pixel becomes the mean of itself and its neighbours, so often."""
    for _ in range(times):
        for axis in (0, 1):
            x = (np.roll(x, 1, axis) + 2 * x + np.roll(x, -1, axis)) / 4
    return x


def problem(seed, classes=5, size=40, dtype=np.float64):
    """A smooth image with some noise, and smooth probabilities with more."""
    rng = np.random.default_rng(seed)
    image = smooth(rng.standard_normal((size, size, 3)))
    image = 128 + 50 * image / image.std() + rng.normal(0, 3, image.shape)
    scores = smooth(rng.standard_normal((size, size, classes)))
    scores = scores / scores.std() + rng.normal(0, 0.7, scores.shape)
    p = np.exp(scores)
    return (p / p.sum(axis=-1, keepdims=True)).transpose(2, 0, 1).astype(dtype), np.clip(image, 0, 255).astype(np.uint8)


def by_the_equations(probabilities, image, iterations, w1, theta_alpha, theta_beta, w2, theta_gamma):
    """Mean field with Potts labels, loop by loop: no normalization, and without the pixel itself."""
    classes, height, width = probabilities.shape
    q = probabilities / probabilities.sum(axis=0)
    pixels = list(np.ndindex(height, width))
    for _ in range(iterations):
        energy = -np.log(probabilities)
        for i in pixels:
            for j in pixels:
                if i != j:
                    near = (i[0] - j[0])**2 + (i[1] - j[1])**2
                    like = ((image[i].astype(float) - image[j])**2).sum()
                    k = (w1 * np.exp(-near / (2 * theta_alpha**2) - like / (2 * theta_beta**2))
                         + w2 * np.exp(-near / (2 * theta_gamma**2)))
                    for label in range(classes):
                        energy[(label, *i)] += k * sum(q[(other, *j)] for other in range(classes) if other != label)
        q = np.exp(-energy)
        q /= q.sum(axis=0)
    return q


def test_exact_is_what_the_paper_writes():
    probabilities, image = problem(0, classes=3, size=4)
    expected = by_the_equations(probabilities, image, 3, **PAPER)
    settings = {**PAPER, "normalization": "none", "self_term": False, "method": "exact"}
    assert_allclose(dense_crf(probabilities, image, iterations=3, **settings), expected, rtol=1e-9)
    assert abs(expected - probabilities).max() > 0.1


@pytest.mark.parametrize("seed", range(10))
def test_the_lattice_is_near_to_all_pairs(seed):
    probabilities, image = problem(seed, size=32)
    fast, exact = (dense_crf(probabilities, image, iterations=5, method=method) for method in ("lattice", "exact"))
    assert 0.5 * abs(fast - exact).sum(axis=0).mean() <= 0.02                          # total variation
    assert 0.5 * abs(exact - probabilities).sum(axis=0).mean() > 0.1                   # there was something to do


def test_a_large_images_lattice_is_smaller_and_nearly_as_near(monkeypatch):
    probabilities, image = problem(0)
    features = image / 20.0
    small = PermutohedralLattice(features, np.dtype(np.float64))
    exact = dense_crf(probabilities, image, iterations=5, method="exact")
    monkeypatch.setattr(PermutohedralLattice, "SMALL", 0)
    large = PermutohedralLattice(features, np.dtype(np.float64))
    assert 100 < large.starts[-1] < 0.8 * small.starts[-1]
    assert 0.5 * abs(dense_crf(probabilities, image, iterations=5) - exact).sum(axis=0).mean() <= 0.04


def test_the_free_energy_never_rises_with_the_default_conventions():
    for method in ("lattice", "exact"):
        energies = [step.free_energy for step in DenseCRF(*problem(1), method=method).mean_field(6)]
        assert len(energies) == 7 and all(np.diff(energies) <= 1e-9 * abs(energies[0])) and energies[-1] < energies[0]


def test_separable_gaussian_is_the_gaussian(rng):
    x = rng.standard_normal((2, 6, 9))
    place = np.stack(np.indices((6, 9)), axis=-1).reshape(-1, 2)
    matrix = np.exp(-((place[:, None] - place) ** 2).sum(-1) / (2 * 1.7**2))
    assert_allclose(SeparableGaussian(1.7, (6, 9), x.dtype)(x).reshape(2, -1), x.reshape(2, -1) @ matrix, atol=1e-5)


def test_the_lattice_is_linear_symmetric_and_nearly_one_with_itself(rng):
    features = rng.uniform(0, 4, (5, 6, 5))
    lattice = PermutohedralLattice(features, np.dtype(np.float64))
    matrix = lattice(np.eye(30).reshape(30, 5, 6)).reshape(30, 30)
    x = rng.standard_normal((3, 5, 6))
    assert_allclose(lattice(x).reshape(3, -1), x.reshape(3, -1) @ matrix, rtol=1e-9)
    assert_allclose(matrix, matrix.T, atol=1e-12)
    assert 0.93 < np.diag(matrix).min() and np.diag(matrix).max() < 1 + 1e-9      # a little is lost where vertices end
    assert np.linalg.eigvalsh(matrix).min() > -1e-9


@needs_two
def test_the_same_bits_at_one_thread_and_at_two(rng):
    probabilities, image = problem(2, dtype=np.float32)
    results = []
    for threads in (1, 2):
        with using(threads):
            results.append(dense_crf(probabilities, image, iterations=3))
    assert results[0].dtype == np.float32
    np.testing.assert_array_equal(*results)


def test_a_compatibility_matrix():
    probabilities, image = problem(3, classes=3, size=12)
    potts = 1 - np.eye(3)
    assert_allclose(dense_crf(probabilities, image, compatibility=potts, iterations=3),
                    dense_crf(probabilities, image, iterations=3), rtol=1e-9)
    friends = potts.copy()
    friends[0, 1] = friends[1, 0] = 0                     # 0 and 1 do not mind each other
    both = dense_crf(probabilities, image, compatibility=friends, iterations=3)[:2].sum(axis=0).mean()
    assert both > dense_crf(probabilities, image, iterations=3)[:2].sum(axis=0).mean()


@pytest.mark.parametrize("normalization", ["symmetric", "before", "after", "none"])
@pytest.mark.parametrize("self_term", [True, False])
def test_conventions_differ_and_give_probabilities(normalization, self_term):
    probabilities, image = problem(4, size=10)
    q = dense_crf(probabilities, image, normalization=normalization, self_term=self_term, w1=0.5, w2=0.3, iterations=2)
    assert_allclose(q.sum(axis=0), 1, rtol=1e-9)
    other = dense_crf(probabilities, image, normalization=normalization, self_term=not self_term, w1=0.5, w2=0.3, iterations=2)
    assert abs(q - other).max() > 1e-6


def test_small_images_and_no_iterations(rng):
    probabilities, image = problem(5, size=10)
    assert_allclose(dense_crf(probabilities, image, iterations=0), probabilities, rtol=1e-9)
    one = rng.dirichlet(np.ones(3)).reshape(3, 1, 1)
    assert_allclose(dense_crf(one, np.zeros((1, 1, 3), np.uint8), self_term=False, method="exact"), one, rtol=1e-9)
    fortran = np.asfortranarray(probabilities)
    np.testing.assert_array_equal(dense_crf(fortran, image[::-1][::-1]), dense_crf(probabilities, image))


def accuracy_near_boundaries(dataset, indices, **settings):
    """Of a prediction that is as coarse as FCN-32s's features are, and of what the CRF makes of it."""
    right, pixels = np.zeros(2), 0
    for index in indices:
        image, mask = dataset.read(index)
        coarse = mask[4::8, 4::8].repeat(8, axis=0).repeat(8, axis=1)
        coarse = np.pad(coarse, [(0, max(0, n - m)) for n, m in zip(mask.shape, coarse.shape)], mode="edge")
        coarse = coarse[:mask.shape[0], :mask.shape[1]]
        p = np.stack([np.where(coarse == label, 0.7, 0.3 / (dataset.num_classes - 1)) for label in range(dataset.num_classes)])
        p = np.where(coarse == 255, 1 / dataset.num_classes, p)
        q = dense_crf(p.astype(np.float32), image, iterations=5, **settings)
        band = boundary_band(mask) & (mask != 255)
        right += [(labels.argmax(axis=0) == mask)[band].sum() for labels in (p, q)]
        pixels += band.sum()
    return right / pixels


def test_it_sharpens_boundaries_of_scenes():
    coarse, refined = accuracy_near_boundaries(Scenes(3, 64, 4, split="test"), range(3), w1=3.0, theta_alpha=12.0)
    assert refined > coarse + 0.02


@pytest.mark.slow
def test_it_sharpens_boundaries_of_photographs(shared_data):
    coarse, refined = accuracy_near_boundaries(VOCSegmentation(shared_data("voc-sample"), "val"), range(5), w1=4.0,
                                               theta_alpha=40.0)
    assert refined > coarse + 0.02


@pytest.mark.parametrize("change, error, words", [
    (lambda p, i: (p.transpose(1, 2, 0), i), ValueError, r"the classes come first: transpose\(2, 0, 1\)"),
    (lambda p, i: (p[:, 1:], i), ValueError, r"for an image of 10x10 expected \(C, 10, 10\)"),
    (lambda p, i: (p - 0.5, i), ValueError, "expected 0 to 1"),
    (lambda p, i: (p * np.nan, i), ValueError, "NaN"),
    (lambda p, i: (np.log(p), i), ValueError, "take the softmax"),
    (lambda p, i: (p.astype(np.int64), i), TypeError, "float32 or float64"),
    (lambda p, i: (p, i / 255), TypeError, "expected uint8 RGB"),
    (lambda p, i: (p, i[..., 0]), ValueError, r"expected \(H, W, 3\)"),
])
def test_wrong_arrays_are_refused(change, error, words):
    with pytest.raises(error, match=words):
        dense_crf(*change(*problem(6, size=10)))


@pytest.mark.parametrize("settings, words", [
    ({"theta_alpha": 0.0}, "theta_alpha=0.0"), ({"theta_gamma": -1.0}, "theta_gamma=-1.0"), ({"w1": -1.0}, "w1=-1.0"),
    ({"method": "fast"}, "'lattice', 'exact'"), ({"normalization": "both"}, "'symmetric'"),
    ({"iterations": -1}, "iterations=-1"),
    ({"compatibility": np.eye(2)}, r"expected \(5, 5\)"), ({"compatibility": np.triu(np.ones((5, 5)))}, "not symmetric"),
])
def test_wrong_settings_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        ts.crf.dense_crf(*problem(7, size=10), **settings)


def test_exact_refuses_what_would_not_fit_into_memory():
    with pytest.raises(ValueError, match="or method='lattice'"):
        dense_crf(np.full((2, 200, 200), 0.5), np.zeros((200, 200, 3), np.uint8), method="exact")
