"""Whatever is wrong with the input: one line that names the thing and the fix, exit status 2, nothing half written."""
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from voc_folder import contents, make_voc_folder

from tinyseg.cli import main

TINY = ["--width", "2", "--depth", "2", "--crop", "16", "--batch", "2", "--epochs", "1"]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A folder with data/ and the finished run unet/."""
    folder = tmp_path_factory.mktemp("good")
    make_voc_folder(folder / "data", train=2, val=1, test=1)
    assert main(["train", "--data", str(folder / "data"), "--out", str(folder / "unet"), *TINY]) == 0
    return folder


@pytest.fixture
def here(good, tmp_path, monkeypatch, capsys):
    """A copy of it, as the working directory."""
    shutil.copytree(good, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    return tmp_path


@pytest.fixture
def refused(here, capsys):
    """refused(arguments, *parts): the command fails as it should, its message has all parts, and no file changes."""
    def refused(arguments, *parts):
        before = contents(here)
        assert main(arguments) == 2
        out, err = capsys.readouterr()
        *progress, line = err.replace("\r", "\n").splitlines()
        assert not any("Traceback" in text or "Warning" in text for text in progress) and out == ""
        assert line.startswith("tinyseg: "), err
        for part in parts:
            assert part in line, line
        after = contents(here)
        assert after == before, "files have changed"
        return line
    return refused


def training(*more, data="data", out="new"):
    return ["train", "--data", data, "--out", out, *TINY, *more]


# Arguments ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("arguments, parts", [
    (["trian"], ["'trian'", "train"]),
    (["train"], ["required: --out"]),
    (training("--model", "fcn", "--depth", "3"), ["--depth: fcn does not take it", "--variant"]),
    (["train", "--out", "new", "--model", "fcn", "--variant", "64s"], ["variant='64s'", "'8s'"]),
    (["train", "--out", "new", "--model", "fcn", "--staged", "perhaps"], ["'perhaps' is neither yes nor no"]),
    (training("--encoder-lr", "0.1"), ["encoder_lr=0.1", "UNet has no encoder of its own"]),
    (training("--pretrained", "unet"), ["UNet has no encoder of its own"]),
    (["train", "--out", "new", "--model", "fcn", "--pretrained", "unet", "--width", "2"], ["another encoder than VGG"]),
    (["train", "--out", "new", "--model", "fcn", "--pretrained", "no.pth", "--width", "2"], ["no.pth"]),
    (["train", "--out", "new", "--model", "fcn", "--start-from", "unet", "--width", "2"], ["a UNet has no weight"]),
    (["evaluate", "unet", "--crf", "w3=4"], ["--crf w3=4: no such setting", "w1", "theta_alpha", "iterations"]),
    (["evaluate", "unet", "--crf", "w1=much"], ["--crf w1=much: expected a number"]),
    (["evaluate", "unet", "--crf", "theta_beta=0"], ["theta_beta=0.0"]),
    (["evaluate", "unet", "--scales", "0"], ["scales"]),
    (["evaluate", "unet", "--flip", "--fusion", "sum"], ["fusion='sum'", "'max'"]),
    (["predict", "unet", "data/JPEGImages", "--out", "new", "--tile", "0"], ["tile=0"]),
    (["predict", "unet", "data/JPEGImages", "--out", "new", "--tile", "16", "--flip"], ["--tile keeps labels alone"]),
    (training("--epohcs", "3"), ["unknown argument --epohcs, did you mean --epochs?"]),
    (training("--colour=red"), ["unknown argument --colour", "tinyseg train --help"]),
    (training("--epochs", "many"), ["--epochs", "'many'"]),
    (training("--epochs", "0"), ["epochs=0"]),
    (training("--lr", "-1"), ["lr=-1.0"]),
    (training("--batch", "0"), ["batch_size", "at least 1, got 0"]),
    (training("--seed=-1"), ["--seed", "'-1' is not one of 0, 1, 2"]),
    (training("--workers", "-1"), ["workers", "at least 0, got -1"]),
    (training("--width", "0"), ["UNet", "width=0"]),
    (training("--model", "vnet"), ["vnet", "there are unet"]),
    (training("--optimizer", "adm"), ["optimizer='adm'", "adamw, adam, sgd"]),
    (training("--weights-balance", "mean"), ["balance='mean'", "none, sqrt, median"]),
    (training("--crop", "18"), ["18x18 does not fit", "nearest legal sizes: 16x16 and 20x20"]),
    (training("--crop", "0"), ["0"]),
    (["gradcheck", "conv"], ["'conv'", "did you mean conv2d"]),
    (["summary", "vnet"], ["vnet"]),
    (["summary", "unet", "--size", "100", "128"], ["100x128 does not fit", "96x128 and 112x128"]),
    (["evaluate", "unet", "--split", "exam"], ["no split 'exam'", "test, train, val"]),
    (["evaluate", "unet", "--data", "scenes", "--split", "exam"], ["'exam'", "train, val, test"]),
    (["predict", "unet", "--out", "masks"], ["required: IMAGE"]),
])
def test_arguments(refused, arguments, parts):
    refused(arguments, *parts)


# Data ---------------------------------------------------------------------------------------------------------------

def mask(name="train_00001"):
    return f"data/SegmentationClass/{name}.png"


def save_mask(path, array):
    Image.fromarray(np.asarray(array, np.uint8)).save(path)


def test_no_such_data(refused):
    refused(training(data="nowhere"), "nowhere: no such folder")


def test_data_of_another_layout(refused, here):
    shutil.rmtree(here / "data" / "JPEGImages")
    refused(training(), "lacks the folders JPEGImages")


def test_no_validation_split(refused, here):
    (here / "data/ImageSets/Segmentation/val.txt").unlink()
    refused(training(), "no split 'val'")


def test_empty_split(refused, here):
    (here / "data/ImageSets/Segmentation/train.txt").write_text("\n")
    refused(training(), "train.txt: the split is empty")


def test_missing_mask(refused, here):
    (here / mask()).unlink()
    refused(training(), "there is no train_00001.png")


@pytest.mark.parametrize("size", [0, 60])
@pytest.mark.parametrize("path", ["data/JPEGImages/train_00001.png", mask(), "data/JPEGImages/val_00000.png"])
def test_cut_off_files(refused, here, path, size):
    (here / path).write_bytes((here / path).read_bytes()[:size])
    refused(training(), path, "copy it again")


def test_label_out_of_range(refused, here):
    labels = np.zeros((24, 32))
    labels[3:5, 7] = 7
    save_mask(here / mask(), labels)
    refused(training(), mask(), "label 7 in 2 pixels", "classes are 0..2")


def test_colours_for_labels(refused, here):
    save_mask(here / mask(), np.zeros((24, 32, 3)))
    refused(training(), mask(), "RGB", "from_colors")


def test_black_and_white_mask(refused, here):
    save_mask(here / mask(), 255 * np.eye(24, 32))
    refused(training(), mask(), "0 and 255")


def test_mask_of_another_size(refused, here):
    save_mask(here / mask(), np.zeros((24, 30)))
    refused(training(), mask(), "30 x 24", "32 x 24")


def test_nothing_but_void(refused, here):
    for name in ("train_00000", "train_00001"):
        save_mask(here / mask(name), np.full((24, 32), 255))
    refused(training(), "all pixels of the training images are void")
    refused(training("--weights-balance", "median"), "void")


# Runs and checkpoints -----------------------------------------------------------------------------------------------

def test_a_run_is_there_already(refused):
    refused(training(out="unet"), "unet: holds a run already; resume it (--resume)")


def test_resume_with_another_model_or_setting(refused):
    refused(["train", "--resume", "--out", "unet", "--width", "3"], "width = 2, not 3")
    refused(["train", "--resume", "--out", "unet", "--lr", "1"], "lr = 0.002, not 1.0")


def test_resume_on_other_classes(refused, here, capsys):
    assert main(training()) == 0
    (here / "data/classes.txt").write_text("a\nb\nc\nd\n")
    capsys.readouterr()
    refused(["train", "--resume", "--out", "new"], "num_classes = 3, not 4")


def test_evaluate_on_other_classes(refused):
    refused(["evaluate", "unet", "--data", "scenes"], "3 classes (background, ", "scenes has 6 classes", "give --data")


def test_no_such_checkpoint(refused):
    refused(["evaluate", "nowhere.npz"], "nowhere.npz: No such file or directory")
    refused(["evaluate", "data"], "data: holds no best.npz")


@pytest.mark.parametrize("size", [0, 20, 5000])
def test_truncated_checkpoint(refused, here, size):
    for name in ("best.npz", "last.npz"):
        (here / "unet" / name).write_bytes((here / "unet" / name).read_bytes()[:size])
    refused(["evaluate", "unet"], "best.npz: not a whole .npz file", "use another copy")
    refused(["predict", "unet/best.npz", mask(), "--out", "masks"], "best.npz: not a whole .npz file")
    refused(["train", "--resume", "--out", "unet"], "last.npz: not a whole .npz file")


def test_foreign_checkpoint(refused, here):
    np.savez(here / "unet/best.npz", weight=np.ones(3))
    refused(["evaluate", "unet"], "not a checkpoint; give one that `tinyseg train` wrote")


def test_unwritable_folder(refused, here):
    (here / "file").write_text("not a folder")
    refused(training(out="file/run"), "file", "Not a directory")
    refused(training(out="file"), "file", "File exists")
    refused(["predict", "unet", "data/JPEGImages", "--out", "file/masks"], "file", "Not a directory")


def test_demo_finds_out_at_once_that_it_cannot_write(refused):
    refused(["demo", "--out", "nowhere/demo.png"], "nowhere", "No such file or directory")


def test_diverging_training(refused):
    refused(training("--lr", "1e38", "--epochs", "3"), "the first layer to put out NaN or infinity is contracting",
            "smaller learning rate")


# Images to segment --------------------------------------------------------------------------------------------------

def test_damaged_image_among_good_ones(refused, here):
    for size in (0, 60):
        path = here / "data/JPEGImages/val_00000.png"
        path.write_bytes(path.read_bytes()[:size])
        refused(["predict", "unet", "data/JPEGImages", "--out", "masks"], "val_00000.png", "copy it again")
    assert not (here / "masks").exists()


@pytest.mark.parametrize("image, parts", [
    ("nowhere.jpg", ["nowhere.jpg: no such file"]), ("data/classes.txt", ["classes.txt: not an image"]),
    ("data/ImageSets", ["data/ImageSets: no images in this folder"]),
])
def test_not_images(refused, image, parts):
    refused(["predict", "unet", image, "--out", "masks"], *parts)


def test_masks_never_overwrite_images_or_each_other(refused, here):
    refused(["predict", "unet", "data/JPEGImages", "--out", "data/JPEGImages"], "would overwrite an image")
    (here / "more").mkdir()
    shutil.copy(here / "data/JPEGImages/val_00000.png", here / "more/val_00000.jpg")
    refused(["predict", "unet", "data/JPEGImages", "more", "--out", "new"], "val_00000.png: would be the mask of both")


def test_json_is_json_even_without_a_class(here, capsys):
    """An IoU that does not exist is null: NaN is not JSON."""
    save_mask(here / mask("test_00000"), np.zeros((24, 32)))
    assert main(["evaluate", "unet", "--split", "test", "--json"]) == 0
    json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
