"""Memory that is used again: never while anybody can see it, and never much more than is needed."""
import ctypes
import gc
import threading

import numpy as np
import pytest

import tinyseg as ts
from tinyseg import buffers

SHAPE = (64, 1024)                        # 256 KiB of float32
MIB = 1 << 20


@pytest.fixture
def pool(monkeypatch):
    """A pool of our own, in which nothing lies about."""
    monkeypatch.setattr(buffers, "POOL", buffers.Pool())
    return buffers.POOL


def address(array):
    return array.ctypes.data


def test_an_array_is_as_numpys(pool):
    for shape, dtype in [(SHAPE, np.float32), ((3, 5), np.int64), ((0, 7), np.float32), ((1 << 18,), bool)]:
        array = buffers.empty(shape, dtype)
        assert array.shape == shape and array.dtype == dtype
        assert array.flags.c_contiguous and array.flags.writeable and array.flags.aligned
        array[...] = 1
        assert (array == 1).all() and buffers.empty_like(array.T).shape == shape[::-1]


def test_large_arrays_begin_at_a_cache_line(pool):
    sizes = 1 << 17, 1 << 20, (1 << 22) + 4
    assert all(address(buffers.empty((size,), np.float32)) % buffers.LINE == 0 for size in sizes)


def test_memory_comes_back_when_an_array_is_gone(pool):
    first = buffers.empty(SHAPE, np.float32)
    where = address(first)
    del first
    assert address(buffers.empty(SHAPE, np.float32)) == where
    assert address(buffers.empty(SHAPE[::-1], np.int32)) == where, "bytes are what counts"
    smaller = buffers.empty((48, 1024), np.float32)
    assert address(smaller) == where and address(buffers.empty((16, 2048), np.float32)) != where, "it is lent once"
    del smaller
    assert address(buffers.empty((200, 200), np.float32)) == where
    assert address(buffers.empty((180, 180), np.float32)) != where, "half of it would be idle"


@pytest.mark.parametrize("see", [
    lambda a: a[3:, ::2], lambda a: a.reshape(-1)[5:].T, lambda a: memoryview(a), lambda a: iter(a),
    lambda a: np.lib.stride_tricks.sliding_window_view(a, (2, 2)), lambda a: ts.Tensor(a), lambda a: a.flat,
    lambda a: np.frombuffer(a, np.uint8)[4:], lambda a: np.ndarray((5, 5), np.int16, a)[1], lambda a: a.view(np.recarray).T,
], ids=["slice", "reshape", "memoryview", "iterator", "windows", "tensor", "flat", "buffer", "array", "subclass"])
def test_memory_stays_with_whoever_can_see_it(pool, see):
    array = buffers.empty(SHAPE, np.float32)
    where, seen = address(array), see(array)
    del array
    assert address(buffers.empty(SHAPE, np.float32)) != where
    del seen
    pool.collect()
    assert where in map(ctypes.addressof, pool.idle)


def test_what_lies_about_is_bounded_by_what_was_needed(pool):
    def held():
        pool.collect()
        return pool.lent + sum(map(len, pool.idle))

    sizes = 1, 3, 2, 7, 3, 16, 5, 40, 1, 90                   # one at a time: most of them could lie about
    for i, size in enumerate(sizes):
        buffers.empty((size * MIB,), np.uint8)
        assert pool.most == max(sizes[:i + 1]) * MIB
        assert held() <= buffers.SPARE * pool.most
    many = [buffers.empty((MIB,), np.uint8) for _ in range(200)]
    assert held() <= buffers.SPARE * pool.most
    del many
    assert held() <= buffers.SPARE * 200 * MIB and pool.lent == 0


def test_when_memory_is_short_nothing_is_counted(pool):
    with pytest.raises(MemoryError):
        buffers.empty((1 << 60,), np.uint8)
    assert pool.lent == 0 and buffers.empty(SHAPE, np.float32).size


def test_threads_never_share_a_block(pool):
    def use(number, wrong):
        for _ in range(300):
            array = buffers.empty(SHAPE, np.float32)
            array[...] = number
            if not (array == number).all():
                wrong.append(number)

    wrong = []
    threads = [threading.Thread(target=use, args=(number, wrong)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pool.collect()
    assert not wrong and pool.lent == 0 and 1 <= len(pool.idle) <= 8


def test_a_second_training_step_allocates_almost_nothing(pool, rng, monkeypatch):
    model = ts.models.UNet(3, width=8, depth=2)
    images, masks = rng.standard_normal((2, 3, 96, 96)).astype(np.float32), rng.integers(0, 3, (2, 96, 96))
    new, made = buffers.Pool.new, []
    monkeypatch.setattr(buffers.Pool, "new", lambda self, size: made.append(size) or new(self, size))

    def step():
        made.clear()
        loss = ts.functional.cross_entropy(model(ts.Tensor(images)), ts.Tensor(masks))
        loss.backward()
        del loss
        gc.collect()
        return sum(made)

    first, second, third = (step() for _ in range(3))
    assert first > 4 * MIB and second < 0.1 * first and third == 0
