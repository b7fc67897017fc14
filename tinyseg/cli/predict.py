"""`tinyseg predict`"""
from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from .common import add_command, add_view_options, announce_compilation, load_checkpoint, views

PLAIN = {"scales": [1.0], "flip": False, "fusion": "mean", "crf": None}
SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def add(commands: argparse._SubParsersAction) -> None:
    parser = add_command(commands, "predict", run, "segment images of any size: one palette PNG of class indices each")
    parser.add_argument("checkpoint", metavar="RUN|CHECKPOINT", help="a run (its best.npz) or a checkpoint")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, or folders of them")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the masks")
    add_view_options(parser)
    parser.add_argument("--tile", type=int, metavar="N",
                        help="predict squares of NxN pixels one after the other, without a seam: for images of any size")
    parser.add_argument("--overlay", action="store_true", help="also NAME_overlay.png: the colours over the image")
    parser.add_argument("--probabilities", action="store_true",
                        help="also NAME_probabilities.npz: probabilities (num_classes, H, W) float16, and classes")


def run(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from ..data.images import read_image, write_image
    from ..data.palette import overlay, write_mask
    from ..files import replacing
    from ..inference import probabilities
    from ..tiling import tiled_predict

    if options.tile is not None and (views(options) != PLAIN or options.probabilities):
        raise ValueError("--tile keeps labels alone, of one view; leave out --scales, --flip, --crf and --probabilities")
    _, checkpoint = load_checkpoint(options.checkpoint)
    model, palette = checkpoint.build().fuse(), checkpoint.palette
    out = Path(options.out)
    images = _masks_by_image(options.images, out)
    for path in images:
        read_image(path)                                  # so that a damaged one is found before anything is written
    out.mkdir(parents=True, exist_ok=True)
    announce_compilation()
    for path, mask_path in tqdm(images.items(), unit="image", leave=False):
        image = read_image(path)
        if options.tile is None:
            p = probabilities(model, image, **views(options))              # (num_classes, H, W)
            mask = p.argmax(axis=0).astype(np.uint8)
        else:
            mask = tiled_predict(model, image, options.tile)
        write_mask(mask_path, mask, palette)
        if options.overlay:
            write_image(mask_path.with_name(f"{path.stem}_overlay.png"), overlay(image, mask, palette))
        if options.probabilities:
            with replacing(mask_path.with_name(f"{path.stem}_probabilities.npz")) as file:
                np.savez_compressed(file, probabilities=p.astype(np.float16), classes=np.array(checkpoint.classes))
    print(f"{len(images)} masks in {out}")
    return 0


def _masks_by_image(arguments: list[str], out: Path) -> dict[Path, Path]:
    """All images that the arguments name, each with the mask to write.  ValueError if one would overwrite another."""
    images: dict[Path, Path] = {}
    for path in map(Path, arguments):
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
        if not found:
            raise ValueError(f"{path}: no images in this folder; expected {', '.join(sorted(SUFFIXES))}")
        images.update((image, out / f"{image.stem}.png") for image in found)
    owner: dict[Path, Path] = {}
    inputs = {image.resolve() for image in images}
    for image, mask in images.items():
        if mask.resolve() in inputs:
            raise ValueError(f"{mask}: the mask would overwrite an image; choose another --out")
        if mask in owner:
            raise ValueError(f"{mask}: would be the mask of both {owner[mask]} and {image}; segment them into "
                             f"different folders")
        owner[mask] = image
    return images
