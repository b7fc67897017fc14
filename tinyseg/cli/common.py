"""What several commands need: datasets by name, checkpoints by run, and a word while kernels compile."""
from __future__ import annotations

import argparse
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..checkpoint import Checkpoint
    from ..data import Dataset
    from ..data.dataset import PairTransform
    from ..nn import Module

SCENES = {"train": 600, "val": 50, "test": 100}          # how many scenes the splits of `--data scenes` have
DATA_HELP = "folder in Pascal-VOC layout, or 'scenes': images that tinyseg draws itself"


def add_command(commands: argparse._SubParsersAction, name: str, run: object, help: str) -> argparse.ArgumentParser:
    """A parser for one command; `run(options)` carries it out."""
    parser = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".", allow_abbrev=False)
    parser.set_defaults(run=run)
    return parser


def seed(text: str) -> int:
    """What --seed takes."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not one of 0, 1, 2, …")
    return int(text)


def open_dataset(data: str, split: str, transform: PairTransform | None = None) -> Dataset:
    """The dataset that --data and --split name."""
    from ..data import Scenes, VOCSegmentation

    if data != "scenes":
        return VOCSegmentation(data, split, transform)
    if split not in SCENES:
        raise ValueError(f"scenes has no split {split!r}; there are {', '.join(SCENES)}")
    return Scenes(SCENES[split], split=split, transform=transform)


def build_model(name: str, num_classes: int, width: int, depth: int) -> Module:
    """An untrained model; `width` and `depth` go to those models that have them."""
    from ..models import MODELS

    if name not in MODELS:
        raise ValueError(f"--model {name}: no such model; there are {', '.join(MODELS)}")
    takes = inspect.signature(MODELS[name]).parameters
    arguments = {"num_classes": num_classes, "width": width, "depth": depth}
    return MODELS[name](**{argument: value for argument, value in arguments.items() if argument in takes})


def load_checkpoint(path: str) -> tuple[Path, Checkpoint]:
    """The checkpoint of that name, or the best one of that run."""
    from ..checkpoint import load

    file = Path(path)
    if file.is_dir():
        file /= "best.npz"
        if not file.exists():
            raise FileNotFoundError(f"{path}: holds no best.npz; give a checkpoint, or the folder of a run that has "
                                    f"ended its first epoch")
    return file, load(file)


def announce_compilation() -> None:
    """Say so if this is the first time that the kernels are compiled on this machine."""
    from ..kernels import conv

    cache = next(Path(kernel.stats.cache_path) for kernel in vars(conv).values() if hasattr(kernel, "stats"))
    if not any(cache.glob("*.nbi")):
        print("compiling kernels, once per machine: about half a minute", file=sys.stderr)
