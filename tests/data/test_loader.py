"""Batches: the same at every number of workers, errors that arrive with a name, threads that end."""
from __future__ import annotations

import threading

import numpy as np
import pytest

from tinyseg.data import DataLoader, Dataset, Scenes
from tinyseg.data.palette import VOC_PALETTE
from tinyseg.data.transforms import ColorJitter, Compose, Normalize, RandomCrop, RandomHorizontalFlip, normalize


class Numbered(Dataset):
    """Item i is an image and a mask full of i; items in `broken` raise `error`."""

    def __init__(self, length, transform=None, broken=(), error=ValueError("cannot be read")):
        super().__init__(["a"], VOC_PALETTE, transform)
        self.length, self.broken, self.error = length, broken, error

    def __len__(self):
        return self.length

    def name(self, index):
        return f"picture {index}"

    def read(self, index):
        if index in self.broken:
            raise self.error
        return np.full((4, 5, 3), index, np.uint8), np.full((4, 5), index, np.uint8)


def loader_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("tinyseg-loader")]


def order(loader):
    return [masks[:, 0, 0].tolist() for _, masks in loader]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches(workers):
    loader = DataLoader(Numbered(7), 3, workers=workers)
    assert len(loader) == 3 and order(loader) == [[0, 1, 2], [3, 4, 5], [6]]
    images, masks = next(iter(loader))
    assert images.shape == (3, 3, 4, 5) and images.dtype == np.float32 and images.flags.c_contiguous
    assert masks.shape == (3, 4, 5) and masks.dtype == np.uint8
    np.testing.assert_array_equal(images[2], normalize(np.full((4, 5, 3), 2, np.uint8)))
    assert order(DataLoader(Numbered(7), 3, drop_last=True, workers=workers)) == [[0, 1, 2], [3, 4, 5]]
    assert order(DataLoader(Numbered(2), 3, workers=workers)) == [[0, 1]]


def test_shuffle_is_a_function_of_seed_and_epoch():
    def epochs(seed):
        loader = DataLoader(Numbered(20), 20, shuffle=True, seed=seed)
        return [order(loader)[0] for _ in range(3)]

    first = epochs(0)
    assert first == epochs(0) and first != epochs(1)
    assert len(set(map(tuple, first))) == 3 and all(sorted(one) == list(range(20)) for one in first)


def test_order_and_random_transforms_are_the_same_at_every_number_of_workers():
    transform = Compose([RandomCrop(24), RandomHorizontalFlip(), ColorJitter(), Normalize()])
    passes = [[*DataLoader(Scenes(10, 32, transform=transform), 4, shuffle=True, workers=workers, prefetch=prefetch)]
              for workers, prefetch in [(0, 1), (1, 1), (1, 5), (2, 1), (4, 2)]]
    for other in passes[1:]:
        for one, two in zip(passes[0], other, strict=True):
            np.testing.assert_array_equal(one[0], two[0])
            np.testing.assert_array_equal(one[1], two[1])


def test_every_epoch_and_item_has_random_numbers_of_its_own():
    def transform(image, mask, rng):
        return image, np.full(mask.shape, rng.integers(256), np.uint8)

    loader = DataLoader(Numbered(64, transform), 64)
    first, second = order(loader)[0], order(loader)[0]
    assert len(set(first)) > 40 and first != second
    loader.set_epoch(0)
    assert order(loader)[0] == first


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pass_can_start_at_any_epoch_and_batch(workers):
    loader = DataLoader(Numbered(11), 2, shuffle=True, workers=workers)
    passes = [order(loader) for _ in range(3)]
    assert loader.epoch == 3
    loader.set_epoch(1, start_batch=4)
    assert loader.epoch == 1 and len(loader) == 6
    assert order(loader) == passes[1][4:] and order(loader) == passes[2]
    loader.epoch = 0
    assert order(loader) == passes[0]
    loader.set_epoch(0, start_batch=6)
    assert order(loader) == []


def test_an_abandoned_pass_leaves_no_threads_and_the_epoch():
    loader = DataLoader(Numbered(100), 1, workers=3)
    iterator = iter(loader)
    next(iterator)
    assert loader_threads()
    iterator.close()
    assert not loader_threads() and loader.epoch == 0
    for _ in loader:
        break
    assert not loader_threads()
    assert len(order(loader)) == 100 and not loader_threads()


def test_batches_are_prepared_ahead_but_not_without_limit():
    ready = threading.Semaphore(0)

    class Counted(Numbered):
        def read(self, index):
            ready.release()
            return super().read(index)

    iterator = iter(DataLoader(Counted(50), 1, workers=2, prefetch=3))
    next(iterator)
    for _ in range(7):                                                      # the one given out, and 2 x 3 ahead
        assert ready.acquire(timeout=10)
    assert not ready.acquire(timeout=0.05)
    iterator.close()


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("error, raised, message", [
    (ValueError("bad label"), ValueError, "picture 5: bad label"),
    (TypeError("bad type"), TypeError, "picture 5: bad type"),
    (FileNotFoundError("gone"), OSError, "picture 5: gone"),
    (ZeroDivisionError(), RuntimeError, "picture 5: ZeroDivisionError"),
    (OSError("picture 5: truncated"), OSError, "picture 5: truncated"),
])
def test_errors_arrive_with_the_items_name(workers, error, raised, message):
    loader = DataLoader(Numbered(9, broken={5}, error=error), 2, workers=workers)
    iterator = iter(loader)
    assert [next(iterator)[1][0, 0, 0] for _ in range(2)] == [0, 2]
    with pytest.raises(raised, match=f"^{message}$"):
        next(iterator)
    assert not loader_threads()


def test_a_list_of_pairs_is_a_dataset():
    pairs = [(np.full((3, 2, 2), i, np.float64), np.full((2, 2), i, np.int64)) for i in range(3)]
    images, masks = next(iter(DataLoader(pairs, 3)))
    assert images.dtype == np.float32 and images[2, 0, 0, 0] == 2
    assert masks.dtype == np.uint8 and masks[2, 0, 0] == 2


@pytest.mark.parametrize("pair, message", [
    ((np.zeros((4, 5, 3), np.uint8), np.zeros((4, 6), np.uint8)), r"item 0: image .* and mask \(4, 6\) do not fit"),
    ((np.zeros((4, 5, 3), np.float32), np.zeros((4, 5), np.uint8)), r"item 0: image \(4, 5, 3\) and mask"),
    ((np.zeros((4, 5, 3), np.uint8), np.full((4, 5), 256)), "item 0: mask: expects integers from 0 to 255, got"),
    ((np.zeros((4, 5, 3), np.uint8), np.full((4, 5), -1)), "item 0: mask: expects integers"),
    ((np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5))), "item 0: mask: expects integers"),
])
def test_pairs_that_are_none(pair, message):
    with pytest.raises(ValueError, match=message):
        next(iter(DataLoader([pair], 1)))


def test_items_of_different_shapes_in_one_batch():
    pairs = [(np.zeros((height, 5, 3), np.uint8), np.zeros((height, 5), np.uint8)) for height in (4, 4, 6)]
    assert len([*DataLoader(pairs, 2)]) == 2
    with pytest.raises(ValueError, match=r"item 2 is \(3, 6, 5\) but item 0 is \(3, 4, 5\); .* RandomCrop or Resize"):
        next(iter(DataLoader(pairs, 3)))


@pytest.mark.parametrize("options, message", [
    ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
    ({"batch_size": 1, "workers": -1}, "workers must be at least 0"),
    ({"batch_size": 1, "prefetch": 0}, "prefetch must be at least 1"),
    ({"batch_size": 1, "seed": -5}, "seed must be at least 0"),
    ({"batch_size": 9, "drop_last": True}, "7 items make no full batch of 9"),
])
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DataLoader(Numbered(7), **options)


def test_an_empty_dataset_and_a_batch_beyond_the_end_are_refused():
    with pytest.raises(ValueError, match="the dataset is empty"):
        DataLoader([], 1)
    loader = DataLoader(Numbered(7), 3)
    for epoch, start_batch in [(-1, 0), (0, -1), (0, 4)]:
        with pytest.raises(ValueError, match="start_batch in 0 … 3"):
            loader.set_epoch(epoch, start_batch)
