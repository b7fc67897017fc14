"""A thousand random configurations against PyTorch in float64: values and every gradient."""
import numpy as np
import pytest
from configurations import FAMILIES, draw, run_tinyseg, run_torch, upstream

pytest.importorskip("torch", reason="torch is not installed: test_golden.py stands in for this")
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")

COUNTS = {"conv2d": 250, "conv_transpose2d": 200, "max_pool2d": 120, "max_unpool2d": 40, "avg_pool2d": 100, "interpolate": 120,
          "adaptive_avg_pool2d": 50, "pad": 60, "batch_norm": 60, "group_norm": 40, "cross_entropy": 100}


def test_there_are_a_thousand_configurations_of_every_family():
    assert COUNTS.keys() == FAMILIES.keys() and sum(COUNTS.values()) >= 1000


@pytest.mark.parametrize("family", COUNTS)
def test_values_and_gradients(family):
    for seed in range(COUNTS[family]):
        configuration = draw(family, seed)
        dy = upstream(configuration, run_tinyseg(configuration)["output"].shape)
        ours, theirs = run_tinyseg(configuration, dy), run_torch(configuration, dy)
        for what, expected in theirs.items():
            assert ours[what].shape == expected.shape
            np.testing.assert_allclose(ours[what], expected, rtol=1e-9, atol=1e-9, err_msg=f"{what} of {family}, seed {seed}: "
                                       f"{ {n: a.shape for n, a in configuration.arrays.items()} } {configuration.settings}")
