"""A step, an epoch, a run; and a run that is killed, at any moment, and resumed."""
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from voc_folder import contents, same_arrays

import tinyseg as ts
from tinyseg import checkpoint as checkpoints
from tinyseg import training
from tinyseg.data import Dataset, Scenes
from tinyseg.data.palette import VOC_PALETTE
from tinyseg.models import UNet
from tinyseg.optim import SGD
from tinyseg.training import Trainer, class_weights, fit, train_step

ROOT = pathlib.Path(__file__).parents[1]


class Masks(Dataset):
    """Black images with these masks."""

    def __init__(self, *masks, num_classes=3):
        super().__init__([f"class {i}" for i in range(num_classes)], VOC_PALETTE)
        self.masks = [np.array(mask, np.uint8) for mask in masks]

    def __len__(self):
        return len(self.masks)

    def name(self, index):
        return f"item {index}"

    def read(self, index):
        return np.zeros((*self.masks[index].shape, 3), np.uint8), self.masks[index]


class Stops(Scenes):
    """Scenes that cannot be read any more after so many of them: a run that is broken off."""

    reads_left = 0

    def read(self, index):
        self.reads_left -= 1
        if self.reads_left < 0:
            raise OSError("the disk is gone")
        return super().read(index)


def unet(**changes):
    ts.manual_seed(1)
    return UNet(**{"num_classes": 3, "width": 2, "depth": 2, **changes})


def scenes(split, length=6):
    return Scenes(length, 16, 3, split=split)


def train(model, out, train_set=None, **settings):
    return fit(model, train_set or scenes("train"), scenes("val", 2), out, **{"epochs": 3, "batch_size": 2, **settings})


# One step -----------------------------------------------------------------------------------------------------------

def test_a_step_goes_down_the_gradient(rng):
    model = unet()
    images, masks = rng.standard_normal((2, 3, 8, 8), np.float32), rng.integers(0, 3, (2, 8, 8), np.uint8)
    weight = np.array([1, 2, 3], np.float32)
    before = [p.numpy().copy() for p in model.parameters()]
    scores = model(ts.Tensor(images))
    expected = ts.functional.cross_entropy(scores, masks, weight)
    expected.backward()
    gradients = [p.grad.copy() for p in model.parameters()]

    loss, labels = train_step(model, SGD(model.parameters(), lr=0.1), images, masks, weight)
    assert loss == expected.item() and np.array_equal(labels, scores.numpy().argmax(axis=1))
    for p, old, gradient in zip(model.parameters(), before, gradients):
        np.testing.assert_allclose(p.numpy(), old - 0.1 * gradient, rtol=1e-5, atol=1e-7)


def test_steps_learn_one_example_by_heart():
    model, (image, mask) = unet(width=4), scenes("train")[0]
    optimizer = ts.optim.Adam(model.parameters(), lr=0.02)
    images = ts.data.transforms.normalize(image)[None]
    losses = [train_step(model, optimizer, images, mask[None])[0] for _ in range(60)]
    assert losses[-1] < 0.1 < 0.5 < losses[0]


def test_a_model_without_padding_learns_the_middle_of_the_mask(rng):
    model = unet(depth=1, padding="valid", norm=None)
    assert model.output_size(20, 20) == (4, 4)
    images, mask = rng.standard_normal((1, 3, 20, 20), np.float32), np.full((1, 20, 20), 255, np.uint8)
    mask[:, 8:12, 8:12] = 1
    model.eval()
    loss, labels = train_step(model, SGD(model.parameters(), lr=0.0), images, mask)
    middle = ts.functional.cross_entropy(model(ts.Tensor(images)), mask[:, 8:12, 8:12])
    assert loss == middle.item() and labels.shape == (1, 4, 4)


def test_a_loss_that_is_not_finite_names_the_layer_and_changes_no_parameter(rng):
    model = unet()
    model.contracting[1][0].conv.weight.data[0, 0, 0, 0] = np.inf
    before = {name: p.numpy().copy() for name, p in model.named_parameters()}
    images, masks = rng.standard_normal((1, 3, 8, 8), np.float32), np.zeros((1, 8, 8), np.uint8)
    message = r"the loss is nan: .* is contracting\.1\.0\.conv; train with a smaller learning rate"
    with np.errstate(invalid="ignore"), pytest.raises(FloatingPointError, match=message):
        train_step(model, SGD(model.parameters(), lr=0.1), images, masks)
    assert same_arrays(before, {name: p.numpy() for name, p in model.named_parameters()})


# Class weights ------------------------------------------------------------------------------------------------------

def test_median_frequency_weights():
    dataset = Masks([[0, 0, 0, 1]], [[0, 0, 255, 255]], [[0, 2, 2, 2]], num_classes=4)
    # frequencies where the class occurs: 6 of 10 pixels, 1 of 4, 3 of 4; the median is 0.6; class 3 never occurs
    np.testing.assert_allclose(class_weights(dataset), [1, 0.6 / 0.25, 0.6 / 0.75, 0])
    np.testing.assert_allclose(class_weights(dataset, power=0.5), np.sqrt([1, 2.4, 0.8, 0]))


def test_weights_of_nothing():
    with pytest.raises(ValueError, match="all pixels of the dataset are void"):
        class_weights(Masks([[255]]))


# A run --------------------------------------------------------------------------------------------------------------

def test_a_run_leaves_history_curves_and_checkpoints(tmp_path):
    model = unet()
    history = train(model, tmp_path / "a" / "run")
    assert sorted(contents(tmp_path / "a" / "run")) == ["best.npz", "curves.png", "history.jsonl", "last.npz"]
    lines = (tmp_path / "a" / "run" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == history and [row["epoch"] for row in history] == [1, 2, 3]
    assert history[0]["lr"] == 1e-3 and history[2]["lr"] == pytest.approx(1e-3 * (1 / 3)**0.9)

    last = checkpoints.load(tmp_path / "a" / "run" / "last.npz")
    assert same_arrays(last.weights, model.state_dict()) and last.history == history
    confusion, loss, _ = ts.inference.evaluate(model, scenes("val", 2))
    assert (history[-1]["val_loss"], history[-1]["val_mean_iou"]) == (loss, confusion.mean_iou)
    best = checkpoints.load(tmp_path / "a" / "run" / "best.npz")
    assert best.history[-1]["val_mean_iou"] == max(row["val_mean_iou"] for row in history)


@pytest.mark.usefixtures("blank_curves")
def test_training_learns(tmp_path):
    history = train(unet(width=4), tmp_path, scenes("train", 16), epochs=8, lr=0.01, balance="sqrt")
    assert history[-1]["loss"] < 0.6 * history[0]["loss"] and history[-1]["mean_iou"] > history[0]["mean_iou"]


def test_batches_of_nothing_but_void_are_skipped(tmp_path):
    labelled, void = np.ones((8, 8)), np.full((8, 8), 255)
    fit(unet(), Masks(labelled, void, void), Masks(labelled), tmp_path, epochs=1, batch_size=1)
    with pytest.raises(ValueError, match="all pixels of the training images are void"):
        fit(unet(), Masks(void), Masks(labelled), tmp_path / "b", epochs=1)


@pytest.mark.parametrize("settings, message", [
    ({"epochs": 0}, "epochs=0"), ({"lr": 0.0}, "lr=0.0"), ({"lr": float("nan")}, "lr=nan"),
    ({"batch_size": 0}, "batch_size"), ({"optimizer": "adamm"}, "expected one of adamw, adam, sgd"),
    ({"balance": "mean"}, "expected one of none, sqrt, median"),
])
def test_settings_out_of_range(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        train(unet(), tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_overwritten(tmp_path):
    train(unet(), tmp_path, epochs=1)
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match=r"holds a run already; resume it \(--resume\), or choose another folder"):
        train(unet(), tmp_path, epochs=1)
    assert contents(tmp_path) == before


@pytest.mark.usefixtures("blank_curves")
@pytest.mark.parametrize("norm, optimizer", [("batch", "adamw"), (None, "sgd"), ("group", "adam")])
def test_a_resumed_run_ends_with_the_same_bits(tmp_path, norm, optimizer):
    """norm=None has dropout, so that the generator's state matters."""
    settings = {"optimizer": optimizer, "lr": 0.01, "workers": 0}
    undisturbed = unet(norm=norm)
    history = train(undisturbed, tmp_path / "a", **settings)

    broken = Stops(6, 16, 3)
    broken.reads_left = 6 + 6 + 3                         # half an epoch is lost
    with pytest.raises(OSError, match="the disk is gone"):
        train(unet(norm=norm), tmp_path / "b", broken, **settings)
    resumed = unet(norm=norm)
    ts.manual_seed(99)
    resumed_history = train(resumed, tmp_path / "b", resume=True, **settings)

    assert same_arrays(undisturbed.state_dict(), resumed.state_dict())
    for name in ("last.npz", "best.npz"):
        one, other = (checkpoints.load(tmp_path / run / name) for run in "ab")
        assert same_arrays(one.weights, other.weights) and same_arrays(one.optimizer, other.optimizer)
    for row in [*history, *resumed_history]:
        del row["seconds"], row["images_per_second"]
    assert history == resumed_history and len((tmp_path / "b" / "history.jsonl").read_text().splitlines()) == 3


def test_rows_of_history_beyond_the_checkpoint_are_dropped(tmp_path):
    train(unet(), tmp_path, epochs=1)
    kept = (tmp_path / "history.jsonl").read_text()
    (tmp_path / "history.jsonl").write_text(kept + '{"epoch": 2, "lo')
    train(unet(), tmp_path, epochs=1, resume=True)
    assert (tmp_path / "history.jsonl").read_text() == kept


@pytest.mark.usefixtures("blank_curves")
def test_order_does_not_depend_on_the_workers(tmp_path):
    one, other = unet(), unet()
    train(one, tmp_path / "a", workers=0)
    train(other, tmp_path / "b", workers=3)
    assert same_arrays(one.state_dict(), other.state_dict())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run that came to its end."""
    out = tmp_path_factory.mktemp("finished")
    train(unet(), out)
    return out


@pytest.mark.parametrize("changes, message", [
    ({"lr": 0.5}, "lr = 0.001, not 0.5"), ({"epochs": 4}, "epochs = 3, not 4"), ({"seed": 5}, "seed = 0, not 5"),
    ({"model": unet(width=3)}, "width = 2, not 3"), ({"train_set": scenes("train", 5)}, "images = 6, not 5"),
    ({"model": unet(num_classes=4), "train_set": Scenes(6, 16, 4)}, "num_classes = 3, not 4"),
])
def test_resuming_as_something_else(finished, changes, message):
    before = contents(finished)
    with pytest.raises(ValueError, match=f"last.npz: was trained with {message}; resume with the same"):
        train(**{"model": unet(), "out": finished, "resume": True, **changes})
    assert contents(finished) == before


def test_a_diverging_run_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    model = unet()
    trainer = Trainer(model, scenes("train"), scenes("val", 2), epochs=3, batch_size=2)
    monkeypatch.setattr(training, "Trainer", lambda *_, **__: trainer)
    epoch, seen = trainer.epoch, []

    def epoch_then_poison(bar):
        if trainer.history:
            model.conv_1x1.bias.data[0] = np.nan
        seen.append(epoch(bar))
        return seen[-1]

    monkeypatch.setattr(trainer, "epoch", epoch_then_poison)
    with pytest.raises(FloatingPointError, match="the loss is nan: .* is conv_1x1; train with a smaller learning rate"):
        train(model, tmp_path)
    assert len(seen) == 1 and len(checkpoints.load(tmp_path / "last.npz").history) == 1
    assert checkpoints.load_model(tmp_path / "best.npz")


# Killed -------------------------------------------------------------------------------------------------------------

RUN = """
import sys
from tinyseg.cli import main
sys.exit(main(["train", "--out", sys.argv[1], "--resume", "--width", "2", "--depth", "2", "--crop", "16",
               "--batch", "2", "--epochs", "6", "--data", sys.argv[2]]))
"""


@pytest.mark.slow
def test_killed_at_twenty_random_moments_and_resumed(tmp_path):
    from voc_folder import make_voc_folder
    data = make_voc_folder(tmp_path / "data", train=8, val=2)

    def start(out):
        return subprocess.Popen([sys.executable, "-c", RUN, str(out), str(data)], cwd=ROOT, stderr=subprocess.DEVNULL)

    started = time.monotonic()
    assert start(tmp_path / "undisturbed").wait() == 0
    whole = time.monotonic() - started
    undisturbed = checkpoints.load(tmp_path / "undisturbed" / "last.npz")

    kills, lengths, out = 0, set(), tmp_path / "killed"
    moments = random.Random(0)
    for attempt in range(100):                            # some runs end before they are killed
        process = start(out)
        time.sleep(moments.uniform(0.3, 1.0) * whole)
        os.kill(process.pid, signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        for name in ("last.npz", "best.npz"):
            if (out / name).exists():
                lengths.add(len(checkpoints.load(out / name).history))
        if (out / "last.npz").exists() and len(checkpoints.load(out / "last.npz").history) == 6:
            assert same_arrays(checkpoints.load(out / "last.npz").weights, undisturbed.weights)
            out = tmp_path / f"killed_{attempt}"          # done: go on with another run
        if kills == 20:
            break
    assert kills == 20
    assert start(out).wait() == 0
    resumed = checkpoints.load(out / "last.npz")
    assert same_arrays(resumed.weights, undisturbed.weights) and same_arrays(resumed.optimizer, undisturbed.optimizer)
    assert same_arrays(checkpoints.load(out / "best.npz").weights,
                       checkpoints.load(tmp_path / "undisturbed" / "best.npz").weights)
    assert len(lengths) > 2, "the kills never met a run half way"
