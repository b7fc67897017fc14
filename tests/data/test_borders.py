"""U-Net's weight map: its numbers, and what it does to the loss."""
import numpy as np
import pytest

from tinyseg import Tensor
from tinyseg.data import border_weights
from tinyseg.functional import cross_entropy, softmax


def two_cells(gap, side=12):
    """Two cells, `gap` columns of background between them: (objects, the columns of the gap)."""
    objects = np.zeros((side, 2 * side + gap), int)
    objects[:, :side], objects[:, side + gap:] = 1, 2
    return objects, slice(side, side + gap)


@pytest.mark.parametrize("gap", [1, 2, 5, 10])
def test_between_two_cells(gap):
    """d1 + d2 is the same all the way across: gap + 1 pixels from centre to centre."""
    objects, between = two_cells(gap)
    weights = border_weights(objects)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights[:, between], 1 + 10 * np.exp(-(gap + 1)**2 / 50), rtol=1e-6)


def test_equation_2_by_brute_force(rng):
    objects = rng.integers(0, 6, (15, 18)) * (rng.random((15, 18)) < 0.05)
    i, j = np.indices(objects.shape)
    distances = np.sort([np.min([np.hypot(i - u, j - v) for u, v in np.argwhere(objects == label)], axis=0)
                         for label in np.unique(objects[objects > 0])], axis=0)
    w_c = rng.uniform(1, 2, objects.shape)
    expected = w_c + 4 * np.exp(-(distances[0] + distances[1])**2 / (2 * 3**2))
    np.testing.assert_allclose(border_weights(objects, w_c, w0=4, sigma=3), expected, rtol=1e-6)


def test_one_cell_has_no_border_to_another():
    objects, _ = two_cells(3)
    objects[objects == 2] = 0
    assert (border_weights(objects, w_c=0.5) == 0.5).all()
    assert (border_weights(np.zeros((4, 4), np.uint8)) == 1).all()


def test_void_and_background_are_no_objects():
    objects, _ = two_cells(4)
    weights = border_weights(objects)
    with_void = objects.astype(np.uint8)
    with_void[3:5, 13:15] = 255
    np.testing.assert_array_equal(border_weights(with_void), weights)
    np.testing.assert_array_equal(border_weights(objects + 7, background=(7,)), weights)
    assert (border_weights(objects, background=(0, 1, 2)) == 1).all()


def test_class_balance_comes_on_top():
    objects, _ = two_cells(2)
    balance = np.array([0.5, 2.0])[(objects > 0).astype(int)]
    np.testing.assert_allclose(border_weights(objects, balance), balance + border_weights(objects, 0.0), rtol=1e-6)


@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_the_loss_is_weighted_and_so_is_its_gradient(rng, reduce):
    objects, _ = two_cells(3, side=4)
    weights, target = border_weights(objects).astype(float), (objects > 0)[None].astype(np.uint8)
    scores = Tensor(rng.standard_normal((1, 2, *objects.shape)), requires_grad=True)
    loss = getattr(cross_entropy(scores, target, reduction="none") * weights, reduce)()
    loss.backward()
    p, count = softmax(scores, dim=1).numpy()[0], objects.size if reduce == "mean" else 1
    right = np.take_along_axis(p, target.astype(int), axis=0)[0]
    assert loss.item() == pytest.approx((weights * -np.log(right)).sum() / count)
    expected = weights / count * (p - (np.arange(2)[:, None, None] == target))
    np.testing.assert_allclose(scores.grad[0], expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("arguments, why", [
    ((np.zeros((3, 3)),), r"integers, got \(3, 3\) float64"),
    ((np.zeros(3, int),), r"got \(3,\) int64"),
    ((np.zeros((3, 3), int), np.ones((3, 4))), r"w_c has shape \(3, 4\); expected one number, or \(3, 3\)"),
    ((np.zeros((3, 3), int), 1.0, -1.0), "w0=-1.0"),
    ((np.zeros((3, 3), int), 1.0, 10.0, 0.0), "sigma=0.0"),
])
def test_errors(arguments, why):
    with pytest.raises(ValueError, match=why):
        border_weights(*arguments)
