"""`tinyseg evaluate`"""
from __future__ import annotations

import argparse
import json

from .common import DATA_HELP, add_command, announce_compilation, load_checkpoint, open_dataset


def add(commands: argparse._SubParsersAction) -> None:
    parser = add_command(commands, "evaluate", run, "measure a trained model on a dataset, class by class")
    parser.add_argument("checkpoint", metavar="RUN|CHECKPOINT", help="folder of a run (its best.npz), or a checkpoint")
    parser.add_argument("--data", help=f"{DATA_HELP} (default: what the model was trained on)")
    parser.add_argument("--split", default="val", help="train, val or test (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")


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
    model = checkpoint.build()
    announce_compilation()
    confusion, loss = inference.evaluate(model, dataset, lambda numbers: tqdm(numbers, unit="image", leave=False))
    if options.json:
        print(json.dumps({"checkpoint": str(path), "data": data, "split": options.split, "images": len(dataset),
                          "loss": loss, **confusion.as_dict()}))
    else:
        print(confusion)
        print(f"loss {loss:.4f} · {len(dataset)} images of {data}, {options.split}")
    return 0


def _some(names: list[str]) -> str:
    return f"{len(names)} classes ({', '.join(names[:3])}{' …' * (len(names) > 3)})"
