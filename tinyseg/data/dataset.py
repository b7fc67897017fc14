"""What a dataset is: numbered pairs of an image and its mask."""

from __future__ import annotations

from typing import Callable

import numpy as np

Pair = tuple[np.ndarray, np.ndarray]
PairTransform = Callable[[np.ndarray, np.ndarray, np.random.Generator], Pair]


class Dataset:
    """Base class: a subclass writes `__len__`, `name` and `read`.

    `dataset[i]` is (image, mask): image (H, W, 3) uint8 RGB and mask (H, W) uint8 with 255 = void, or whatever
    `transform(image, mask, rng)` makes of them. Nothing depends on a global random state: `dataset[i]` is always the
    same pair, and a `DataLoader`, which wants fresh random crops every epoch, calls `load` with a generator of its own.

    classes: the names of the classes; their positions are the labels.
    palette: the colours of the classes, (256, 3) uint8.
    """

    def __init__(self, classes: list[str], palette: np.ndarray, transform: PairTransform | None = None) -> None:
        self.classes = classes
        self.palette = palette
        self.transform = transform

    @property
    def num_classes(self) -> int:
        """The number of classes, background included."""
        return len(self.classes)

    def __len__(self) -> int:
        raise NotImplementedError

    def name(self, index: int) -> str:
        """What errors and file names call item `index`."""
        raise NotImplementedError

    def read(self, index: int) -> Pair:
        """Item `index` before any transform: image (H, W, 3) uint8 and mask (H, W) uint8."""
        raise NotImplementedError

    def mask(self, index: int) -> np.ndarray:
        """The mask of item `index` before any transform: for counting classes without reading images."""
        return self.read(index)[1]

    def load(self, index: int, rng: np.random.Generator) -> Pair:
        """Item `index`, transformed with the randomness of `rng`."""
        image, mask = self.read(index)
        return self.transform(image, mask, rng) if self.transform else (image, mask)

    def __getitem__(self, index: int) -> Pair:
        """Item `index` (negative: from the end), transformed with a generator seeded by the index."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"item {index} of a dataset of {len(self)} items")
        index %= len(self)
        return self.load(index, np.random.default_rng(index))
