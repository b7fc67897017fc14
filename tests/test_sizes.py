from fractions import Fraction

import numpy as np
import pytest

from tinyseg import Tensor, functional, no_grad
from tinyseg.sizes import (CoordinateMap, checkerboard, conv_map, conv_transpose_map, conv_transpose_output,
                           crop_offset, overlaps)

IMAGE = CoordinateMap()


# Coordinate maps ------------------------------------------------------------------------------------------------------

def vgg16(padding):
    """Maps to the image of pool3, pool4 and fc7 of the VGG-16 in FCN."""
    x, pools = conv_map(3, p=padding), []
    for stage, convolutions in enumerate((1, 2, 3, 3, 3)):             # conv1_1 has been done
        for _ in range(convolutions):
            x = x.then(conv_map(3, p=1))
        x = x.then(conv_map(2, s=2))
        pools.append(x)
    return pools[2], pools[3], x.then(conv_map(7))


def test_the_crops_of_the_fcns():
    """Caffe's networks: 32s crops 19; 16s 5 and 27; 8s 5, 9 and 31."""
    pool3, pool4, score_fr = vgg16(padding=100)
    assert crop_offset(score_fr.then(conv_transpose_map(64, s=32)), IMAGE) == 19
    upscore2 = score_fr.then(conv_transpose_map(4, s=2))
    assert crop_offset(pool4, upscore2) == 5
    assert crop_offset(upscore2.then(conv_transpose_map(32, s=16)), IMAGE) == 27
    upscore_pool4 = upscore2.then(conv_transpose_map(4, s=2))
    assert crop_offset(pool3, upscore_pool4) == 9
    assert crop_offset(upscore_pool4.then(conv_transpose_map(16, s=8)), IMAGE) == 31


@pytest.mark.parametrize("k, s, p, d", [(3, 1, 0, 1), (7, 2, 3, 1), (2, 2, 0, 1), (5, 3, 1, 2), (4, 3, 2, 1)])
def test_a_map_is_where_the_weight_of_a_pixel_lies(k, s, p, d):
    """The centre of mass of what a convolution of ones sees, and of what its transpose writes to."""
    x = Tensor(np.zeros((1, 1, 41, 1)), requires_grad=True)
    ones = np.ones((1, 1, k, 1))
    settings = {"stride": (s, 1), "padding": (p, 0), "dilation": (d, 1)}
    y = functional.conv2d(x, ones, **settings)
    pixel = y.shape[2] // 2
    y[0, 0, pixel, 0].backward()
    seen = np.flatnonzero(x.grad)
    assert conv_map(k, s, p, d)(pixel) == Fraction(int(seen.sum()), seen.size)

    x = np.zeros((1, 1, 9, 1))
    x[0, 0, 4] = 1
    with no_grad():
        written = np.flatnonzero(functional.conv_transpose2d(x, ones, **settings).numpy())
    assert conv_transpose_map(k, s, p, d)(Fraction(int(written.sum()), written.size)) == 4


def test_composition_and_inverse():
    a, b = conv_map(7, s=2, p=3), conv_transpose_map(5, s=3, p=1)
    assert a.then(b)(11) == a(b(11)) and b.then(a)(11) == b(a(11))
    assert a.then(a.inverse()) == a.inverse().then(a) == b.then(b.inverse()) == IMAGE
    assert conv_transpose_map(3, s=3).scale == Fraction(1, 3)             # exact, unlike 1/3


def test_a_crop_may_be_between_pixels_and_needs_equal_steps():
    assert crop_offset(conv_map(2, s=2), IMAGE.then(conv_map(1, s=2))) == Fraction(-1, 4)
    with pytest.raises(ValueError, match="crop_offset: pixels 2 and 1 apart do not lie on each other"):
        crop_offset(conv_map(2, s=2), IMAGE)


# Checkerboard ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("k, s, counts", [(3, 2, {1, 2, 4}), (4, 2, {4}), (5, 2, {4, 6, 9}), (2, 2, {1}), (6, 3, {4}),
                                          (1, 2, {0, 1})])
def test_overlaps_of_odena_dumoulin_and_olah(k, s, counts):
    assert {n for row in checkerboard(k, s) for n in row} == counts


@pytest.mark.parametrize("k", [(1, 2), (3, 5), (4, 4), (7, 2)])
@pytest.mark.parametrize("s", [(1, 2), (2, 3), (4, 1)])
@pytest.mark.parametrize("d", [(1, 1), (2, 3)])
def test_the_checkerboard_is_what_ones_make(k, s, d):
    """A transposed convolution of ones with ones, away from the border."""
    with no_grad():
        x, kernel = np.ones((1, 1, 30, 30)), np.ones((1, 1, *k))
        y = functional.conv_transpose2d(x, kernel, stride=s, dilation=d).numpy()[0, 0]
    assert y.shape[0] == conv_transpose_output(30, k[0], s[0], d=d[0])
    top, left = (s[a] * 20 for a in (0, 1))
    np.testing.assert_array_equal(y[top:top + s[0], left:left + s[1]], checkerboard(k, s, d))
    assert checkerboard(k, s, d)[0] == tuple(overlaps(k[0], s[0], d[0])[0] * n for n in overlaps(k[1], s[1], d[1]))


@pytest.mark.parametrize("arguments", [(0, 2), (3, 0), (3, 2, 0), ((3, 3, 3), 2)])
def test_impossible_windows(arguments):
    with pytest.raises(ValueError, match="checkerboard: "):
        checkerboard(*arguments)
