"""Folders in Pascal-VOC layout: what is read, and what is refused, by name."""
from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from tinyseg.data import VOCSegmentation
from tinyseg.data.palette import VOC_CLASSES, VOC_PALETTE, write_mask

IDS = ["cat_1", "dog 2", "sub/bird"]
CLASSES = ["ground", "cat", "dog"]


def split_file(root, name="train"):
    return root / "ImageSets" / "Segmentation" / f"{name}.txt"


@pytest.fixture
def root(tmp_path):
    """Three images of 4 x 6 pixels in three formats and modes, with masks; the splits train and val; three classes."""
    rng = np.random.default_rng(0)
    for folder in ("JPEGImages/sub", "SegmentationClass/sub", "ImageSets/Segmentation"):
        (tmp_path / folder).mkdir(parents=True)
    pixels = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "JPEGImages/cat_1.png")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "JPEGImages/dog 2.jpg")
    Image.fromarray(pixels).convert("RGBA").save(tmp_path / "JPEGImages/sub/bird.png")
    for name in IDS:
        mask = rng.integers(0, 3, (4, 6), dtype=np.uint8)
        mask[0, 0] = 255
        write_mask(tmp_path / f"SegmentationClass/{name}.png", mask, VOC_PALETTE[::-1].copy())
    split_file(tmp_path).write_text("\n".join(IDS))
    split_file(tmp_path, "val").write_text("cat_1\n")
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    return tmp_path


def replace_mask(root, mask, name="cat_1"):
    write_mask(root / f"SegmentationClass/{name}.png", mask)


def test_items_and_attributes(root):
    dataset = VOCSegmentation(root, "train")
    assert len(dataset) == 3 and dataset.ids == IDS and dataset.name(1) == "dog 2"
    assert dataset.classes == CLASSES and dataset.num_classes == 3
    np.testing.assert_array_equal(dataset.palette, VOC_PALETTE[::-1])
    for index, (image, mask) in enumerate(dataset):
        assert image.shape == (4, 6, 3) and image.dtype == np.uint8
        assert mask.shape == (4, 6) and mask.dtype == np.uint8 and mask[0, 0] == 255 and mask[1:].max() <= 2
        np.testing.assert_array_equal(dataset.mask(index), mask)
    np.testing.assert_array_equal(dataset[-1][1], dataset[2][1])
    with pytest.raises(IndexError, match="item 3 of a dataset of 3"):
        dataset[3]


def test_the_transform_gets_the_pair_and_a_generator(root):
    def transform(image, mask, rng):
        return image.astype(np.float32).transpose(2, 0, 1), mask + rng.integers(100, dtype=np.uint8)

    dataset = VOCSegmentation(root, "train", transform)
    image, mask = dataset[1]
    assert image.shape == (3, 4, 6) and image.dtype == np.float32
    np.testing.assert_array_equal(mask, dataset[1][1])
    assert (mask != dataset.load(1, np.random.default_rng(99))[1]).any()


def test_the_development_kit_around_the_folder(root, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    (home / "VOCdevkit").mkdir()
    root.rename(home / "VOCdevkit" / "VOC2012")
    assert VOCSegmentation(home, "train").ids == IDS


def test_without_classes_txt_the_classes_are_vocs(root):
    (root / "classes.txt").unlink()
    assert VOCSegmentation(root, "train").classes == list(VOC_CLASSES)


def test_grey_masks_get_vocs_palette(root):
    Image.fromarray(np.ones((4, 6), np.uint8)).save(root / "SegmentationClass/cat_1.png")
    np.testing.assert_array_equal(VOCSegmentation(root, "train").palette, VOC_PALETTE)


@pytest.mark.parametrize("text", ["\n cat_1 \n\n\tdog 2\n \n", "cat_1\r\ndog 2\r\n", "\ufeffcat_1\ndog 2"])
def test_blanks_and_windows_line_ends_in_split_files(root, text):
    split_file(root).write_bytes(text.encode())
    assert VOCSegmentation(root, "train").ids == ["cat_1", "dog 2"]


@pytest.mark.parametrize("text, message", [
    ("", "the split is empty"),
    (" \n\n", "the split is empty"),
    ("cat_1\ncat_1\n", "'cat_1' stands there twice"),
    ("../cat_1", "points out of the dataset"),
    ("sub/../../cat_1", "points out of the dataset"),
    ("/etc/passwd", "points out of the dataset"),
    ("..\\cat_1", "points out of the dataset"),
    ("C:cat_1", "points out of the dataset"),
    (b"\xff\xfe\x00", "not a UTF-8 text file"),
])
def test_bad_split_files(root, text, message):
    split_file(root).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=re.escape(f"{split_file(root)}") + f".*{message}"):
        VOCSegmentation(root, "train")


def test_a_missing_split_lists_the_others(root):
    with pytest.raises(FileNotFoundError, match="no split 'test'; there are: train, val"):
        VOCSegmentation(root, "test")


@pytest.mark.parametrize("text, message", [
    ("", "lists 0 classes"),
    ("\n".join(map(str, range(256))), "lists 256 classes"),
    ("cat\ndog\ncat", "'cat' stands there twice"),
])
def test_bad_class_files(root, text, message):
    (root / "classes.txt").write_text(text)
    with pytest.raises(ValueError, match=f"classes.txt: {message}"):
        VOCSegmentation(root, "train")


def test_missing_folders(root):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        VOCSegmentation(root / "nowhere", "train")
    (root / "SegmentationClass").rename(root / "Masks")
    with pytest.raises(FileNotFoundError, match="not in Pascal-VOC layout, lacks the folders SegmentationClass"):
        VOCSegmentation(root, "train")


@pytest.mark.parametrize("path", ["JPEGImages/cat_1.png", "SegmentationClass/cat_1.png"])
def test_missing_files_are_counted_at_once(root, path):
    (root / path).unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no cat_1\.\w+.*'train' lists 3 ids, 1 of which"):
        VOCSegmentation(root, "train")


@pytest.mark.parametrize("path", ["JPEGImages/cat_1.png", "SegmentationClass/sub/bird.png"])
@pytest.mark.parametrize("size, message", [(0, "the file is empty"), (60, "damaged|not an image")])
def test_damaged_files_are_named(root, path, size, message):
    (root / path).write_bytes((root / path).read_bytes()[:size])
    with pytest.raises(OSError, match=re.escape(str(root / path)) + f": .*({message})"):
        list(VOCSegmentation(root, "train"))


def test_image_and_mask_of_different_size(root):
    replace_mask(root, np.zeros((6, 4), np.uint8))
    with pytest.raises(ValueError, match=r"cat_1.png: is 4 x 6 pixels but its image cat_1.png is 6 x 4"):
        VOCSegmentation(root, "train")[0]


def test_more_labels_than_classes(root):
    mask = np.zeros((4, 6), np.uint8)
    mask[1] = 3
    replace_mask(root, mask)
    message = "SegmentationClass/cat_1.png: label 3 in 6 pixels, but the 3 classes are 0..2 and void 255"
    dataset = VOCSegmentation(root, "train")
    for read in dataset.mask, dataset.read:
        with pytest.raises(ValueError, match=message):
            read(0)


def test_camvid(shared_data):
    sizes = {split: len(VOCSegmentation(shared_data("camvid"), split)) for split in ("train", "val", "test")}
    assert sizes == {"train": 367, "val": 101, "test": 233}
    dataset = VOCSegmentation(shared_data("camvid"), "val")
    assert dataset.num_classes == 11 and dataset.classes[0] == "sky" and dataset.palette[0].tolist() == [128] * 3
    image, mask = dataset[0]
    assert image.shape == (120, 160, 3) and set(np.unique(mask)) <= {*range(11), 255}


def test_voc_sample(shared_data):
    dataset = VOCSegmentation(shared_data("voc-sample"), "all")
    assert len(dataset) == 8 and dataset.classes == list(VOC_CLASSES)
    image, mask = dataset[dataset.ids.index("2007_000129")]
    assert image.shape == (500, 334, 3) and set(np.unique(mask)) == {0, 2, 15, 255}     # bicycles and their riders
