"""CIFAR-10: sixty thousand photographs of 32 x 32 pixels, each of one of ten things, to pretrain encoders on."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from .dataset import Dataset, Pair, PairTransform
from .images import PathLike
from .palette import VOC_PALETTE

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
SIZE = 32
# which of the file's two parts, and which share of every class in it; 45,000 and 5,000 as He et al. 2016, section 4.2
SPLITS = {"train": ("train", 0.0, 0.9), "val": ("train", 0.9, 1.0), "test": ("test", 0.0, 1.0)}


class CIFAR10(Dataset):
    """CIFAR-10 from a folder with all images as JPEGs in one file::

        root/cifar10_jpeg.npz       {train, test}_bytes     uint8, JPEG files, one after the other
                                    {train, test}_offsets   n + 1 integers, where each begins, and the end of the last
                                    {train, test}_labels    n integers, 0 to 9

    split: "train", "val" (the last tenth of every class of the training images) or "test".
    Items are as `Dataset` says; the mask is of the image's class everywhere. `labels`: the classes alone, (n,) uint8.
    Classes take turns, wherever they stand in the file: item 0 is the first airplane, item 1 the first automobile, so
    that the first items are a fair sample.

    Raises FileNotFoundError (no such file) or ValueError (unknown split, another or a damaged file) at once; reading an
    item raises OSError when its JPEG is damaged.  Source: Krizhevsky, "Learning multiple layers of features from tiny
    images", 2009.

    >>> CIFAR10("no/such/folder", "train")
    Traceback (most recent call last):
    FileNotFoundError: no/such/folder/cifar10_jpeg.npz: no such file; give the folder that holds it
    """

    FILE = "cifar10_jpeg.npz"

    def __init__(self, root: PathLike, split: str = "train", transform: PairTransform | None = None) -> None:
        if split not in SPLITS:
            raise ValueError(f"CIFAR10: split must be one of {', '.join(SPLITS)}, got {split!r}")
        self.path, self.split = Path(root) / self.FILE, split
        part, first, last = SPLITS[split]
        self._bytes, self._offsets, labels = _read_part(self.path, part)
        places, shares = _turns(labels)
        chosen = (first <= shares) & (shares < last)
        self._places = places[chosen]
        self.labels = labels[self._places].astype(np.uint8)
        super().__init__(list(CLASSES), VOC_PALETTE, transform)

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        return f"{self.split}_{index:05d}"

    def mask(self, index: int) -> np.ndarray:
        return np.full((SIZE, SIZE), self.labels[index], np.uint8)

    def read(self, index: int) -> Pair:
        from PIL import Image

        start, stop = self._offsets[self._places[index]:][:2]
        try:
            with Image.open(io.BytesIO(self._bytes[start:stop].tobytes())) as image:
                pixels = np.array(image.convert("RGB"))
        except Exception as error:  # Pillow's decoders raise a dozen kinds
            raise OSError(f"image {self.name(index)} of {self.path}: damaged ({error}); copy the file again") from error
        if pixels.shape != (SIZE, SIZE, 3):
            raise OSError(f"image {self.name(index)} of {self.path}: is {pixels.shape[1]} x {pixels.shape[0]} pixels; "
                          f"expected {SIZE} x {SIZE}")
        return pixels, self.mask(index)


def _read_part(path: Path, part: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(bytes, offsets, labels) of the training or of the test images."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give the folder that holds it")
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as npz:
            data, offsets, labels = (npz[f"{part}_{what}"] for what in ("bytes", "offsets", "labels"))
    except Exception as error:  # for a damaged file, zipfile, zlib and numpy raise almost anything
        raise ValueError(f"{path}: damaged, or not CIFAR-10 as JPEGs in one file ({error})") from error
    if data.dtype != np.uint8 or offsets.dtype.kind != "i" or labels.dtype.kind not in "iu" \
            or {data.ndim, offsets.ndim, labels.ndim} != {1} or len(offsets) != len(labels) + 1 or offsets[0] != 0 \
            or offsets[-1] != len(data) or (np.diff(offsets) <= 0).any():
        raise ValueError(f"{path}: {part}_offsets do not cut {part}_bytes into one piece for each of {part}_labels")
    if not np.isin(labels, range(len(CLASSES))).all():
        raise ValueError(f"{path}: {part}_labels holds other than 0 to {len(CLASSES) - 1}")
    return data, offsets, labels


def _turns(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places in the file, the classes taking turns, and for each which share of its class comes before it.

    >>> places, shares = _turns(np.array([0, 0, 1, 1]))
    >>> places.tolist(), shares.tolist()
    ([0, 2, 1, 3], [0.0, 0.0, 0.5, 0.5])
    """
    counts = np.bincount(labels, minlength=len(CLASSES))
    by_class = np.argsort(labels, kind="stable")
    rank = np.empty(len(labels), np.int64)                                   # within its class
    rank[by_class] = np.concatenate([np.arange(count) for count in counts])
    places = np.lexsort((labels, rank))
    return places, (rank / counts[labels])[places]
