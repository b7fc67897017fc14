"""CIFAR-10 as JPEGs in one file: splits, order, and files that are damaged or something else."""
from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tinyseg.data import CIFAR10

PER_CLASS = 20


def jpeg(colour, size=(32, 32)):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, format="JPEG", quality=95)
    return buffer.getvalue()


def arrays():
    """Images in the order of their classes; their colour says which (red) and which one of it (green)."""
    parts = {}
    for part, blue in [("train", 0), ("test", 255)]:
        files = [jpeg((25 * label, 10 * rank, blue)) for label in range(10) for rank in range(PER_CLASS)]
        parts[f"{part}_bytes"] = np.frombuffer(b"".join(files), np.uint8)
        parts[f"{part}_offsets"] = np.cumsum([0, *map(len, files)])
        parts[f"{part}_labels"] = np.arange(10, dtype=np.uint8).repeat(PER_CLASS)
    return parts


def write(folder, **changes):
    np.savez(folder / "cifar10_jpeg.npz", **{**arrays(), **changes})
    return folder


@pytest.mark.parametrize("split, ranks, blue", [("train", range(18), 0), ("val", range(18, 20), 0),
                                                ("test", range(20), 255)])
def test_the_classes_take_turns(split, ranks, blue, tmp_path):
    data = CIFAR10(write(tmp_path), split)
    assert len(data) == 10 * len(ranks) and data.num_classes == 10
    items = [(label, rank) for rank in ranks for label in range(10)]
    assert data.labels.tolist() == [label for label, _ in items]
    for (image, mask), (label, rank) in zip((data[index] for index in range(len(data))), items):
        assert image.shape == (32, 32, 3) and image.dtype == mask.dtype == np.uint8 and mask.shape == (32, 32)
        assert (mask == label).all()
        np.testing.assert_allclose(image, np.broadcast_to((25 * label, 10 * rank, blue), image.shape), atol=4)
    assert data.name(7) == f"{split}_00007"
    np.testing.assert_array_equal(data.mask(13), np.full((32, 32), 3))


def test_the_file_may_have_any_order_and_unequal_classes(tmp_path, rng):
    labels = rng.permutation(np.array([0] * 30 + [3] * 10 + [9] * 5))
    files = [jpeg((25 * label, 0, 0)) for label in labels]
    data = CIFAR10(write(tmp_path, test_labels=labels, test_offsets=np.cumsum([0, *map(len, files)]),
                         test_bytes=np.frombuffer(b"".join(files), np.uint8)), "test")
    assert data.labels.tolist() == [0, 3, 9] * 5 + [0, 3] * 5 + [0] * 20
    for index in range(45):
        assert data[index][0][0, 0, 0] == pytest.approx(25 * int(data.labels[index]), abs=4)


def test_transforms_get_the_pair(tmp_path):
    data = CIFAR10(write(tmp_path), "val", transform=lambda image, mask, rng: (image[:2], mask[:2]))
    assert data[0][0].shape == (2, 32, 3) and data[0][1].shape == (2, 32)


@pytest.mark.parametrize("changes, message", [
    ({"train_labels": np.zeros(3, np.uint8)}, "train_offsets do not cut train_bytes"),
    ({"train_offsets": np.zeros(201, int)}, "train_offsets do not cut train_bytes"),
    ({"train_labels": np.zeros(200)}, "train_offsets do not cut train_bytes"),
    ({"train_offsets": np.array(3)}, "train_offsets do not cut train_bytes"),
    ({"train_labels": np.full(200, 10)}, "train_labels holds other than 0 to 9"),
    ({"train_labels": np.array([None] * 200)}, "damaged, or not CIFAR-10"),
])
def test_other_files(changes, message, tmp_path):
    with pytest.raises(ValueError, match=rf"cifar10_jpeg.npz: {message}"):
        CIFAR10(write(tmp_path, **changes))


def test_damaged_files(tmp_path):
    path = write(tmp_path) / "cifar10_jpeg.npz"
    whole = path.read_bytes()
    for content in (b"", whole[:len(whole) // 2], b"hello"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="cifar10_jpeg.npz: damaged, or not CIFAR-10"):
            CIFAR10(tmp_path)
    with pytest.raises(ValueError, match="split must be one of train, val, test, got 'validation'"):
        CIFAR10(tmp_path, "validation")
    np.savez(path, other=np.ones(3))
    with pytest.raises(ValueError, match="train_bytes"):
        CIFAR10(tmp_path)


@pytest.mark.parametrize("file, message", [(b"\xff" * 100, "damaged"), (jpeg("red")[:200], "damaged"),
                                           (jpeg("red", (31, 32)), "is 31 x 32 pixels; expected 32 x 32")])
def test_a_damaged_image_is_named(file, message, tmp_path):
    files = [jpeg("blue")] * 9 + [file]
    data = CIFAR10(write(tmp_path, test_labels=np.arange(10), test_offsets=np.cumsum([0, *map(len, files)]),
                         test_bytes=np.frombuffer(b"".join(files), np.uint8)), "test")
    assert data[8][0][0, 0].tolist() == [0, 0, 254]
    with pytest.raises(OSError, match=f"image test_00009 of .*cifar10_jpeg.npz: {message}"):
        data[9]


def test_the_real_one(shared_data):
    folder = shared_data("cifar10")
    splits = {split: CIFAR10(folder, split) for split in ("train", "val", "test")}
    assert {split: len(data) for split, data in splits.items()} == {"train": 45_000, "val": 5_000, "test": 10_000}
    for data in splits.values():
        assert np.bincount(data.labels).tolist() == [len(data) // 10] * 10
        assert data.labels[:1000].tolist() == list(range(10)) * 100
        image, mask = data[len(data) - 1]
        assert image.std() > 10 and (mask == 9).all()
    assert splits["test"].classes == (folder / "classes.txt").read_text().split()
