"""Paired transforms: `transform(image, mask, rng) -> (image, mask)`, one random geometry for both.

Until `Normalize`, which comes last, an image is (H, W, 3) uint8 and a mask (H, W) uint8. Randomness comes from the
generator that is passed and from nowhere else. Images are resized bilinearly (antialiased when they shrink), masks by
nearest with half-pixel centres and in no other way: a blend of class 2 and class 4 is not class 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

import numpy as np

from .dataset import Pair, PairTransform
from .palette import VOID

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
FILL = tuple(round(255 * mean) for mean in IMAGENET_MEAN)   # the colour that `Normalize` takes to about zero
LUMA = np.array([0.299, 0.587, 0.114])                      # ITU-R BT.601, as in Pillow and torchvision

Size = int | tuple[int, int]
Window = tuple[int, int, int, int]                          # top, left, height, width


def as_size(size: Size, owner: str) -> tuple[int, int]:
    """(height, width) from such a pair, or from one number for a square; ValueError unless both are at least 1."""
    pair = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(pair) != 2 or any(int(side) != side or side < 1 for side in pair):
        raise ValueError(f"{owner}: size must be a positive integer or a pair (height, width) of them, got {size!r}")
    return int(pair[0]), int(pair[1])


def resize_image(image: np.ndarray, size: tuple[int, int], window: Window | None = None) -> np.ndarray:
    """Bilinear resize of (H, W, 3) uint8, or of its `window` (top, left, height, width), to `size` (height, width).

    Antialiased: when the image shrinks, the triangle filter widens. At the window's rim it takes in what lies beyond.
    """
    from PIL import Image

    top, left, height, width = window or (0, 0, *image.shape[:2])
    resized = Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR,
                                            box=(left, top, left + width, top + height))
    return np.array(resized)


def resize_mask(mask: np.ndarray, size: tuple[int, int], window: Window | None = None) -> np.ndarray:
    """Nearest resize of a mask (H, W), or of its `window` (top, left, height, width), to `size` (height, width).

    Output pixel i takes input pixel ⌊(i + ½) · n_in / n_out⌋, the one its centre falls into: Pillow's NEAREST and
    PyTorch's "nearest-exact" (its "nearest" shifts masks by half a pixel).

    >>> resize_mask(np.array([[0, 1, 2, 3]]), (1, 2))
    array([[1, 3]])
    """
    top, left, height, width = window or (0, 0, *mask.shape)
    rows = top + (2 * np.arange(size[0]) + 1) * height // (2 * size[0])
    columns = left + (2 * np.arange(size[1]) + 1) * width // (2 * size[1])
    return mask[rows[:, None], columns]


def normalize(image: np.ndarray, mean: Sequence[float] = IMAGENET_MEAN,
              std: Sequence[float] = IMAGENET_STD) -> np.ndarray:
    """(image / 255 − mean) / std: (H, W, 3) uint8 -> (3, H, W) float32. `mean` and `std` are in units of [0, 1].

    >>> normalize(np.full((1, 1, 3), 255, np.uint8), mean=(0.5, 0.5, 0), std=(0.5, 1, 1)).ravel().tolist()
    [1.0, 0.5, 1.0]
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"normalize: expects an image (H, W, 3) uint8, got {image.shape} {image.dtype}")
    scale = 1 / (255 * np.asarray(std, np.float32))
    shift = -np.asarray(mean, np.float32) / np.asarray(std, np.float32)
    planes = np.empty((3, *image.shape[:2]), np.float32)
    np.multiply(image.transpose(2, 0, 1), scale[:, None, None], out=planes)
    planes += shift[:, None, None]
    return planes


class Transform:
    """Base class: checks the pair, then calls `apply`, which a subclass writes."""

    def __call__(self, image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> Pair:
        owner = type(self).__name__
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"{owner}: expects an image (H, W, 3) uint8, got {image.shape} {image.dtype}; "
                             "Normalize comes last")
        if mask.shape != image.shape[:2]:
            raise ValueError(f"{owner}: image {image.shape} and mask {mask.shape} differ in size")
        return self.apply(image, mask, rng)

    def apply(self, image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> Pair:
        raise NotImplementedError


@dataclass
class Compose:
    """One transform after the other."""

    transforms: Sequence[PairTransform]

    def __call__(self, image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> Pair:
        for transform in self.transforms:
            image, mask = transform(image, mask, rng)
        return image, mask


@dataclass
class _Sized(Transform):
    """A transform whose result has `size`: (height, width), or one number for a square."""

    size: Size

    def __post_init__(self) -> None:
        self.height, self.width = as_size(self.size, type(self).__name__)


@dataclass
class Resize(_Sized):
    """Resize to `size`: (height, width), or one number for a square."""

    def apply(self, image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> Pair:
        size = self.height, self.width
        return resize_image(image, size), resize_mask(mask, size)


@dataclass
class RandomScale(Transform):
    """Resize by a factor between `low` and `high`, log-uniform: halving is as likely as doubling."""

    low: float = 0.5
    high: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high < np.inf:
            raise ValueError(f"RandomScale: expects 0 < low <= high, got low={self.low} high={self.high}")

    def apply(self, image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> Pair:
        factor = np.exp(rng.uniform(np.log(self.low), np.log(self.high)))
        height, width = (max(1, round(side * factor)) for side in mask.shape)
        return resize_image(image, (height, width)), resize_mask(mask, (height, width))


@dataclass
class RandomCrop(_Sized):
    """Cut out a window of `size`, anywhere; around an image that is smaller lies void in ImageNet's mean colour."""

    def apply(self, image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> Pair:
        rows, new_rows = _overlap(mask.shape[0], self.height, rng)
        columns, new_columns = _overlap(mask.shape[1], self.width, rng)
        new_image = np.full((self.height, self.width, 3), FILL, np.uint8)
        new_mask = np.full((self.height, self.width), VOID, mask.dtype)
        new_image[new_rows, new_columns] = image[rows, columns]
        new_mask[new_rows, new_columns] = mask[rows, columns]
        return new_image, new_mask


def _overlap(length: int, crop: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """Along one axis, a random place of the shorter within the longer: where they overlap, in image and in crop."""
    start = int(rng.integers(abs(length - crop) + 1))
    common = min(length, crop)
    inside, whole = slice(start, start + common), slice(0, common)
    return (inside, whole) if length >= crop else (whole, inside)


@dataclass
class RandomResizedCrop(_Sized):
    """Cut out a random part of the image and resize it to `size`: torchvision's RandomResizedCrop, masks included.

    The part has `scale` (low, high) of the image's area and the aspect ratio (width / height) `ratio` (low, high),
    log-uniform; sides longer than the image are cut to it.
    """

    scale: tuple[float, float] = (0.25, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 < self.scale[0] <= self.scale[1] <= 1 and 0 < self.ratio[0] <= self.ratio[1] < np.inf):
            raise ValueError("RandomResizedCrop: expects 0 < low <= high <= 1 for scale and 0 < low <= high for ratio, "
                             f"got scale={self.scale} ratio={self.ratio}")

    def apply(self, image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> Pair:
        area = mask.size * rng.uniform(*self.scale)
        ratio = np.exp(rng.uniform(*np.log(self.ratio)))
        height = min(mask.shape[0], max(1, round(np.sqrt(area / ratio))))
        width = min(mask.shape[1], max(1, round(np.sqrt(area * ratio))))
        top = int(rng.integers(mask.shape[0] - height + 1))
        left = int(rng.integers(mask.shape[1] - width + 1))
        size, window = (self.height, self.width), (top, left, height, width)
        return resize_image(image, size, window), resize_mask(mask, size, window)


@dataclass
class RandomHorizontalFlip(Transform):
    """Mirror left and right with probability `p`."""

    p: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ValueError(f"RandomHorizontalFlip: p must be between 0 and 1, got {self.p}")

    def apply(self, image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> Pair:
        return (image[:, ::-1], mask[:, ::-1]) if rng.random() < self.p else (image, mask)


@dataclass
class ColorJitter(Transform):
    """Change brightness, contrast, saturation and hue at random; the mask stays.

    The first three draw a factor from [1 − strength, 1 + strength]; `hue` draws an angle from [−hue, hue] turns (at
    most ½). Each is an affine map of RGB space, so the four are multiplied into one 3 × 4 matrix and applied at once.
    """

    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.02

    def __post_init__(self) -> None:
        if not (0 <= min(self.brightness, self.contrast, self.saturation)
                and max(self.brightness, self.contrast, self.saturation) <= 1 and 0 <= self.hue <= 0.5):
            raise ValueError(f"{self}: brightness, contrast and saturation must be in 0 … 1, hue in 0 … 0.5")

    def matrix(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The random map (3, 4) for `image`: its last column is added."""
        brightness, contrast, saturation = 1 + rng.uniform(-1, 1, 3) * (self.brightness, self.contrast, self.saturation)
        angle = 2 * np.pi * rng.uniform(-self.hue, self.hue)
        grey = np.tile(LUMA, (3, 1))                            # (3, 3): every channel becomes the luma
        axis = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
        turn = np.eye(3) + np.sin(angle) * axis + (1 - np.cos(angle)) * axis @ axis     # Rodrigues, about the grey axis
        linear = brightness * contrast * turn @ (saturation * np.eye(3) + (1 - saturation) * grey)
        mean_luma = image.reshape(-1, 3).mean(axis=0) @ LUMA
        offset = brightness * (1 - contrast) * mean_luma
        return np.column_stack([linear, np.full(3, offset)])

    def apply(self, image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> Pair:
        from PIL import Image

        matrix = tuple(self.matrix(image, rng).ravel().tolist())
        return np.array(Image.fromarray(image).convert("RGB", matrix)), mask


@dataclass
class Normalize(Transform):
    """The last step: `normalize` the image to (3, H, W) float32; the mask stays."""

    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(f"{self}: expects three means and three positive standard deviations")

    def apply(self, image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> Pair:
        return normalize(image, self.mean, self.std), mask
