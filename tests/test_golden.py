"""PyTorch's results as stored by golden/make.py, so that a machine without torch checks against it too."""
import collections
import json
import pathlib

import numpy as np
import pytest
from configurations import FAMILIES, Configuration, run_tinyseg, upstream

GOLDEN = pathlib.Path(__file__).parent / "golden" / "torch.npz"


def golden():
    """{"conv2d/0": (configuration, {result: array})}"""
    parts = collections.defaultdict(lambda: collections.defaultdict(dict))
    with np.load(GOLDEN) as stored:
        for key in stored.files:
            family, seed, kind, *name = key.split("/", 3)
            parts[f"{family}/{seed}"][kind]["".join(name)] = stored[key]
    for key, part in parts.items():
        settings, wanted = json.loads(part["call"][""].item())
        settings = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
        yield key, Configuration(key.split("/")[0], part["array"], settings, tuple(wanted)), part["result"]


CASES = list(golden())


def test_every_family_is_there():
    assert {key.split("/")[0] for key, _, _ in CASES} == FAMILIES.keys() and len(CASES) >= 50


@pytest.mark.parametrize("configuration, expected", [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_values_and_gradients(configuration, expected):
    ours = run_tinyseg(configuration, upstream(configuration, expected["output"].shape))
    assert ours.keys() == expected.keys()
    for what in expected:
        np.testing.assert_allclose(ours[what], expected[what], rtol=1e-9, atol=1e-9, err_msg=what)
