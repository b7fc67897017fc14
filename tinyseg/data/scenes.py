"""Scenes: drawn images with exact masks, so that everything runs on a fresh machine without a download."""

from __future__ import annotations

import colorsys
import math

import numpy as np

from .dataset import Dataset, Pair, PairTransform
from .palette import VOC_PALETTE, VOID
from .shapes import OUTLINES
from .textures import PATTERNS, noise
from .transforms import Size, as_size

SPLITS = {"train": 1, "val": 2, "test": 3}
MAX_CLASSES = 21

BORDER = 1.25               # void on either side of an outline, in pixels: a line 2 to 3 pixels wide, as VOC's
HUE_SPREAD = 0.6            # how far the hue of an object strays, in distances between the hues of two classes
AMBIENT, DIFFUSE, GLOSS = 0.35, 0.75, 0.35
SHADOW = 0.5                # the light that a shadow takes away
SENSOR_NOISE = 0.02


class Scenes(Dataset):
    """Textured, lit objects that overlap on textured ground, with void borders: a dataset of any size, drawn on demand.

    length: the number of scenes.
    size: (height, width) in pixels, or one number for a square.
    num_classes: background included, as for VOC: 1 (bare ground) to 21. A class is a texture on an outline
        ("striped disc"). Up to 6 classes either tells it; beyond 11 outlines come twice, and only both together do.
        Colour tells little: objects and ground have two random colours each, and a class has only a bias in hue.
    split: "train", "val" or "test": three sets without a scene in common.

    Scene `index` is a pure function of (seed, split, index) and of size and num_classes; `length` cuts off, no more.
    Items are as `Dataset` says; the palette is VOC's. Raises ValueError for arguments out of range.

    >>> scenes = Scenes(10, size=(48, 64), num_classes=4, seed=0, split="test")
    >>> scenes.classes
    ['background', 'striped disc', 'checkered square', 'dotted triangle']
    >>> image, mask = scenes[0]
    >>> image.shape, image.dtype, mask.shape, mask.dtype
    ((48, 64, 3), dtype('uint8'), (48, 64), dtype('uint8'))
    """

    def __init__(self, length: int, size: Size = 96, num_classes: int = 6, seed: int = 0,
                 transform: PairTransform | None = None, split: str = "train") -> None:
        if length < 1 or seed < 0:
            raise ValueError(f"Scenes: length must be at least 1 and seed at least 0, got {length} and {seed}")
        if not 1 <= num_classes <= MAX_CLASSES:
            raise ValueError(f"Scenes: num_classes must be 1 to {MAX_CLASSES}, background included, got {num_classes}")
        if split not in SPLITS:
            raise ValueError(f"Scenes: split must be one of {', '.join(SPLITS)}, got {split!r}")
        kinds = [f"{texture} {outline}" for texture, outline in map(_kind, range(1, num_classes))]
        super().__init__(["background", *kinds], VOC_PALETTE, transform)
        self.length = length
        self.size = as_size(size, "Scenes")
        self.seed = seed
        self.split = split

    def __len__(self) -> int:
        return self.length

    def name(self, index: int) -> str:
        return f"{self.split}_{index:05d}"

    def read(self, index: int) -> Pair:
        seeds = np.random.SeedSequence((self.seed, SPLITS[self.split]), spawn_key=(index,))
        return draw_scene(np.random.default_rng(seeds), *self.size, self.num_classes)


def _kind(label: int) -> tuple[str, str]:
    """Texture and outline of class `label` (1 … 20): ten outlines, then the ten again with other textures."""
    turn, outline = divmod(label - 1, len(OUTLINES))
    return list(PATTERNS)[(outline + 2 * turn) % len(PATTERNS)], list(OUTLINES)[outline]


def draw_scene(rng: np.random.Generator, height: int, width: int, num_classes: int) -> Pair:
    """One scene: image (H, W, 3) uint8 and mask (H, W) uint8. Objects are painted from the rearmost to the foremost."""
    azimuth, elevation = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1.0)
    light = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)],
                     np.float32)                                                # (x, y, z), z towards the viewer
    scale = math.sqrt(height * width)
    canvas = _ground(rng, height, width, scale, light)
    mask = np.zeros((height, width), np.uint8)
    for _ in range(rng.integers(4, 8) if num_classes > 1 else 0):
        _paint_object(rng, canvas, mask, scale, light, num_classes)

    exposure = rng.uniform(0.8, 1.15) * rng.uniform(0.8, 1, size=3)             # brightness and tint of the lamp
    canvas *= exposure.astype(np.float32)
    canvas += SENSOR_NOISE * rng.standard_normal(canvas.shape, np.float32)
    return np.clip(canvas * 255 + 0.5, 0, 255).astype(np.uint8), mask


def _color(rng: np.random.Generator, hue: float) -> np.ndarray:
    return np.array(colorsys.hsv_to_rgb(hue % 1, rng.uniform(0.15, 0.8), rng.uniform(0.3, 0.95)), np.float32)


def _lambert(slope_x: np.ndarray, slope_y: np.ndarray, up: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """The cosine between the unit normals (slope_x, slope_y, up) of a surface and a direction; 0 when turned away."""
    return np.maximum(0, slope_x * direction[0] + slope_y * direction[1] + up * direction[2])


def _ground(rng: np.random.Generator, height: int, width: int, scale: float, light: np.ndarray) -> np.ndarray:
    """Two colours, marbled, on gentle hills: (H, W, 3) float32."""
    octaves = [(0.6, 3), (0.3, 10), (0.1, 30)]
    marble = sum(weight * noise(rng, height, width, scale / parts) for weight, parts in octaves)
    mix = np.clip(0.5 + 3.5 * (marble - 0.5), 0, 1)[..., None]                  # (H, W, 1)
    one, other = _color(rng, rng.random()), _color(rng, rng.random())

    hills = 0.3 * scale * noise(rng, height + 1, width + 1, scale / 2.5)        # one more, to take differences
    slope_x, slope_y = hills[:-1, 1:] - hills[:-1, :-1], hills[1:, :-1] - hills[:-1, :-1]
    up = 1 / np.sqrt(1 + slope_x**2 + slope_y**2)
    lit = AMBIENT + DIFFUSE * _lambert(-slope_x * up, -slope_y * up, up, light)
    return (one + (other - one) * mix) * lit[..., None]


def _paint_object(rng: np.random.Generator, canvas: np.ndarray, mask: np.ndarray, scale: float, light: np.ndarray,
                  num_classes: int) -> None:
    """Paint a random object with its shadow into `canvas` and `mask`, in place."""
    label = int(rng.integers(1, num_classes))
    texture, outline = _kind(label)
    radius = rng.uniform(0.16, 0.25) * scale
    center_y, center_x = (rng.uniform(0.05, 0.95) * length for length in mask.shape)
    turn = rng.uniform(0, 2 * np.pi)

    reach = int(1.3 * radius) + 3
    top, left = int(center_y) - reach, int(center_x) - reach
    steps = np.arange(2 * reach, dtype=np.float32) + 0.5
    y, x = ((top + steps - center_y) / radius)[:, None], ((left + steps - center_x) / radius)[None, :]
    cos, sin = math.cos(turn), math.sin(turn)
    u, v = cos * x + sin * y, cos * y - sin * x                                 # (2 reach, 2 reach), turned with it
    distance = radius * OUTLINES[outline](u, v)                                 # to the outline, in pixels

    throw_x, throw_y = np.rint(-0.28 * radius * light[:2] / light[2]).astype(int)
    seen, of_box = _windows(mask.shape, top + throw_y, left + throw_x, 2 * reach)
    dark = np.clip(0.5 - distance[of_box] / (0.24 * radius + 2), 0, 1)
    canvas[seen] *= (1 - SHADOW * dark**2 * (3 - 2 * dark))[..., None]          # smoothstep: a soft edge

    wavelength = rng.uniform(0.38, 0.5)
    sharpness = wavelength * radius / (2 * np.pi)
    pattern = PATTERNS[texture](u / wavelength, v / wavelength, sharpness)[..., None]
    one, other = _object_colors(rng, label, num_classes)
    body = _shade(one + (other - one) * pattern, distance, 0.45 * radius, light)

    seen, of_box = _windows(mask.shape, top, left, 2 * reach)
    cover = np.clip(0.5 - distance[of_box], 0, 1)[..., None]                    # antialiased
    canvas[seen] += cover * (body[of_box] - canvas[seen])
    mask[seen][distance[of_box] < 0] = label
    mask[seen][np.abs(distance[of_box]) < BORDER] = VOID


def _object_colors(rng: np.random.Generator, label: int, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Two colours of clear contrast, in hues around that of the class."""
    while True:
        hues = (label + rng.uniform(-HUE_SPREAD, HUE_SPREAD, size=2)) / (num_classes - 1)
        one, other = _color(rng, hues[0]), _color(rng, hues[1])
        if np.abs(one - other).sum() > 0.6:
            return one, other


def _shade(color: np.ndarray, distance: np.ndarray, bevel: float, light: np.ndarray) -> np.ndarray:
    """Light (H, W, 3) colours as a body whose rim, `bevel` pixels wide, falls off like a quarter of a circle."""
    outward_y, outward_x = np.gradient(distance)
    tilt = np.clip(1 + distance / bevel, 0, 1)                                  # 0 on the top, 1 on the outline
    normal = tilt * outward_x, tilt * outward_y, np.sqrt(1 - tilt**2)
    halfway = light + np.array([0, 0, 1], np.float32)
    gloss = GLOSS * _lambert(*normal, halfway / np.linalg.norm(halfway)) ** 40  # Blinn 1977
    return color * (AMBIENT + DIFFUSE * _lambert(*normal, light))[..., None] + gloss[..., None]


def _windows(shape: tuple[int, ...], top: int, left: int, size: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The part of a box at (top, left) that lies on the canvas: as slices of the canvas, and as slices of the box."""
    on_canvas, in_box = [], []
    for start, length in zip((top, left), shape):
        first, last = min(max(start, 0), length), min(max(start + size, 0), length)
        on_canvas.append(slice(first, last))
        in_box.append(slice(first - start, last - start))
    return tuple(on_canvas), tuple(in_box)
