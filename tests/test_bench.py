"""The instruments of tests/bench: what they compare is the same, what they keep is kept, and what they draw is right."""
import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import tinyseg as ts
from tinyseg import models
from tinyseg.models.summary import layer_rows

ROOT = pathlib.Path(__file__).parents[1]
BENCH = ROOT / "tests" / "bench"


@pytest.fixture(autouse=True)
def suite(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))


SMALL = {
    "U-Net": lambda: models.UNet(4, width=2),
    "FCN": lambda: models.FCN(4, width=2),
    "SegNet": lambda: models.SegNet(4, width=4),
    "DeepLab v2": lambda: models.DeepLab(4, version="v2", width=2),
    "DeepLab v3": lambda: models.DeepLab(4, version="v3", width=2),
}


def scattered(model):
    """Other weights than the first ones, among which there are zeros."""
    for parameter in model.parameters():
        parameter.writable()[...] += 0.1 * np.random.default_rng(0).standard_normal(parameter.shape)
    return model


@pytest.mark.parametrize("name", SMALL)
def test_the_peers_compute_the_same(name):
    pytest.importorskip("torch", reason="torch is not installed: there is no peer")
    from torch_models import twin
    model = scattered(SMALL[name]())
    net = twin(model)                                                         # which compares the two
    assert sum(p.numel() for p in net.parameters()) == sum(p.size for p in model.parameters())


def test_a_peer_that_computes_something_else_is_refused():
    pytest.importorskip("torch", reason="torch is not installed: there is no peer")
    from torch_models import twin
    model = scattered(models.SegNet(4, width=4))
    model.score.padding, model.score.dilation = (2, 2), (2, 2)
    twin(model)                                                               # a setting that the twin takes over
    model.encoder[0].forward = lambda x: x[:, :1] * np.ones((1, 4, 1, 1), np.float32)
    with pytest.raises(AssertionError, match="Mismatched elements"):
        twin(model)


def test_rows_are_kept_and_those_of_another_setting_are_not_read(tmp_path):
    from harness import Rows
    path = tmp_path / "rows.jsonl"
    Rows(path, {"code": "a"}).add("time x", {"seconds": [1.0]})
    Rows(path, {"code": "b"}).add("time x", {"seconds": [2.0]})
    rows = Rows(path, {"code": "a"})
    rows.add("memory x", {"peak": 3.0})
    assert Rows(path, {"code": "a"}) == {"time x": {"seconds": [1.0]}, "memory x": {"peak": 3.0}}
    assert rows.named("time ") == {"x": {"seconds": [1.0]}}


def test_in_turns_calls_twice_and_times_the_second():
    from harness import in_turns
    calls = []
    seconds = in_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2)
    assert "".join(calls) == "ab" + 2 * "aabb" and [len(times) for times in seconds.values()] == [2, 2]


@pytest.mark.slow
def test_layers_are_those_of_the_systems():
    from layers import all_layers, layers_of
    from systems import SYSTEMS
    layers = all_layers()
    assert len(layers) >= 60 and len(set(layers.values())) == len(layers)
    unet = layers_of(SYSTEMS["U-Net 16"])
    assert len(unet) == 18 + 4 + 1 and [layer.image for layer in unet] == [True] + 22 * [False]
    rows = layer_rows(SYSTEMS["U-Net 16"].build(), (8, 3, 128, 128))
    assert sum(layer.multiply_adds for layer in unet) == sum(row.multiply_adds for row in rows)


def test_the_winograd_of_the_pictures_is_convolution(rng):
    from figures import F2, POINTS, direct, transforms, winograd
    x, w = rng.standard_normal((3, 14, 10)), rng.standard_normal((5, 3, 3, 3))
    expected = ts.functional.conv2d(x[None], w).numpy()[0]
    np.testing.assert_allclose(direct(x, w), expected, rtol=1e-10, atol=1e-12)
    for points in POINTS.values():
        np.testing.assert_allclose(winograd(x, w, points), expected, rtol=1e-10, atol=1e-11)
    for made, papers in zip(transforms((0, 1, -1)), F2):                      # the paper's, but for signs that cancel
        np.testing.assert_allclose(np.abs(made), np.abs(papers), atol=1e-12)


def test_the_python_of_the_page_runs():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "performance.md").read_text(encoding="utf-8"), re.S)
    assert blocks
    for block in blocks:
        exec(block, {})


@pytest.mark.slow
def test_one_command_prints_keeps_and_goes_on(tmp_path):
    command = [sys.executable, str(BENCH / "run.py"), "accuracy", "--out", str(tmp_path), "--threads", "1", "--rounds", "1"]
    first = subprocess.run([*command, "--only", "3→3"], cwd=ROOT, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    assert "| 3x3, 3→3, 4·128x128 |" in first.stdout
    again = subprocess.run([*command, "--seconds", "-1"], cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 3 and "rows are missing" in again.stderr
    rows = json.loads((tmp_path / "accuracy.json").read_text())["rows"]
    assert list(rows) == ["3x3, 3→3, 4·128x128"] and 0 < rows["3x3, 3→3, 4·128x128"]["fast"][0] < 1e-6
    assert (tmp_path / "accuracy.md").read_text() == again.stdout.removesuffix("\n")
    assert (tmp_path / "accuracy.png").read_bytes().startswith(b"\x89PNG")


def test_curves_of_two_settings_are_set_beside_the_spread_of_seeds():
    import curves
    row = curves.train("accurate", 1, images=4, epochs=1)
    assert list(row) == list(curves.FIGURES) and all(len(values) == 1 for values in row.values())
    rows = {f"{setting}, seed {seed}": {name: [offset + seed, 2.0] for name in curves.FIGURES}
            for setting, offset in (("fast", 0.0), ("accurate", 0.25)) for seed in (0, 1, 2)}
    lines = curves.markdown({**rows, "fast, seed 3": rows["fast, seed 2"]}).splitlines()      # seed 3 is half done
    assert lines[2:4] == ["| 1 | 1.000 ± 1.000 | 1.250 ± 1.000 | 0.250 |", "| 2 | 2.000 ± 0.000 | 2.000 ± 0.000 | 0.000 |"]
