"""Checkpoints come back as they were, and whatever is not one is refused by name."""
import io
import json
import re
import zipfile

import numpy as np
import pytest
from voc_folder import same_arrays

from tinyseg import checkpoint as checkpoints
from tinyseg.checkpoint import Checkpoint
from tinyseg.data.palette import VOC_PALETTE
from tinyseg.models import UNet


def make(**changes):
    model = UNet(3, width=2, depth=1)
    name, arguments = checkpoints.describe(model)
    fields = {"model": name, "arguments": arguments, "weights": model.state_dict(), "classes": ["a", "b", "c"],
              "palette": VOC_PALETTE, "history": [{"epoch": 1, "loss": 0.1}], "settings": {"lr": 0.1},
              "optimizer": {"state.0.step": np.array(3), "state.0.exp_avg": np.ones((2, 3, 3, 3), np.float32)},
              "scheduler": {"last_epoch": 3, "base_lrs": [0.1]}, "rng": np.random.PCG64(7).state}
    return Checkpoint(**{**fields, **changes})


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.npz"
    checkpoints.save(path, make())
    return path


def rewrite(path, **changes):
    """Change some arrays of the file; None removes one."""
    with np.load(path) as npz:
        arrays = {**npz, **changes}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


def rewrite_metadata(path, **changes):
    with np.load(path) as npz:
        metadata = {**json.loads(npz["metadata"].item()), **changes}
    rewrite(path, metadata=np.array(json.dumps({name: x for name, x in metadata.items() if x is not None})))


def refused(path, match):
    """The file is refused, in one line that begins with its name."""
    with pytest.raises(ValueError, match=match) as error:
        checkpoints.load_model(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_everything_comes_back(path):
    saved, loaded = make(), checkpoints.load(path)
    assert same_arrays(loaded.optimizer, saved.optimizer)
    for name in ("model", "arguments", "classes", "history", "settings", "scheduler", "rng"):
        assert getattr(loaded, name) == getattr(saved, name), name
    assert np.array_equal(loaded.palette, VOC_PALETTE) and loaded.palette.dtype == np.uint8


def test_model_comes_back_ready_to_use(tmp_path):
    model = UNet(3, width=2, depth=1, norm="group")
    name, arguments = checkpoints.describe(model)
    checkpoints.save(tmp_path / "m.npz", make(arguments=arguments, weights=model.state_dict()))
    loaded = checkpoints.load_model(tmp_path / "m.npz")
    assert loaded.norm == "group" and not loaded.training
    assert same_arrays(loaded.state_dict(), model.state_dict())


def test_nothing_but_the_file_is_left(path):
    assert [p.name for p in path.parent.iterdir()] == ["model.npz"]


@pytest.mark.parametrize("part", [0, 1, 100, 0.3, 0.9, 0.999])
def test_truncated(path, part):
    whole = path.read_bytes()
    path.write_bytes(whole[:int(part * len(whole)) if part < 1 else part])
    refused(path, "not a whole .npz file")


def test_a_flipped_byte_is_noticed_or_harmless(path, rng):
    whole, before = path.read_bytes(), checkpoints.load(path)
    noticed = 0
    for place in rng.integers(len(whole), size=150):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            after = checkpoints.load(path)
        except ValueError as error:
            assert str(path) in str(error)
            noticed += 1
        else:
            assert same_arrays(after.weights, before.weights) and after.settings == before.settings
    assert noticed > 100


def test_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.npz"):
        checkpoints.load(tmp_path / "absent.npz")


def test_foreign_npz(path):
    np.savez(path, weights=np.ones(3))
    refused(path, "not a checkpoint; give one that `tinyseg train` wrote")
    np.savez(path, metadata=np.array('{"format": "another program"}'))
    refused(path, "not a checkpoint")
    np.savez(path, metadata=np.array(3))
    refused(path, "not a checkpoint")


def test_not_a_zip(path):
    path.write_text("hello")
    refused(path, "not a whole .npz file")


def test_pickles_are_not_opened(path):
    file = io.BytesIO()
    np.save(file, np.array([{}], object), allow_pickle=True)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("weights/x.npy", file.getvalue())
    refused(path, "not a whole .npz file .*allow_pickle=False")


def test_other_version(path):
    rewrite_metadata(path, version=2)
    refused(path, "checkpoint version 2, but this tinyseg reads version 1; use the tinyseg that wrote it")


def test_missing_metadata(path):
    rewrite_metadata(path, classes=None)
    refused(path, "misses.*: classes")


def test_unknown_model(path):
    rewrite_metadata(path, model="vnet")
    refused(path, "unknown model 'vnet'; this tinyseg has unet")


def test_arguments_that_the_model_does_not_take(path):
    rewrite_metadata(path, arguments={"num_classes": 3, "colour": 1})
    refused(path, "unet cannot be built with .*colour")


def test_shape_misfit(path):
    rewrite_metadata(path, arguments={"num_classes": 4, "width": 2, "depth": 1})
    refused(path, re.escape("conv_1x1.weight is float32 (3, 2, 1, 1), expected float32 (4, 2, 1, 1)"))


def test_missing_weights(path):
    rewrite(path, **{"weights/conv_1x1.weight": None})
    refused(path, "missing: conv_1x1.weight")


def test_unknown_array(path):
    rewrite(path, other=np.ones(2))
    refused(path, "unknown array 'other'")


def test_nan_weights_are_refused(path):
    rewrite(path, **{"weights/conv_1x1.bias": np.array([0, np.nan, 0], np.float32)})
    refused(path, "weights/conv_1x1.bias holds NaN or infinite numbers; use an earlier checkpoint")


def test_nan_weights_are_not_saved(path):
    whole, bad = path.read_bytes(), make()
    bad.weights["conv_1x1.bias"][1] = np.inf
    with pytest.raises(FloatingPointError, match="weights/conv_1x1.bias has become NaN or infinite"):
        checkpoints.save(path, bad)
    assert path.read_bytes() == whole


def test_a_failed_write_leaves_the_old_file(path, monkeypatch):
    whole = path.read_bytes()

    def full_disk(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(OSError, match=f"No space left on device: '{path}'"):
        checkpoints.save(path, make())
    assert path.read_bytes() == whole and [p.name for p in path.parent.iterdir()] == ["model.npz"]


def test_a_model_without_a_name(monkeypatch):
    class Mine(UNet):
        pass

    model = Mine(2, width=1, depth=1)
    with pytest.raises(ValueError, match=re.escape("MODELS['mine'] = Mine")):
        checkpoints.describe(model)
    monkeypatch.setitem(checkpoints.MODELS, "mine", Mine)
    assert checkpoints.describe(model) == ("mine", {"num_classes": 2, "in_channels": 3, "width": 1, "depth": 1,
                                                    "padding": "same", "norm": "batch", "upsampling": "transposed",
                                                    "skip": "concat"})
