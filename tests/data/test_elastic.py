"""Elastic deformation: one smooth random displacement for image and mask."""
import numpy as np
import pytest

from tinyseg.data import RandomElastic
from tinyseg.data.elastic import cubic_weights, mirrored


def ramp_pair(height=61, width=85):
    """Red is three times the row, green twice the column: an image in which every pixel knows where it was."""
    y, x = np.mgrid[:height, :width]
    return np.stack([3 * y, 2 * x, 0 * y], axis=-1).astype(np.uint8), (y // 6 % 2 + 2 * (x // 6 % 2)).astype(np.uint8)


def displacement(transform, seed, height=61, width=85):
    """(2, H, W): how far rows and columns have moved, read off the colours."""
    image, mask = ramp_pair(height, width)
    new_image, _ = transform(image, mask, np.random.default_rng(seed))
    y, x = np.mgrid[:height, :width]
    return np.stack([new_image[..., 0] / 3 - y, new_image[..., 1] / 2 - x])


def test_image_and_mask_move_together():
    image, mask = ramp_pair()
    for seed in range(10):
        new_image, new_mask = RandomElastic()(image, mask, np.random.default_rng(seed))
        assert new_image.shape == image.shape and new_image.dtype == new_mask.dtype == np.uint8
        y, x = new_image[..., 0] / 3, new_image[..., 1] / 2
        middle = (abs(y % 6 - 2.5) < 2) & (abs(x % 6 - 2.5) < 2)             # not where the colour is between two cells
        assert middle.mean() > 0.2
        np.testing.assert_array_equal(new_mask[middle], (y // 6 % 2 + 2 * (x // 6 % 2))[middle])


def test_it_is_the_papers_grid():
    """The nodes, 3 x 3 from edge to edge, move by N(0, std²); between them the field is smooth."""
    rng = np.random.default_rng(5)
    nodes = rng.normal(0, 2, (2, 3, 3))
    moved = displacement(RandomElastic(std=2), 5)
    inside = moved[:, 30, 42]                              # the node in the middle, far from any edge
    np.testing.assert_allclose(inside, nodes[:, 1, 1], atol=0.3)
    assert abs(np.diff(moved[:, 8:-8, 8:-8], axis=1)).max() < 1.2


def test_standard_deviation():
    """At the middle node, over many draws, in pixels."""
    image, mask = ramp_pair()
    middle = [displacement(RandomElastic(std=4), seed)[:, 30, 42] for seed in range(150)]
    assert 3.5 < np.std(middle) < 4.5 and abs(np.mean(middle)) < 0.7


def test_masks_hold_no_new_labels():
    image, _ = ramp_pair()
    mask = np.random.default_rng(0).choice(np.array([0, 2, 4, 255], np.uint8), image.shape[:2])
    _, new_mask = RandomElastic()(image, mask, np.random.default_rng(0))
    assert set(np.unique(new_mask)) <= {0, 2, 4, 255} and (new_mask != mask).any()


def test_nothing_moves_without_displacement():
    image, mask = ramp_pair()
    new_image, new_mask = RandomElastic(std=0)(image, mask, np.random.default_rng(0))
    np.testing.assert_array_equal(new_image, image)
    np.testing.assert_array_equal(new_mask, mask)


def test_randomness_is_the_generators_and_inputs_stay():
    image, mask = ramp_pair()
    image.setflags(write=False)
    mask.setflags(write=False)
    first, again, other = (RandomElastic()(image, mask, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[0] != other[0]).any()


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 3), (5, 200)])
def test_any_size(size):
    image, mask = ramp_pair(*size)
    new_image, new_mask = RandomElastic(std=30)(image, mask, np.random.default_rng(0))
    assert new_image.shape == (*size, 3) and new_mask.shape == size


def test_cubic_weights():
    for length, nodes in [(1, 3), (2, 2), (9, 3), (33, 5), (100, 4)]:
        weights = cubic_weights(length, nodes)
        np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-14)
        at_nodes = np.arange(nodes) * (length - 1) / (nodes - 1)
        whole = at_nodes == np.rint(at_nodes)
        if length > 1:
            np.testing.assert_allclose(weights[at_nodes[whole].astype(int)], np.eye(nodes)[whole], atol=1e-14)
    x = np.linspace(0, 6, 61)                              # parabolas come out exactly, away from the edges (Keys 1981)
    np.testing.assert_allclose((cubic_weights(61, 7) @ np.arange(7.0)**2)[10:51], (x**2)[10:51], atol=1e-12)


def test_mirror():
    np.testing.assert_array_equal(mirrored(np.arange(-7, 8), 4), [1, 0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1])


@pytest.mark.parametrize("settings", [{"std": -1}, {"std": np.nan}, {"grid": 1}])
def test_settings(settings):
    with pytest.raises(ValueError, match="RandomElastic: expects std"):
        RandomElastic(**settings)


def test_misfits():
    image, mask = ramp_pair()
    with pytest.raises(ValueError, match=r"RandomElastic: image \(61, 85, 3\) and mask \(61, 80\) differ"):
        RandomElastic()(image, mask[:, :80], np.random.default_rng(0))
