"""Folders in Pascal-VOC layout, VOC 2012 itself among them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np

from .dataset import Dataset, Pair, PairTransform
from .download import download_voc2012
from .images import PathLike, read_image
from .palette import VOC_CLASSES, VOC_PALETTE, VOID, check_mask, read_mask, read_palette

FOLDERS = ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


class VOCSegmentation(Dataset):
    """The images and masks of one split of a folder in Pascal-VOC layout::

        root/JPEGImages/ID.jpg                     images (.jpg, .jpeg or .png), any mode
        root/SegmentationClass/ID.png              masks: palette PNGs, 255 = void
        root/ImageSets/Segmentation/train.txt      one ID a line; likewise val.txt, test.txt …
        root/classes.txt                           optional: one class name a line; without it VOC's 21

    `root` may also be the folder that holds `VOCdevkit/VOC2012`; `download=True` puts VOC 2012 there if it is not yet.
    Items are as `Dataset` says. The palette is the one of the masks themselves, if they carry one, else VOC's.
    `ids` are the names in the split file, `image_paths` and `mask_paths` the files.

    Raises FileNotFoundError (a folder, split, image or mask is missing) or ValueError (empty split, bad or repeated id,
    unusable classes.txt) at once; reading an item raises OSError or ValueError when its files are damaged, differ in
    size, or hold a label that is no class. Source: https://doi.org/10.1007/s11263-009-0275-4

    >>> VOCSegmentation("no/such/folder", "train")
    Traceback (most recent call last):
    FileNotFoundError: no/such/folder: no such folder; give a folder in Pascal-VOC layout, or download=True for VOC 2012
    """

    def __init__(self, root: PathLike, image_set: str = "train", transform: PairTransform | None = None,
                 download: bool = False) -> None:
        if download and _missing_folders(_base(Path(root))):
            download_voc2012(root)
        self.root = _find_layout(Path(root))
        self.ids = _read_split(self.root, image_set)
        self.image_paths = _find_files(self.root / "JPEGImages", self.ids, IMAGE_SUFFIXES, image_set)
        self.mask_paths = _find_files(self.root / "SegmentationClass", self.ids, (".png",), image_set)
        palette = read_palette(self.mask_paths[0])
        super().__init__(_read_classes(self.root), VOC_PALETTE if palette is None else palette, transform)

    def __len__(self) -> int:
        return len(self.ids)

    def name(self, index: int) -> str:
        return self.ids[index]

    def mask(self, index: int) -> np.ndarray:
        mask = read_mask(self.mask_paths[index])
        check_mask(mask, self.num_classes, name=f"mask {self.mask_paths[index]}")
        return mask

    def read(self, index: int) -> Pair:
        image, mask = read_image(self.image_paths[index]), self.mask(index)
        if image.shape[:2] != mask.shape:
            (height, width), (mask_height, mask_width) = image.shape[:2], mask.shape
            raise ValueError(f"mask {self.mask_paths[index]}: is {mask_width} x {mask_height} pixels but its image "
                             f"{self.image_paths[index].name} is {width} x {height}; they must be of one size")
        return image, mask


def _base(root: Path) -> Path:
    nested = root / "VOCdevkit" / "VOC2012"
    return nested if nested.is_dir() else root


def _missing_folders(base: Path) -> list[str]:
    return [folder for folder in FOLDERS if not (base / folder).is_dir()]


def _find_layout(root: Path) -> Path:
    if not root.is_dir():
        raise FileNotFoundError(
            f"{root}: no such folder; give a folder in Pascal-VOC layout, or download=True for VOC 2012")
    base = _base(root)
    if missing := _missing_folders(base):
        raise FileNotFoundError(f"{base}: not in Pascal-VOC layout, lacks the folders {', '.join(missing)}")
    return base


def _read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not blank, stripped (a byte-order mark and CRLF too)."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a UTF-8 text file; expects one name a line") from error
    return [line.strip() for line in lines if line.strip()]


def _check_distinct(names: list[str], path: Path) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{path}: {name!r} stands there twice; remove one")
        seen.add(name)


def _read_split(root: Path, image_set: str) -> list[str]:
    folder = root / "ImageSets" / "Segmentation"
    available = sorted(path.stem for path in folder.glob("*.txt"))
    if image_set not in available:
        raise FileNotFoundError(f"{folder}: no split {image_set!r}; there are: {', '.join(available) or 'none'}")
    path = folder / f"{image_set}.txt"
    ids = _read_lines(path)
    if not ids:
        raise ValueError(f"{path}: the split is empty; list one image id a line")
    _check_distinct(ids, path)
    for name in ids:
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts or set(name) & set('\\:\0'):
            raise ValueError(f"{path}: the id {name!r} points out of the dataset; ids are file names without extension")
    return ids


def _read_classes(root: Path) -> list[str]:
    path = root / "classes.txt"
    if not path.exists():
        return list(VOC_CLASSES)
    classes = _read_lines(path)
    if not 1 <= len(classes) <= VOID:
        raise ValueError(f"{path}: lists {len(classes)} classes; expects 1 to {VOID}, one name a line")
    _check_distinct(classes, path)
    return classes


def _find_files(folder: Path, ids: list[str], suffixes: tuple[str, ...], image_set: str) -> list[Path]:
    candidates = ([folder / f"{name}{suffix}" for suffix in suffixes] for name in ids)
    found = [next((path for path in paths if path.is_file()), None) for paths in candidates]
    missing = [name for name, path in zip(ids, found) if path is None]
    if missing:
        raise FileNotFoundError(f"{folder}: there is no {missing[0]}{' or '.join(suffixes)}; the split {image_set!r} "
                                f"lists {len(ids)} ids, {len(missing)} of which have no file here")
    return [path for path in found if path is not None]
