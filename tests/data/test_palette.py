"""Masks are read and written as class indices; colours are only for the eye."""
from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from tinyseg.data import palette
from tinyseg.data.palette import OKABE_ITO, VOC_PALETTE, check_mask, colorize, from_colors, overlay, read_mask, write_mask

MASK = np.array([[0, 1, 2, 255], [20, 15, 128, 254]], np.uint8)


def test_voc_colormap_has_the_published_colours():
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 4: (0, 0, 128), 7: (128, 128, 128),
             8: (64, 0, 0), 15: (192, 128, 128), 20: (0, 64, 128), 255: (224, 224, 192)}
    assert {index: tuple(VOC_PALETTE[index].tolist()) for index in known} == known
    assert len(np.unique(VOC_PALETTE, axis=0)) == 256
    assert len(palette.VOC_CLASSES) == 21


def test_voc_colormap_is_the_one_of_voc_masks(shared_data):
    masks = sorted((shared_data("voc-sample") / "SegmentationClass").glob("*.png"))
    assert masks
    for path in masks:
        np.testing.assert_array_equal(palette.read_palette(path), VOC_PALETTE)


def test_okabe_ito_has_the_published_colours():
    expected = ["000000", "e69f00", "56b4e9", "009e73", "f0e442", "0072b2", "d55e00", "cc79a7"]
    assert [bytes(colour).hex() for colour in OKABE_ITO[:8]] == expected
    assert OKABE_ITO[255].tolist() == [255, 255, 255]
    np.testing.assert_array_equal(OKABE_ITO[8:255], VOC_PALETTE[8:255])


@pytest.mark.parametrize("red_and_green, blue", [((0.11238, 0.88762), 0.00401), ((0.29275, 0.70725), -0.02234)],
                         ids=["protanope", "deuteranope"])
def test_okabe_ito_is_told_apart_without_red_or_green(red_and_green, blue):
    """Viénot, Brettel & Mollon 1999, for sRGB."""
    def nearest(colours):
        red, green, b = np.moveaxis((colours / 255) ** 2.2, -1, 0)
        yellow = red_and_green[0] * red + red_and_green[1] * green
        seen = np.clip(np.stack([yellow, b + blue * (red - green)], axis=1), 0, 1) ** (1 / 2.2)
        return (abs(seen[:, None] - seen[None]).max(axis=2) + np.eye(len(seen))).min()

    assert nearest(OKABE_ITO[[*range(8), 255]]) > 0.09
    assert nearest(OKABE_ITO[[*range(6), 255]]) > 0.15 > nearest(VOC_PALETTE[:6])


def test_a_mask_survives_the_disk(tmp_path):
    colors = np.random.default_rng(0).integers(0, 256, (256, 3), dtype=np.uint8)
    write_mask(tmp_path / "mask.png", MASK, colors)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), MASK)
    np.testing.assert_array_equal(palette.read_palette(tmp_path / "mask.png"), colors)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "mask.png").convert("RGB")), colors[MASK])


def test_indices_come_from_the_palette_file_and_never_through_its_colours(tmp_path):
    """All colours alike: whoever goes through RGB loses the labels."""
    write_mask(tmp_path / "mask.png", MASK, np.full((256, 3), 7, np.uint8))
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), MASK)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_palette_files_of_few_bits(tmp_path, bits):
    mask = np.arange(2 ** bits, dtype=np.uint8)[None]
    image = Image.fromarray(mask)
    image.putpalette(list(range(3 * 2 ** bits)))
    image.save(tmp_path / "mask.png", bits=bits)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), mask)
    colors = palette.read_palette(tmp_path / "mask.png")
    assert colors.shape == (256, 3) and colors[1].tolist() == [3, 4, 5] and not colors[2 ** bits:].any()


def test_grey_values_are_indices(tmp_path):
    Image.fromarray(MASK).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), MASK)
    assert palette.read_palette(tmp_path / "mask.png") is None


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colours_are_refused_with_the_fix(tmp_path, mode):
    path = tmp_path / "mask.png"
    Image.new(mode, (4, 4)).save(path)
    with pytest.raises(ValueError, match=re.escape(f"mask {path}: holds colours (mode {mode})") + ".*from_colors"):
        read_mask(path)


def test_black_and_white_masks_are_refused(tmp_path):
    binary = np.array([[0, 255], [255, 0]], np.uint8)
    Image.fromarray(binary).save(tmp_path / "grey.png")
    with pytest.raises(ValueError, match="grey.png: looks like a black-and-white mask.*indices 0 and 1"):
        read_mask(tmp_path / "grey.png")
    Image.fromarray(binary > 0).save(tmp_path / "bits.png")
    with pytest.raises(ValueError, match="bits.png: is a 1-bit image"):
        read_mask(tmp_path / "bits.png")
    write_mask(tmp_path / "palette.png", binary)                # background and void: legal in a palette PNG
    np.testing.assert_array_equal(read_mask(tmp_path / "palette.png"), binary)


@pytest.mark.parametrize("value", [0, 255])
def test_a_grey_mask_of_one_value_is_legal(tmp_path, value):
    Image.new("L", (3, 3), value).save(tmp_path / "mask.png")
    assert (read_mask(tmp_path / "mask.png") == value).all()


def test_lossy_and_damaged_masks_are_refused(tmp_path):
    Image.fromarray(MASK).save(tmp_path / "mask.jpg")
    with pytest.raises(ValueError, match="JPEG"):
        read_mask(tmp_path / "mask.jpg")
    (tmp_path / "mask.png").write_bytes(b"")
    with pytest.raises(OSError, match="mask .*mask.png: the file is empty"):
        read_mask(tmp_path / "mask.png")


@pytest.mark.parametrize("mask", [MASK[0], MASK.astype(np.int64), MASK.astype(np.float32)])
def test_write_mask_refuses_what_is_no_mask(tmp_path, mask):
    with pytest.raises(TypeError, match="write_mask: expects a mask"):
        write_mask(tmp_path / "mask.png", mask)
    assert not list(tmp_path.iterdir())


def test_check_mask_names_file_label_and_count():
    mask = np.array([[0, 1, 2, 255], [3, 3, 9, 2]])
    check_mask(mask, num_classes=10)
    check_mask(np.zeros((0, 4), np.uint8), num_classes=1)
    with pytest.raises(ValueError, match=r"mask a\.png: label 3 in 2 pixels, label 9 in 1 pixels, but the 3 classes"):
        check_mask(mask, num_classes=3, name="mask a.png")
    with pytest.raises(ValueError, match="and 2 more labels"):
        check_mask(np.arange(6), num_classes=1)
    with pytest.raises(ValueError, match="label 255 in 1 pixels"):
        check_mask(mask, num_classes=10, ignore_index=100)
    with pytest.raises(ValueError, match="label -1 in 1 pixels"):
        check_mask(np.array([[-1]]), num_classes=2)
    with pytest.raises(TypeError, match="integers, got float32"):
        check_mask(mask.astype(np.float32), num_classes=10)


def test_from_colors_inverts_colorize():
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(from_colors(colorize(mask)), mask)
    repeated = np.zeros((256, 3), np.uint8)
    repeated[5:] = 9
    np.testing.assert_array_equal(from_colors(colorize(np.array([[4, 200]], np.uint8), repeated), repeated), [[0, 5]])


@pytest.mark.parametrize("color", [(1, 2, 3), (255, 255, 255)])
def test_from_colors_names_a_foreign_colour(color):
    image = np.zeros((2, 2, 3), np.uint8)
    image[0] = color
    with pytest.raises(ValueError, match=re.escape(f"colour {color} is not in the palette, as are 2 pixels")):
        from_colors(image)


def test_overlay_tints_objects_only():
    image = np.full((1, 4, 3), 100, np.uint8)
    mask = np.array([[0, 1, 255, 15]], np.uint8)
    expected = [[100, 100, 100], [114, 50, 50], [100, 100, 100], [146, 114, 114]]
    np.testing.assert_array_equal(overlay(image, mask)[0], expected)
    np.testing.assert_array_equal(overlay(image, mask, alpha=0), image)
    np.testing.assert_array_equal(overlay(image, mask, alpha=1)[0, 1], [128, 0, 0])


@pytest.mark.parametrize("call", [
    lambda: overlay(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3), np.uint8)),
    lambda: overlay(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.uint8), alpha=1.5),
    lambda: colorize(MASK, VOC_PALETTE[:21]),
    lambda: from_colors(MASK),
])
def test_misfits_are_refused(call):
    with pytest.raises(ValueError):
        call()


def test_colorize_refuses_labels_that_are_not_bytes():
    with pytest.raises(TypeError, match="uint8"):
        colorize(MASK.astype(np.int64))
