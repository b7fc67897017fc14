"""One random geometry for image and mask; masks are never blended; the random source is the one that is passed."""
from __future__ import annotations

import colorsys

import numpy as np
import pytest
from PIL import Image

from tinyseg.data.transforms import (
    FILL, ColorJitter, Compose, Normalize, RandomCrop, RandomHorizontalFlip, RandomResizedCrop, RandomScale, Resize,
    normalize, resize_image, resize_mask,
)

GEOMETRIC = [
    Resize((40, 56)), RandomScale(0.5, 2), RandomCrop((30, 20)), RandomCrop(80), RandomResizedCrop((48, 64)),
    RandomHorizontalFlip(), RandomHorizontalFlip(1),
    Compose([RandomScale(0.6, 1.5), RandomCrop((48, 64)), RandomHorizontalFlip()]),
]
RANDOM = [*GEOMETRIC[1:], ColorJitter()]


def ramp_pair(height=60, width=72):
    """Red and green are the row and the column; so is the mask, one bit of each every 8 pixels: 0 to 3."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([3 * y, 3 * x, 0 * y], axis=-1).astype(np.uint8)
    return image, (y // 8 % 2 + 2 * (x // 8 % 2)).astype(np.uint8)


@pytest.mark.parametrize("transform", GEOMETRIC, ids=str)
def test_image_and_mask_share_one_geometry(transform):
    """Where a pixel came from is read off its colour, and the mask must agree, but for the blocks' edges."""
    image, mask = ramp_pair()
    for seed in range(10):
        new_image, new_mask = transform(image, mask, np.random.default_rng(seed))
        assert new_image.shape[:2] == new_mask.shape and new_mask.dtype == np.uint8
        inside = new_mask != 255
        assert inside.any() and (new_image[~inside] == FILL).all()
        y, x = new_image[inside][:, 0] / 3, new_image[inside][:, 1] / 3
        middle = (np.abs(y % 8 - 3.5) < 2.5) & (np.abs(x % 8 - 3.5) < 2.5)
        assert middle.sum() > 30
        np.testing.assert_array_equal(new_mask[inside][middle], (y // 8 % 2 + 2 * (x // 8 % 2))[middle])


@pytest.mark.parametrize("transform", RANDOM, ids=str)
def test_randomness_is_the_generators_and_inputs_stay(transform):
    image, mask = ramp_pair()
    image.setflags(write=False)
    mask.setflags(write=False)
    state = np.random.get_state()[1].copy()
    first, again, other = (transform(image, mask, np.random.default_rng(seed)) for seed in (3, 3, 5))
    for one, two in zip(first, again):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(state, np.random.get_state()[1])
    if str(transform) != str(RandomHorizontalFlip(1)):
        assert first[0].shape != other[0].shape or (first[0] != other[0]).any()


@pytest.mark.parametrize("length", [1, 2, 3, 7, 10, 16, 33])
@pytest.mark.parametrize("new_length", [1, 2, 3, 5, 16, 21, 64])
def test_masks_are_resized_by_the_nearest_pixel_centre(length, new_length):
    mask = np.arange(length, dtype=np.uint8)[None]
    resized = resize_mask(mask, (1, new_length))[0]
    centres = (np.arange(new_length) + 0.5) * length / new_length
    assert (np.abs(resized + 0.5 - centres) <= 0.5 + 1e-9).all()
    np.testing.assert_array_equal(resize_mask(mask.T, (new_length, 1))[:, 0], resized)
    pillow = np.asarray(Image.fromarray(mask).resize((new_length, 1), Image.Resampling.NEAREST))[0]
    tie = centres == np.rint(centres)                                      # where Pillow's rounding errors decide
    np.testing.assert_array_equal(resized[~tie], pillow[~tie])


def test_resized_masks_hold_no_new_labels():
    mask = np.random.default_rng(0).choice(np.array([0, 2, 4, 255], np.uint8), (31, 47))
    image = np.repeat(mask[..., None], 3, axis=2)
    for transform in Resize((64, 20)), Resize(7), RandomScale(0.3, 3), RandomResizedCrop(40):
        new_image, new_mask = transform(image, mask, np.random.default_rng(0))
        assert set(np.unique(new_mask)) <= {0, 2, 4, 255}
        assert len(np.unique(new_image)) > 4                               # whereas the image is blended


def test_image_resize_is_bilinear():
    image = np.zeros((2, 2, 3), np.uint8)
    image[:, 1] = 100
    np.testing.assert_array_equal(resize_image(image, (4, 4))[0, :, 0], [0, 25, 75, 100])
    right_half = resize_image(image, (2, 2), window=(0, 1, 2, 1))
    np.testing.assert_array_equal(right_half[0, :, 0], [75, 100])          # its neighbours outside of it count too


def test_random_crop_reaches_every_place_and_pads_with_void():
    image, mask = ramp_pair(5, 4)
    corners = set()
    for seed in range(200):
        new_image, _ = RandomCrop((3, 2))(image, mask, np.random.default_rng(seed))
        corners.add(tuple((new_image[0, 0, :2] // 3).tolist()))
    assert corners == {(y, x) for y in range(3) for x in range(3)}

    places = set()
    for seed in range(200):
        new_image, new_mask = RandomCrop((6, 3))(image, mask, np.random.default_rng(seed))
        rows = np.flatnonzero((new_mask != 255).any(axis=1))
        assert len(rows) == 5 and (new_mask[rows] != 255).all() and new_image.shape == (6, 3, 3)
        places.add((int(rows[0]), int(new_image[rows[0], 0, 1]) // 3))
    assert places == {(y, x) for y in range(2) for x in range(2)}


def test_the_padding_is_about_zero_after_normalising():
    image, mask = ramp_pair(4, 4)
    planes, new_mask = Compose([RandomCrop(6), Normalize()])(image, mask, np.random.default_rng(0))
    assert np.abs(planes[:, new_mask == 255]).max() < 0.01


def test_random_resized_crop_keeps_within_scale_and_ratio():
    """Colours run along the sides, so their range is the window."""
    image, mask = ramp_pair(80, 84)
    shares, ratios = [], []
    for seed in range(100):
        crop, _ = RandomResizedCrop(64, scale=(0.3, 0.6), ratio=(0.7, 1.4))(image, mask, np.random.default_rng(seed))
        height, width = (np.ptp(crop[..., channel].astype(float)) / 3 + 1 for channel in (0, 1))
        shares.append(height * width / mask.size)
        ratios.append(width / height)
    assert 0.27 < min(shares) < 0.4 and 0.5 < max(shares) < 0.63
    assert 0.65 < min(ratios) < 0.8 and 1.25 < max(ratios) < 1.5


def test_flip_mirrors_both():
    image, mask = ramp_pair()
    flipped = RandomHorizontalFlip(1)(image, mask, np.random.default_rng(0))
    np.testing.assert_array_equal(flipped[0], image[:, ::-1])
    np.testing.assert_array_equal(flipped[1], mask[:, ::-1])
    rng = np.random.default_rng(0)
    count = sum((RandomHorizontalFlip(0.3)(image, mask, rng)[0] != image).any() for _ in range(400))
    assert 90 < count < 150


def jittered(image, **strengths):
    """`image` after a jitter of only these strengths, and the random number in −1 … 1 that decided it."""
    strengths = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0, **strengths}
    rng = np.random.default_rng(7)
    new_image, _ = ColorJitter(**strengths)(image, np.zeros(image.shape[:2], np.uint8), rng)
    rng = np.random.default_rng(7)
    draws = dict(zip(["brightness", "contrast", "saturation"], rng.uniform(-1, 1, 3)), hue=rng.uniform(-1, 1))
    return new_image.astype(float), draws[next(name for name in strengths if strengths[name])]


def test_color_jitter_is_what_its_names_say():
    image = np.random.default_rng(0).integers(90, 150, (8, 8, 3), dtype=np.uint8)
    luma = image @ [0.299, 0.587, 0.114]
    new, draw = jittered(image, brightness=0.5)
    np.testing.assert_allclose(new, image * (1 + 0.5 * draw), atol=0.51)
    new, draw = jittered(image, contrast=0.5)
    np.testing.assert_allclose(new, luma.mean() + (image - luma.mean()) * (1 + 0.5 * draw), atol=0.51)
    new, draw = jittered(image, saturation=0.5)
    np.testing.assert_allclose(new, luma[..., None] + (image - luma[..., None]) * (1 + 0.5 * draw), atol=0.51)
    np.testing.assert_array_equal(ColorJitter(0, 0, 0, 0)(image, luma, np.random.default_rng(0))[0], image)


def test_color_jitter_turns_the_hue():
    image = np.full((1, 1, 3), (150, 80, 80), np.uint8)
    new, draw = jittered(image, hue=0.1)
    before, after = (colorsys.rgb_to_hsv(*pixels[0, 0] / 255) for pixels in (image, new))
    assert abs((after[0] - before[0] - 0.1 * draw + 0.5) % 1 - 0.5) < 0.01
    assert abs(new.sum() - image.sum()) <= 2                               # the grey axis is the axis of the turn


def test_color_jitter_leaves_the_mask():
    image, mask = ramp_pair()
    assert ColorJitter()(image, mask, np.random.default_rng(0))[1] is mask


def test_normalize():
    image, mask = ramp_pair(5, 6)
    planes, same = Normalize()(image, mask, np.random.default_rng(0))
    expected = (image / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    assert planes.dtype == np.float32 and planes.flags.c_contiguous and same is mask
    np.testing.assert_allclose(planes, expected.transpose(2, 0, 1), atol=1e-6)
    np.testing.assert_allclose(normalize(image, (0, 0, 0), (1, 1, 1)), image.transpose(2, 0, 1) / 255, atol=1e-7)


@pytest.mark.parametrize("make", [
    lambda: Resize(0), lambda: RandomCrop((3, -1)), lambda: RandomCrop((1, 2, 3)), lambda: RandomCrop(2.5),
    lambda: RandomScale(0, 1), lambda: RandomScale(2, 1), lambda: RandomResizedCrop(8, scale=(0.5, 1.5)),
    lambda: RandomResizedCrop(8, ratio=(2, 1)), lambda: RandomHorizontalFlip(1.1), lambda: ColorJitter(hue=0.6),
    lambda: ColorJitter(contrast=-0.1), lambda: Normalize(mean=(0, 0)), lambda: Normalize(std=(1, 1, 0)),
])
def test_settings_out_of_range_are_refused(make):
    with pytest.raises(ValueError):
        make()


def test_misfits_are_refused_with_the_transforms_name():
    image, mask = ramp_pair()
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"RandomCrop: image \(60, 72, 3\) and mask \(60, 70\) differ in size"):
        RandomCrop(8)(image, mask[:, :70], rng)
    with pytest.raises(ValueError, match=r"RandomCrop: expects .* got \(3, 60, 72\) float32; Normalize comes last"):
        Compose([Normalize(), RandomCrop(8)])(image, mask, rng)
    with pytest.raises(ValueError, match="normalize: expects an image"):
        normalize(image[..., :2])
