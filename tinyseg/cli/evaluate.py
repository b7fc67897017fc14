"""`tinyseg evaluate`"""
from __future__ import annotations

import argparse
import json
import math
from typing import TYPE_CHECKING, Any

from .common import DATA_HELP, add_command, add_view_options, announce_compilation, load_checkpoint, open_dataset, views

if TYPE_CHECKING:
    from ..data import Dataset
    from ..nn import Module

SHOWN = 6       # images in a picture, evenly spaced over the split


def add(commands: argparse._SubParsersAction) -> None:
    parser = add_command(commands, "evaluate", run, "measure a trained model on a dataset, class by class")
    parser.add_argument("checkpoint", metavar="RUN|CHECKPOINT", help="folder of a run (its best.npz), or a checkpoint")
    parser.add_argument("--data", help=f"{DATA_HELP} (default: what the model was trained on)")
    parser.add_argument("--split", default="val", help="train, val or test (default: %(default)s)")
    add_view_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    parser.add_argument("--picture", metavar="PNG", help=f"also draw {SHOWN} of the images, with truth and prediction")


def run(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from .. import inference

    path, checkpoint = load_checkpoint(options.checkpoint)
    data = options.data or checkpoint.settings.get("data")
    if data is None:
        raise ValueError(f"{path}: does not say what it was trained on; give --data")
    dataset = open_dataset(data, options.split)
    if list(dataset.classes) != checkpoint.classes:
        raise ValueError(f"{path}: the model tells {_some(checkpoint.classes)}, but {data} has "
                         f"{_some(dataset.classes)}; give --data of the same classes")
    model = checkpoint.build().fuse()
    announce_compilation()
    result = inference.evaluate(model, dataset, lambda numbers: tqdm(numbers, unit="image", leave=False), **views(options))
    if options.picture:
        _draw(model, dataset, options.picture, views(options))
    near = result.boundary.pixel_accuracy
    if options.json:
        print(json.dumps({"checkpoint": str(path), "data": data, "split": options.split, "images": len(dataset),
                          "loss": result.loss, "boundary_accuracy": None if math.isnan(near) else near,
                          **result.confusion.as_dict()}))
    else:
        print(result.confusion)
        print(f"pixel accuracy within 3 pixels of a boundary {'–' if math.isnan(near) else f'{100 * near:.1f}'}")
        print(f"loss {result.loss:.4f} · {len(dataset)} images of {data}, {options.split}")
    return 0


def _draw(model: Module, dataset: Dataset, path: str, views: dict[str, Any]) -> None:
    """A row for each of a few images: the image, its ground truth, the prediction over it, and where that is wrong."""
    from .. import inference, plots
    from ..data.palette import colorize, overlay

    rows = []
    for index in range(0, len(dataset), -(-len(dataset) // SHOWN)):
        image, mask = dataset.read(index)
        labels = inference.predict(model, image, **views)
        rows.append([plots.Panel(dataset.name(index), image), plots.Panel("ground truth", colorize(mask, dataset.palette)),
                     plots.Panel("prediction", overlay(image, labels, dataset.palette, alpha=0.75)),
                     plots.Panel("errors", plots.error_map(labels, mask))])
    legend = {**plots.class_legend(dataset.classes, dataset.palette), "right": plots.RIGHT_COLOUR, "wrong": plots.WRONG_COLOUR}
    plots.save(plots.grid(rows, legend), path, dpi=60)


def _some(names: list[str]) -> str:
    return f"{len(names)} classes ({', '.join(names[:3])}{' …' * (len(names) > 3)})"
