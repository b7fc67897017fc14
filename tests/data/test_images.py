"""Images of every mode become (H, W, 3) uint8 RGB; damaged files are named."""
from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from tinyseg.data.images import read_image, write_image

COLORS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def save(tmp_path, image, name="image.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def test_rgb_is_read_as_it_is(tmp_path):
    pixels = read_image(save(tmp_path, Image.fromarray(COLORS)))
    assert pixels.dtype == np.uint8 and pixels.flags.writeable
    np.testing.assert_array_equal(pixels, COLORS)


def test_grey_is_repeated(tmp_path):
    pixels = read_image(save(tmp_path, Image.fromarray(COLORS[..., 0])))
    np.testing.assert_array_equal(pixels, np.repeat(COLORS[..., :1], 3, axis=2))


def test_one_bit_is_black_and_white(tmp_path):
    bits = COLORS[..., 0] > 127
    pixels = read_image(save(tmp_path, Image.fromarray(bits)))
    np.testing.assert_array_equal(pixels[..., 1], np.where(bits, 255, 0))


def test_sixteen_bits_keep_the_high_byte(tmp_path):
    """Pillow's own conversion cuts everything above 255 to white."""
    deep = np.array([[0, 255, 256, 40000, 65535]], np.uint16)
    pixels = read_image(save(tmp_path, Image.fromarray(deep)))
    np.testing.assert_array_equal(pixels[0, :, 0], [0, 0, 1, 156, 255])


def test_palette_images_show_their_colours(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    np.testing.assert_array_equal(read_image(save(tmp_path, image)), [[[10, 20, 30], [40, 50, 60], [70, 80, 90]]])


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(tmp_path, mode):
    image = Image.new(mode, (3, 1), 0)
    image.putalpha(Image.fromarray(np.array([[0, 255, 51]], np.uint8)))
    np.testing.assert_array_equal(read_image(save(tmp_path, image))[0, :, 0], [255, 0, 204])


def test_a_transparent_palette_entry_is_white(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], np.uint8))
    image.putpalette([10, 20, 30, 40, 50, 60])
    pixels = read_image(save(tmp_path, image, transparency=0))
    np.testing.assert_array_equal(pixels, [[[255, 255, 255], [40, 50, 60]]])


def test_cmyk_jpeg(tmp_path):
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    red = read_image(save(tmp_path, image, "image.jpg", quality=95)).mean(axis=(0, 1))
    np.testing.assert_allclose(red, [255, 0, 0], atol=8)


def test_the_rotation_tag_is_obeyed(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6                                         # the camera was turned: show it a quarter turn clockwise
    pixels = read_image(save(tmp_path, Image.fromarray(COLORS), exif=exif))
    np.testing.assert_array_equal(pixels, np.rot90(COLORS, -1))


def test_floating_point_pixels_are_refused(tmp_path):
    path = save(tmp_path, Image.new("F", (2, 2)), "image.tiff")
    with pytest.raises(ValueError, match=re.escape(f"image {path}: floating-point")):
        read_image(path)


@pytest.mark.parametrize("content, message", [
    (b"", "the file is empty (0 bytes)"),
    (b"no image at all", "not an image"),
    ("half", "damaged or truncated"),
])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_damaged_files_are_named(tmp_path, content, message, suffix):
    path = save(tmp_path, Image.fromarray(np.tile(COLORS, (20, 20, 1))), f"image.{suffix}")
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2] if content == "half" else content)
    with pytest.raises(OSError, match=re.escape(f"image {path}: {message}")):
        read_image(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing.png: no such file"):
        read_image(tmp_path / "nothing.png")


def test_write_image_round_trip_leaves_nothing_else(tmp_path):
    write_image(tmp_path / "out.png", COLORS)
    np.testing.assert_array_equal(read_image(tmp_path / "out.png"), COLORS)
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]


@pytest.mark.parametrize("image", [COLORS[..., 0], COLORS.astype(np.float32), COLORS[..., :2]])
def test_write_image_refuses_what_is_no_rgb(tmp_path, image):
    with pytest.raises(ValueError, match="write_image: expects"):
        write_image(tmp_path / "out.png", image)


def test_write_image_refuses_other_formats_and_missing_folders(tmp_path):
    with pytest.raises(ValueError, match="must end in .png"):
        write_image(tmp_path / "out.jpg", COLORS)
    with pytest.raises(OSError, match="out.png"):
        write_image(tmp_path / "nowhere" / "out.png", COLORS)
    assert not list(tmp_path.iterdir())
