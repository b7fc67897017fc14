"""The table of algorithms, and the switch."""
import numpy as np
import pytest

import tinyseg as ts
from tinyseg import backends
from tinyseg.kernels import simd


def work(size=32, dtype=np.float32, **changes):
    shapes = dict(image=(1, 3, size, size), weight=(3, 3, 3, 3), output=(1, 3, size, size))     # channels for no vector
    settings = dict(task="conv2d", geometry=(1, 1, 1, 1, 1, 1), itemsize=np.dtype(dtype).itemsize)
    return backends.Work(**(shapes | settings | changes))


def test_large_images_run_on_tiles_and_small_ones_do_not():
    expected = "direct" if simd.COMPILED else "im2col"
    assert backends.conv2d.algorithm(work()).name == expected
    assert backends.conv2d.algorithm(work(size=1)).name == "im2col"


def deep(task="conv2d", channels=64, **changes):
    image = (1, channels, 32, 32)
    return work(**dict(task=task, image=image, weight=(channels, channels, 3, 3), output=image) | changes)


@pytest.mark.skipif(not simd.COMPILED, reason="all is im2col")
def test_dense_3x3_convolutions_are_winograds_where_that_is_less_work():
    assert [backends.conv2d.algorithm(w).name for w in [
        deep(), deep("conv2d_input_grad"), deep("conv2d_weight_grad"), deep("conv2d_weight_grad", channels=256),
        deep(channels=512), deep(itemsize=8), deep(geometry=(1, 33, 0, 33, 1, 33)),
        deep(geometry=(2, 2, 1, 1, 1, 1), output=(1, 64, 16, 16)),
    ]] == ["winograd4"] * 3 + ["winograd2"] * 2 + ["direct", "taps", "strided"]


@pytest.mark.skipif(not simd.COMPILED, reason="all is im2col")
def test_few_channels_are_winograds_along_columns_where_rows_are_whole_vectors_in_pairs():
    def chosen(size=32, outputs=16, channels=3, groups=1, **changes):
        images = {name: (1, groups * n, size, size) for name, n in (("image", channels), ("output", outputs))}
        return backends.conv2d.algorithm(work(**dict(weight=(groups * outputs, channels, 3, 3), **images) | changes)).name

    assert chosen() == chosen(outputs=8) == chosen(task="conv2d_weight_grad") == chosen(groups=4) == "winograd2x1"
    assert chosen(channels=8, groups=2, task="conv2d_input_grad") == "winograd2x1"
    assert [chosen(size=31), chosen(size=34), chosen(outputs=7), chosen(itemsize=8), chosen(geometry=(1, 1, 2, 2, 2, 2)),
            chosen(task="conv2d_input_grad"), chosen(outputs=lanes() + 1, task="conv2d_weight_grad")] == ["direct"] * 7


def lanes():
    return simd.lanes_of(np.empty(0, np.float32))


@pytest.mark.skipif(not simd.COMPILED, reason="all is im2col")
def test_dilated_convolutions_are_winograds_up_to_where_most_of_a_tile_is_around_the_image():
    image = dict(image=(1, 128, 45, 60), weight=(256, 128, 3, 3), output=(1, 256, 45, 60))
    chosen = [backends.conv2d.algorithm(work(geometry=(1, 1, d, d, d, d), **image)).name for d in (6, 12, 18, 24, 36)]
    assert chosen == ["winograd4"] * 3 + ["taps"] * 2


@pytest.mark.skipif(not simd.COMPILED, reason="all is im2col")
def test_kernels_grow_only_where_enough_pixels_share_them():
    shapes = [dict(image=(batch, 64, 4, 4), output=(batch, 64, 4, 4)) for batch in (1, 8, 32)]
    few = "taps" if 4 % lanes() else "winograd2x1"                              # with vectors of 4, rows are whole ones
    assert [backends.conv2d.algorithm(deep(**shape)).name for shape in shapes] == [few, "winograd2", "winograd4"]


@pytest.mark.skipif(not simd.COMPILED, reason="all is im2col")
def test_taps_that_share_no_pixel_are_a_product():
    def chosen(kernel, stride, padding=0, channels=64, size=32, out=None, task="conv2d", outputs=65):
        out = out or size // stride
        shapes = dict(image=(1, channels, size, size), weight=(outputs, channels, kernel, kernel),
                      output=(1, outputs, out, out))
        return backends.conv2d.algorithm(work(task=task, geometry=(stride, stride, padding, padding, 1, 1), **shapes)).name

    assert chosen(1, 1) == chosen(1, 2) == chosen(2, 2) == chosen(2, 2, task="conv2d_input_grad") == "product"
    assert chosen(2, 2, size=33, out=16) == "strided"                           # the last row is under no tap, and not reached
    assert chosen(2, 2, size=31, out=16) == "strided" and chosen(1, 1, out=33) == "direct"       # padding at the bottom alone
    assert chosen(3, 2, padding=1) == "strided" and chosen(1, 1, padding=1, out=34) == "direct"
    assert chosen(1, 1, size=1) == "im2col"
    assert chosen(1, 1, channels=4, task="conv2d_weight_grad") == "product"
    assert chosen(1, 1, channels=4, size=31, task="conv2d_weight_grad") == "direct"     # no vectors of channels, nor of pixels
    assert chosen(2, 2, channels=1, task="conv2d_weight_grad") == "strided"
    few = dict(kernel=2, stride=2, outputs=63)                                  # sorting pixels would take longer than that
    assert chosen(**few) == chosen(1, 2, outputs=64) == chosen(2, 2, outputs=64, task="conv2d_weight_grad") == "strided"
    assert chosen(**few, task="conv2d_input_grad") == chosen(1, 1, outputs=63) == chosen(2, 2, outputs=64) == "product"


@pytest.mark.skipif(not simd.COMPILED, reason="all is im2col")
def test_at_a_stride_vectors_run_over_what_is_computed_if_that_fills_them():
    def chosen(channels=64, task="conv2d", size=16, **changes):
        shapes = dict(image=(1, channels, 2 * size, 2 * size), weight=(64, channels, 3, 3), output=(1, 64, size, size))
        return backends.conv2d.algorithm(work(**dict(task=task, geometry=(2, 2, 1, 1, 1, 1), **shapes) | changes)).name

    assert chosen() == chosen(2) == chosen(2, "conv2d_weight_grad") == chosen(task="conv2d_input_grad") == "strided"
    assert chosen(2, "conv2d_input_grad") == chosen(weight=(64, 32, 3, 3)) == chosen(geometry=(1, 1, 1, 1, 1, 1),
                                                                                     itemsize=8) == "direct"
    assert chosen(size=2, geometry=(2, 2, 0, 0, 1, 1), output=(1, 64, 1, 1)) == "im2col"


@pytest.mark.skipif(not simd.COMPILED, reason="all is im2col")
def test_convolutions_that_see_many_zeros_go_tap_by_tap():
    small = dict(image=(1, 64, 4, 4), weight=(64, 64, 7, 7), output=(1, 64, 4, 4), geometry=(1, 1, 3, 3, 1, 1))
    assert [backends.conv2d.algorithm(w).name for w in [
        deep(geometry=(1, 1, 13, 13, 13, 13)), deep("conv2d_input_grad", geometry=(1, 1, 24, 24, 24, 24)), work(**small),
        work(**small | {"task": "conv2d_weight_grad", "weight": (64, 8, 7, 7)}),                     # groups
        deep(geometry=(1, 1, 8, 8, 8, 8), channels=3),
    ]] == ["taps"] * 3 + ["direct"] * 2


@pytest.mark.skipif(not simd.COMPILED, reason="all is im2col")
def test_accurate_loses_no_digit():
    with ts.backends.conv2d("accurate"):
        assert backends.conv2d.algorithm(deep()).name == "winograd2"
        assert backends.conv2d.algorithm(work()).name == "direct"


def test_a_setting_holds_within_its_context_and_gives_the_same_result(rng):
    x, w = rng.standard_normal((1, 3, 32, 32)), rng.standard_normal((3, 3, 3, 3))
    fast = ts.functional.conv2d(x, w, padding=1).numpy()
    with ts.backends.conv2d("im2col"):
        assert backends.conv2d.algorithm(work()).name == "im2col"
        np.testing.assert_allclose(ts.functional.conv2d(x, w, padding=1).numpy(), fast, rtol=1e-12, atol=1e-12)
    assert backends.conv2d.setting == "fast"


def test_the_setting_comes_back_after_an_error():
    with pytest.raises(RuntimeError), ts.backends.conv2d("im2col"):
        raise RuntimeError
    assert backends.conv2d.setting == "fast"


def test_an_unknown_setting_is_refused_by_name():
    with pytest.raises(ValueError, match="no setting 'cudnn'; expected one of 'fast', 'accurate', 'depthwise'"):
        backends.conv2d.use("cudnn")


def test_the_table_shows_every_algorithm_with_its_reason():
    table = str(backends.conv2d)
    for algorithm in backends.CONV2D:
        assert algorithm.name in table and algorithm.where in table and algorithm.why in table
