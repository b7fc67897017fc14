"""Batches, prepared in background threads while the network trains on the one before."""

from __future__ import annotations

from collections import deque
from typing import Iterator, Protocol

import numpy as np

from .dataset import Dataset, Pair
from .transforms import normalize


class PairSequence(Protocol):
    """Anything with a length whose items are (image, mask)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Pair: ...


class DataLoader:
    """Iterate over a dataset in batches: images (N, C, H, W) float32 and masks (N, H, W) uint8.

    dataset: a `Dataset`, or anything with `__len__` and `__getitem__` that gives (image, mask). An image that is still
        (H, W, 3) uint8 is normalised with ImageNet's mean and deviation; a float image must be (C, H, W).
    shuffle: a new order in every epoch, else the dataset's own.
    drop_last: leave out the last batch if it is not full.
    workers: how many threads prepare batches; 0 prepares them in the caller's thread, when asked.
    prefetch: how many batches each thread keeps ready.

    Order and random transforms are a pure function of (`seed`, `epoch`, index): the same at every number of workers and
    after a resume. Each pass that is run to its end adds 1 to `epoch`. An error in a thread is raised in the caller,
    with the item's name; threads end with the iteration, also when it is abandoned half way.

    Raises ValueError for settings out of range, an empty dataset, or items of one batch that differ in shape.

    >>> from tinyseg.data import Scenes
    >>> for images, masks in DataLoader(Scenes(5, size=32), batch_size=2, shuffle=True):
    ...     print(images.shape, images.dtype, masks.shape, masks.dtype)
    (2, 3, 32, 32) float32 (2, 32, 32) uint8
    (2, 3, 32, 32) float32 (2, 32, 32) uint8
    (1, 3, 32, 32) float32 (1, 32, 32) uint8
    """

    def __init__(self, dataset: Dataset | PairSequence, batch_size: int, shuffle: bool = False, seed: int = 0,
                 drop_last: bool = False, workers: int = 1, prefetch: int = 2) -> None:
        for name, value, least in [("batch_size", batch_size, 1), ("seed", seed, 0), ("workers", workers, 0),
                                   ("prefetch", prefetch, 1)]:
            if value < least:
                raise ValueError(f"DataLoader: {name} must be at least {least}, got {value}")
        if len(dataset) == 0:
            raise ValueError("DataLoader: the dataset is empty")
        if drop_last and len(dataset) < batch_size:
            raise ValueError(f"DataLoader: {len(dataset)} items make no full batch of {batch_size}; lower batch_size "
                             "or set drop_last=False")
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self.workers = workers
        self.prefetch = prefetch
        self.set_epoch(0)

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Let the next pass be that of `epoch`, from batch `start_batch` on: how training resumes in mid-epoch."""
        if epoch < 0 or not 0 <= start_batch <= len(self):
            raise ValueError(f"DataLoader: epoch must be at least 0 and start_batch in 0 … {len(self)}, "
                             f"got {epoch} and {start_batch}")
        self.epoch = epoch
        self._start_batch = start_batch

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Pair]:
        epoch, start, self._start_batch = self.epoch, self._start_batch, 0
        order = self._order(epoch)
        batches = [order[i * self.batch_size:(i + 1) * self.batch_size] for i in range(start, len(self))]
        if self.workers == 0:
            for batch in batches:
                yield self._load_batch(epoch, batch)
        else:
            yield from self._load_ahead(epoch, batches)
        self.epoch = epoch + 1

    def _order(self, epoch: int) -> np.ndarray:
        if not self.shuffle:
            return np.arange(len(self.dataset))
        return self._generator(epoch).permutation(len(self.dataset))

    def _generator(self, *key: int) -> np.random.Generator:
        # a spawn key, unlike a longer list of seeds, keeps the streams of (epoch,) and (epoch, 0) apart
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))

    def _load_ahead(self, epoch: int, batches: list[np.ndarray]) -> Iterator[Pair]:
        """Batches in order, `workers * prefetch` of them in the making while the caller works on one."""
        from concurrent.futures import Future, ThreadPoolExecutor

        pending: deque[Future[Pair]] = deque()
        with ThreadPoolExecutor(self.workers, thread_name_prefix="tinyseg-loader") as pool:
            try:
                for batch in batches:
                    pending.append(pool.submit(self._load_batch, epoch, batch))
                    if len(pending) > self.workers * self.prefetch:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()

    def _load_batch(self, epoch: int, indices: np.ndarray) -> Pair:
        pairs = [self._load_item(epoch, int(index)) for index in indices]
        first_image, first_mask = pairs[0]
        for index, (image, mask) in zip(indices, pairs):
            if image.shape != first_image.shape or mask.shape != first_mask.shape:
                one, other = self._name(int(index)), self._name(int(indices[0]))
                raise ValueError(f"DataLoader: {one} is {image.shape} but {other} is {first_image.shape}; "
                                 "a batch needs one shape: add RandomCrop or Resize")
        images, masks = zip(*pairs)
        return np.stack(images), np.stack(masks)

    def _load_item(self, epoch: int, index: int) -> Pair:
        """Item `index` as (C, H, W) float32 and (H, W) uint8; an error in it gets the item's name in front."""
        try:
            if isinstance(self.dataset, Dataset):
                pair = self.dataset.load(index, self._generator(epoch, index))
            else:
                pair = self.dataset[index]
            return _to_arrays(*pair)
        except Exception as error:
            name = self._name(index)
            if name in str(error):
                raise
            kinds = (OSError, ValueError, TypeError)
            kind = next((kind for kind in kinds if isinstance(error, kind)), RuntimeError)
            raise kind(f"{name}: {str(error) or type(error).__name__}") from error

    def _name(self, index: int) -> str:
        return self.dataset.name(index) if isinstance(self.dataset, Dataset) else f"item {index}"


def _to_arrays(image: np.ndarray, mask: np.ndarray) -> Pair:
    if image.dtype == np.uint8:
        image = normalize(image)
    if image.ndim != 3 or image.shape[1:] != mask.shape:
        raise ValueError(f"image {image.shape} and mask {mask.shape} do not fit; expects (C, H, W) and (H, W)")
    if mask.dtype.kind not in "iu" or mask.min(initial=0) < 0 or mask.max(initial=0) > 255:
        raise ValueError(f"mask: expects integers from 0 to 255, got {mask.dtype} up to {mask.max(initial=0)}")
    return image.astype(np.float32, copy=False), mask.astype(np.uint8, copy=False)
