"""Masks as palette PNGs: reading and writing class indices, and the colours that stand for them.

A mask is an (H, W) uint8 array of class indices, with 255 for *void*: pixels that belong to no class and count neither
in the loss nor in the metrics. On disk it is a palette PNG: its pixels are indices, its palette is only for the eye.
Converting it to RGB, as image readers like to, destroys it.
"""

from __future__ import annotations

import numpy as np

from .images import PathLike, decode, save_png

VOID = 255

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)


def voc_colormap() -> np.ndarray:
    """Pascal VOC's colour map, (256, 3) uint8.

    Bits 0, 1, 2 of the index are the highest bits of red, green and blue, bits 3, 4, 5 the next lower ones, and so on;
    neighbouring indices so get colours far apart. Source: `VOClabelcolormap.m` of the VOC development kit.

    >>> voc_colormap()[[0, 1, 15, 255]].tolist()
    [[0, 0, 0], [128, 0, 0], [192, 128, 128], [224, 224, 192]]
    """
    index = np.arange(256)
    colors = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        colors[:, bit % 3] |= (((index >> bit) & 1) << (7 - bit // 3)).astype(np.uint8)
    return colors


VOC_PALETTE = voc_colormap()
VOC_PALETTE.setflags(write=False)

OKABE_ITO = voc_colormap()         # for up to eight classes, that colour-blind readers tell apart too: Okabe and Ito, 2008
OKABE_ITO[:8] = [(0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0),
                 (204, 121, 167)]
OKABE_ITO[VOID] = 255
OKABE_ITO.setflags(write=False)


def read_mask(path: PathLike) -> np.ndarray:
    """Read the class indices (H, W) uint8 of a palette PNG, or of an 8-bit greyscale image whose values they are.

    Raises FileNotFoundError, OSError (empty, truncated, no image) or ValueError: colours instead of indices, lossy
    compression, or a black-and-white mask of 0 and 255, where 255 would mean void.
    """
    image = decode(path, "mask")
    if image.format == "JPEG":
        raise ValueError(f"mask {path}: JPEG compression invents labels; save the class indices as PNG")
    if image.mode == "1":
        raise ValueError(f"mask {path}: is a 1-bit image; save the class indices 0 and 1 as an 8-bit greyscale PNG")
    if image.mode not in ("P", "L"):
        raise ValueError(f"mask {path}: holds colours (mode {image.mode}), not class indices; convert it once with "
                         "palette.from_colors and save it with palette.write_mask")
    mask = np.array(image)
    if image.mode == "L" and mask.min(initial=VOID) == 0 and mask.max() == VOID and np.isin(mask, (0, VOID)).all():
        raise ValueError(f"mask {path}: looks like a black-and-white mask (only 0 and 255, but 255 means void); "
                         "save the class indices 0 and 1, or a palette PNG if 255 is meant as void")
    return mask


def read_palette(path: PathLike) -> np.ndarray | None:
    """The palette (256, 3) uint8 that a palette PNG carries (black beyond its last colour); None for other images."""
    image = decode(path, "mask")
    colors = image.getpalette("RGB") if image.mode == "P" else None
    if colors is None:
        return None
    palette = np.zeros((256, 3), np.uint8)
    palette.reshape(-1)[:len(colors)] = colors
    return palette


def write_mask(path: PathLike, mask: np.ndarray, palette: np.ndarray = VOC_PALETTE) -> None:
    """Write a mask (H, W) uint8 as a palette PNG, atomically; `read_mask` gives back the same array.

    Raises ValueError or TypeError for a mask or palette that is not one, OSError if it cannot be written.
    """
    from PIL import Image

    check_palette(palette)
    if mask.dtype != np.uint8 or mask.ndim != 2:
        raise TypeError(f"write_mask: expects a mask (H, W) uint8, got {mask.shape} {mask.dtype}")
    image = Image.fromarray(mask)
    image.putpalette(palette.tobytes())
    save_png(path, image)


def check_mask(mask: np.ndarray, num_classes: int, ignore_index: int = VOID, name: str = "mask") -> None:
    """Raise ValueError unless every label is one of 0 … num_classes − 1 or `ignore_index`; TypeError if not integers.

    >>> check_mask(np.array([[0, 3, 255, 3]]), num_classes=3, name="a.png")
    Traceback (most recent call last):
    ValueError: a.png: label 3 in 2 pixels, but the 3 classes are 0..2 and void 255; correct the mask or the class list
    """
    if mask.dtype.kind not in "iu":
        raise TypeError(f"{name}: labels must be integers, got {mask.dtype}")
    wrong = ((mask < 0) | (mask >= num_classes)) & (mask != ignore_index)
    if wrong.any():
        labels, counts = np.unique(mask[wrong], return_counts=True)
        found = ", ".join(f"label {label} in {count} pixels" for label, count in zip(labels[:3], counts))
        more = f" and {len(labels) - 3} more labels" if len(labels) > 3 else ""
        raise ValueError(f"{name}: {found}{more}, but the {num_classes} classes are 0..{num_classes - 1} and void "
                         f"{ignore_index}; correct the mask or the class list")


def check_palette(palette: np.ndarray) -> None:
    """Raise ValueError unless `palette` is a colour map (256, 3) uint8."""
    if palette.shape != (256, 3) or palette.dtype != np.uint8:
        raise ValueError(f"palette: expects a colour map (256, 3) uint8, got {palette.shape} {palette.dtype}")


def colorize(mask: np.ndarray, palette: np.ndarray = VOC_PALETTE) -> np.ndarray:
    """The mask's colours: (…) uint8 -> (…, 3) uint8.

    >>> colorize(np.array([[0, 1]], np.uint8)).tolist()
    [[[0, 0, 0], [128, 0, 0]]]
    """
    check_palette(palette)
    if mask.dtype != np.uint8:
        raise TypeError(f"colorize: expects a uint8 mask, got {mask.dtype}")
    return palette[mask]


def from_colors(image: np.ndarray, palette: np.ndarray = VOC_PALETTE) -> np.ndarray:
    """The inverse of `colorize`: (H, W, 3) uint8 -> (H, W) uint8; where colours repeat, the smallest index wins.

    Raises ValueError, naming colour and pixel count, if a colour is not in the palette.
    """
    check_palette(palette)
    if image.dtype != np.uint8 or image.shape[-1:] != (3,):
        raise ValueError(f"from_colors: expects (H, W, 3) uint8, got {image.shape} {image.dtype}")
    place = np.array([1 << 16, 1 << 8, 1])
    codes, known = image @ place, palette @ place
    order = np.argsort(known, kind="stable")
    index = order[np.searchsorted(known, codes, sorter=order).clip(max=255)]
    wrong = known[index] != codes
    if wrong.any():
        raise ValueError(f"from_colors: colour {tuple(image[wrong][0].tolist())} is not in the palette, "
                         f"as are {np.count_nonzero(wrong)} pixels in all; use the palette the mask was painted with")
    return index.astype(np.uint8)


def overlay(image: np.ndarray, mask: np.ndarray, palette: np.ndarray = VOC_PALETTE, alpha: float = 0.5) -> np.ndarray:
    """Lay the mask's colours over an image (H, W, 3) uint8 with opacity `alpha` (0 … 1).

    Void pixels and classes whose colour is black (VOC's background) leave the image as it is.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"overlay: alpha must be between 0 and 1, got {alpha}")
    if image.dtype != np.uint8 or image.shape != (*mask.shape, 3):
        raise ValueError(f"overlay: image {image.shape} {image.dtype} and mask {mask.shape} do not fit")
    colors = colorize(mask, palette)
    painted = (mask != VOID) & colors.any(axis=-1)
    blend = np.rint(image + alpha * (colors.astype(np.float32) - image))
    return np.where(painted[..., None], blend, image).astype(np.uint8)
