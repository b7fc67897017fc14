"""What the commands do with good input.  (Bad input: test_bad_input.py.)"""
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from voc_folder import contents, make_voc_folder

from tinyseg import __version__, inference
from tinyseg import checkpoint as checkpoints
from tinyseg.cli import main
from tinyseg.data import VOCSegmentation
from tinyseg.data.palette import read_mask, read_palette

TINY = ["--width", "2", "--depth", "2", "--crop", "16", "--batch", "2", "--epochs", "2"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_voc_folder(tmp_path_factory.mktemp("voc") / "data", train=4, val=2, test=2)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """The folder of a finished run."""
    out = tmp_path_factory.mktemp("runs") / "unet"
    assert main(["train", "--data", str(data), "--out", str(out), "--seed", "3", *TINY]) == 0
    return out


def test_train_keeps_what_it_was_told(run, data):
    saved = checkpoints.load(run / "last.npz")
    assert (saved.model, saved.arguments["width"], saved.arguments["depth"]) == ("unet", 2, 2)
    assert saved.classes == VOCSegmentation(data, "train").classes
    given = {"data": str(data), "crop": 16, "batch_size": 2, "epochs": 2, "seed": 3, "optimizer": "adamw", "images": 4}
    assert saved.settings.items() >= given.items()
    assert sorted(contents(run)) == ["best.npz", "curves.png", "history.jsonl", "last.npz"]


@pytest.mark.usefixtures("blank_curves")
def test_train_shows_its_progress(data, tmp_path, capsys):
    assert main(["train", "--data", str(data), "--out", str(tmp_path), *TINY]) == 0
    out, err = capsys.readouterr()
    assert "best validation mIoU" in out and "best.npz" in out
    for part in ("epoch 2/2", "loss=", "mIoU=", "image/s", "epoch 2: loss"):
        assert part in err


def test_resume_needs_no_other_option_and_changes_nothing_that_is_done(run, capsys):
    before = contents(run)
    assert main(["train", "--out", str(run), "--resume"]) == 0
    assert contents(run) == before
    assert f"of 2: {run / 'best.npz'}" in capsys.readouterr().out


@pytest.mark.usefixtures("blank_curves")
def test_resume_of_nothing_starts_anew(data, tmp_path, capsys):
    assert main(["train", "--data", str(data), "--out", str(tmp_path / "new"), "--resume", *TINY]) == 0
    assert len(checkpoints.load(tmp_path / "new" / "last.npz").history) == 2


@pytest.mark.usefixtures("blank_curves")
def test_train_on_scenes_with_balanced_classes(tmp_path, monkeypatch):
    from tinyseg.cli import common
    monkeypatch.setattr(common, "SCENES", {"train": 2, "val": 1, "test": 1})
    assert main(["train", "--out", str(tmp_path), "--weights-balance", "median", "--optimizer", "sgd", *TINY]) == 0
    assert checkpoints.load(tmp_path / "last.npz").settings["data"] == "scenes"
    assert main(["evaluate", str(tmp_path), "--split", "test"]) == 0


def test_evaluate(run, data, capsys):
    assert main(["evaluate", str(run), "--split", "test"]) == 0
    table = capsys.readouterr().out
    assert main(["evaluate", str(run / "best.npz"), "--data", str(data), "--split", "test", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    model = checkpoints.load_model(run / "best.npz").fuse()
    confusion, loss, boundary = inference.evaluate(model, VOCSegmentation(data, "test"))
    assert scores["mean_iou"] == confusion.mean_iou and scores["loss"] == loss and scores["images"] == 2
    assert scores["boundary_accuracy"] == boundary.pixel_accuracy
    for name, iou in zip(VOCSegmentation(data, "test").classes, confusion.iou):
        assert scores["iou"][name] == (None if np.isnan(iou) else iou)
        assert name in table
    assert f"{100 * confusion.mean_iou:.1f}" in table and f"loss {loss:.4f}" in table


def test_evaluate_and_predict_with_several_views_and_the_crf(run, data, tmp_path, capsys):
    model, dataset = checkpoints.load_model(run / "best.npz").fuse(), VOCSegmentation(data, "test")
    views = {"scales": [0.5, 1.0], "flip": True, "fusion": "max", "crf": {"w1": 4.0, "iterations": 2}}
    options = ["--scales", "0.5", "1", "--flip", "--fusion", "max", "--crf", "w1=4", "iterations=2"]
    assert main(["evaluate", str(run), "--split", "test", "--json", *options]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["mean_iou"] == inference.evaluate(model, dataset, **views).confusion.mean_iou
    assert scores["loss"] != inference.evaluate(model, dataset).loss
    path = next((data / "JPEGImages").iterdir())
    assert main(["predict", str(run), str(path), "--out", str(tmp_path), *options]) == 0
    expected = inference.predict(model, np.array(Image.open(path).convert("RGB")), **views)
    np.testing.assert_array_equal(read_mask(tmp_path / f"{path.stem}.png"), expected)


def test_predict_in_tiles(run, data, tmp_path):
    path = str(next((data / "JPEGImages").iterdir()))
    for out, options in ("whole", []), ("tiles", ["--tile", "8"]):
        assert main(["predict", str(run), path, "--out", str(tmp_path / out), *options]) == 0
    assert contents(tmp_path / "whole") == contents(tmp_path / "tiles")


def test_evaluate_draws_a_picture(run, tmp_path):
    picture = tmp_path / "test.png"
    assert main(["evaluate", str(run), "--split", "test", "--picture", str(picture)]) == 0
    with Image.open(picture) as image:
        assert image.format == "PNG" and min(image.size) > 100
        assert len(np.unique(np.array(image.convert("RGB")).reshape(-1, 3), axis=0)) > 100        # not an empty page


def test_predict_images_and_folders_of_any_size_and_mode(run, tmp_path, rng, capsys):
    folder, out = tmp_path / "photos", tmp_path / "masks"
    folder.mkdir()
    Image.fromarray(rng.integers(0, 256, (21, 34, 3), np.uint8)).save(folder / "colour.jpg")
    Image.fromarray(rng.integers(0, 256, (5, 7), np.uint8)).save(folder / "grey.png")
    Image.fromarray(rng.integers(0, 256, (9, 9, 4), np.uint8)).save(tmp_path / "clear.PNG")
    (folder / "notes.txt").write_text("not an image")
    assert main(["predict", str(run), str(folder), str(tmp_path / "clear.PNG"), "--out", str(out), "--overlay",
                 "--probabilities"]) == 0
    endings = (".png", "_overlay.png", "_probabilities.npz")
    assert sorted(contents(out)) == sorted(name + end for name in ("clear", "colour", "grey") for end in endings)

    checkpoint = checkpoints.load(run / "best.npz")
    with Image.open(folder / "colour.jpg") as image:
        expected = inference.predict(checkpoint.build(), np.array(image))
    assert np.array_equal(read_mask(out / "colour.png"), expected)
    assert np.array_equal(read_palette(out / "colour.png"), checkpoint.palette)
    with Image.open(out / "colour_overlay.png") as overlay:
        assert overlay.size == (34, 21) and overlay.mode == "RGB"
    with np.load(out / "colour_probabilities.npz") as npz:
        assert npz["probabilities"].shape == (3, 21, 34) and npz["probabilities"].dtype == np.float16
        assert np.array_equal(npz["probabilities"].argmax(axis=0), expected)
        assert list(npz["classes"]) == checkpoint.classes
    assert "3 masks in" in capsys.readouterr().out


def test_summary_of_a_name_and_of_a_checkpoint(run, capsys):
    assert main(["summary", "unet", "--width", "4", "--depth", "1", "--classes", "7", "--size", "32", "64"]) == 0
    assert "(1, 7, 32, 64)" in capsys.readouterr().out
    assert main(["summary", str(run)]) == 0
    assert "(1, 3, 128, 128)" in capsys.readouterr().out


def test_summary_draws_the_model(tmp_path):
    picture = tmp_path / "unet.png"
    assert main(["summary", "unet", "--width", "4", "--depth", "1", "--picture", str(picture)]) == 0
    with Image.open(picture) as image:
        assert image.format == "PNG" and min(image.size) > 500


def test_gradcheck_of_named_ops(capsys):
    assert main(["gradcheck", "relu", "add"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["op", "relu", "add"]


def test_gradcheck_of_a_wrong_op(capsys, monkeypatch):
    from tinyseg.op import REGISTRY
    monkeypatch.setattr(REGISTRY["neg"], "backward", staticmethod(lambda ctx, dy: (dy,)))
    assert main(["gradcheck", "neg"]) == 1
    assert "WRONG" in capsys.readouterr().out


def test_demo_tells_the_whole_story(tmp_path, capsys):
    from tinyseg import demo
    stages = demo.run(tmp_path / "story.png", images=4, epochs=1, steps=40, test_images=1)
    assert [stage.name for stage in stages] == ["untrained", "overfitted on the example", "trained on 4 images"]
    assert stages[1].ious[0] > 0.5 > stages[0].ious[0]
    printed = capsys.readouterr().out
    assert all(f"{stage.test_iou:.2f}" in printed for stage in stages) and "story.png" in printed
    with Image.open(tmp_path / "story.png") as image:
        assert image.width > 1000 and np.array(image.convert("L")).std() > 40


@pytest.mark.slow
def test_warmup_compiles_what_training_needs(data, tmp_path):
    """In a process of its own, whose cache is empty at first."""
    import os
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def run(*arguments):
        command = [sys.executable, "-m", "tinyseg", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    first = run("warmup")
    assert first.returncode == 0 and "compiling kernels, once per machine" in first.stderr
    compiled = sorted(path.name for path in (tmp_path / "cache").rglob("*.nbc"))
    second = run("train", "--data", str(data), "--out", str(tmp_path / "run"), *TINY, "--width", "16")    # not tiny there
    assert second.returncode == 0 and "compiling" not in second.stderr
    assert compiled and sorted(path.name for path in (tmp_path / "cache").rglob("*.nbc")) == compiled


def test_help_and_version(capsys):
    assert main([]) == 0
    assert "COMMAND" in capsys.readouterr().out
    for arguments, expected in [(["--version"], f"tinyseg {__version__}"), (["train", "--help"], "--weights-balance")]:
        with pytest.raises(SystemExit) as exit:
            main(arguments)
        assert exit.value.code == 0 and expected in capsys.readouterr().out


def test_python_m_tinyseg_needs_nothing_heavy_for_help():
    code = ("import sys, runpy; sys.argv = ['tinyseg', '--help']\n"
            "try: runpy.run_module('tinyseg', run_name='__main__')\n"
            "except SystemExit as e: assert not e.code\n"
            "print({'matplotlib', 'PIL', 'tqdm'} & set(sys.modules))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "usage: tinyseg" in done.stdout and done.stdout.endswith("set()\n"), done.stderr


def test_interrupt_says_how_to_go_on(data, tmp_path, capsys, monkeypatch):
    from tinyseg import training
    keep = training._keep

    def keep_then_interrupt(trainer, out):
        keep(trainer, out)
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "_keep", keep_then_interrupt)
    out = tmp_path / "run"
    assert main(["train", "--data", str(data), "--out", str(out), *TINY]) == 130
    last_line = capsys.readouterr().err.splitlines()[-1]
    assert last_line.startswith("tinyseg: interrupted") and f"tinyseg train --out {out} --resume" in last_line
    monkeypatch.undo()
    assert main(["train", "--out", str(out), "--resume"]) == 0
    assert len(checkpoints.load(out / "last.npz").history) == 2
