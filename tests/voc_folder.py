"""A small folder in Pascal-VOC layout, for tests that need one."""
import numpy as np

from tinyseg.data import Scenes
from tinyseg.data.images import write_image
from tinyseg.data.palette import write_mask


def make_voc_folder(root, size=(24, 32), num_classes=3, **lengths):
    """Scenes as files.  lengths: of the splits, such as train=4, val=2; returns root."""
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for split, length in lengths.items():
        scenes = Scenes(length, size, num_classes, split=split)
        for i in range(length):
            image, mask = scenes[i]
            write_image(root / "JPEGImages" / f"{scenes.name(i)}.png", image)
            write_mask(root / "SegmentationClass" / f"{scenes.name(i)}.png", mask)
        names = "".join(f"{scenes.name(i)}\n" for i in range(length))
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(names)
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in scenes.classes))
    return root


def contents(folder):
    """{relative path: bytes} of all files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def same_arrays(one, other):
    """Two state dicts with the same names and the same bits?"""
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)
