"""The mean-field step against the CRF itself, for any image."""
import numpy as np
import pytest

from tinyseg import steps
from tinyseg.crf import dense_crf

PAPER = {"method": "exact", "normalization": "none", "self_term": False}
NEW = "New probability of class 1"


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed, shape", [(0, (3, 4)), (1, (1, 5)), (2, (1, 1))])
def test_the_last_frame_is_the_crfs_and_sums_are_partial_sums(seed, shape):
    rng = np.random.default_rng(seed)
    image, p = rng.integers(0, 256, shape).astype(float), rng.uniform(0.05, 0.95, shape)
    weights = {"w1": 1.5, "theta_alpha": 2.5, "theta_beta": 90.0, "w2": 0.4, "theta_gamma": 1.2}
    run = steps.mean_field(image, p, **weights)
    assert len(run) == 2 + 4 * p.size
    grey = np.repeat(image[..., None], 3, axis=-1).astype(np.uint8)
    expected = dense_crf(np.stack([1 - p, p]), grey, iterations=1, **weights, **PAPER)[1]
    close(run[-1][NEW].values, expected)
    for k, i in enumerate(np.ndindex(shape)):
        near, like, costs, new = run[1 + 4 * k:5 + 4 * k]
        for frame, name in (near, "Appearance"), (like, "Smoothness"):
            row = np.zeros(shape)
            for j in np.ndindex(shape):
                distance = (i[0] - j[0])**2 + (i[1] - j[1])**2
                if i != j:
                    row[j] = np.exp(-distance / (2 * 2.5**2) - 3 * (image[i] - image[j])**2 / (2 * 90.0**2)) \
                        if name == "Appearance" else np.exp(-distance / (2 * 1.2**2))
            close(frame[f"{name} kernel"].values, row)
            close(frame["Running sum"].values.ravel(), np.cumsum((row * p).ravel()))
            assert frame["Image"].cells("padding") == [i]
        table = dict(zip(new["At this pixel"].rows, new["At this pixel"].values))
        heard = [frame["Running sum"].values[-1, -1] for frame in (near, like)]
        close([table["from appearance"][1], table["from smoothness"][1]], heard)
        close(table["both, weighted"][1], 1.5 * heard[0] + 0.4 * heard[1])
        close(table["cost: the other's"], table["both, weighted"][::-1])
        close(table["unary: -ln p"], -np.log([1 - p[i], p[i]]))
        powers = np.exp(-table["cost: the other's"] - table["unary: -ln p"])
        close(table["exp(-cost - unary), largest = 1"], powers / powers.max())
        close(table["new probability"], powers / powers.sum())
        assert np.isnan(costs["At this pixel"].values[4:]).all()
        close(new[NEW].values.ravel()[:k + 1], expected.ravel()[:k + 1])
        assert np.isnan(new[NEW].values.ravel()[k + 1:]).all() and new[NEW].cells("written") == [i]


def test_the_pixels_that_look_like_the_other_side_change():
    image, run = steps.crf.EDGE_IMAGE, steps.mean_field()
    old, new = steps.crf.UNSURE, run[-1][NEW].values
    assert ((new > 0.5) == (image > 100)).all() and ((old > 0.5) != (image > 100)).sum() == 3
    assert run[-1].sentence.endswith("3 of 12 have changed to the other class.")


@pytest.mark.parametrize("call, message", [
    (dict(input=[[1, 2]]), r"mean-field: input \(1, 2\) and probabilities \(3, 4\) differ"),
    (dict(input=np.zeros((7, 6)), probabilities=np.zeros((7, 6))), "42 pixels would take 170 frames; expected at most 36"),
    (dict(input=[[0.5]], probabilities=[[0.5]]), "whole numbers, 0 to 255"),
    (dict(input=[[256]], probabilities=[[0.5]]), "whole numbers, 0 to 255"),
    (dict(input=[[5]], probabilities=[[1.5]]), "probabilities from 1.5 to 1.5; expected 0 to 1"),
    (dict(theta_beta=0), "theta_beta=0"),
])
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        steps.mean_field(**call)
