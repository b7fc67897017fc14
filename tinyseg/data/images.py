"""Image files: any Pillow mode in, 8-bit RGB out; damaged files named; nothing half written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Union

import numpy as np

from ..files import replacing

if TYPE_CHECKING:
    from PIL import Image

PathLike = Union[str, os.PathLike]


def decode(path: PathLike, what: str = "image") -> Image.Image:
    """Open `path` and decode it to the last byte, so that damage shows here and not later.

    Raises FileNotFoundError if there is no such file and OSError if it is empty, truncated or no image;
    `what` ("image", "mask") begins the message.
    """
    from PIL import Image, UnidentifiedImageError

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{what} {path}: no such file")
    if path.stat().st_size == 0:
        raise OSError(f"{what} {path}: the file is empty (0 bytes); copy it again")
    try:
        with Image.open(path) as image:
            image.load()
    except UnidentifiedImageError as error:
        raise OSError(f"{what} {path}: not an image that Pillow can read") from error
    except Exception as error:  # Pillow's decoders raise a dozen kinds
        raise OSError(f"{what} {path}: damaged or truncated ({error}); copy it again") from error
    return image


def read_image(path: PathLike) -> np.ndarray:
    """Read an image file of any mode as (H, W, 3) uint8 RGB.

    A camera's rotation tag is obeyed, transparency is laid on white, 16-bit grey keeps its high byte.
    Raises FileNotFoundError, OSError (empty, truncated, no image) or ValueError (floating-point pixels).
    """
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(decode(path))
    if image.mode == "F":
        raise ValueError(f"image {path}: floating-point pixels have no fixed range; save it with 8 bits a channel")
    if image.mode.startswith("I"):
        high_byte = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255)
        image = Image.fromarray(high_byte.astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def write_image(path: PathLike, image: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB as a PNG, atomically.

    Raises ValueError (shape, dtype, a name that does not end in .png) or OSError (folder missing or not writable).
    """
    from PIL import Image

    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"write_image: expects (H, W, 3) uint8, got {image.shape} {image.dtype}")
    save_png(path, Image.fromarray(image))


def save_png(path: PathLike, image: Image.Image) -> None:
    """Save a Pillow image as PNG, atomically; what `write_image` and `write_mask` share."""
    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"{path}: is written as PNG, so its name must end in .png")
    with replacing(path) as file:
        image.save(file, format="PNG")
