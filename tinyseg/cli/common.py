"""What several commands need: datasets by name, checkpoints by run, and a word while kernels compile."""
from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numba.core import event

if TYPE_CHECKING:
    from ..checkpoint import Checkpoint
    from ..data import Dataset
    from ..data.dataset import PairTransform
    from ..nn import Module


def _yes_or_no(text: str) -> bool:
    if text not in ("yes", "no"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither yes nor no")
    return text == "yes"


MODEL_OPTIONS: list[tuple[str, Callable[[str], Any], str]] = [
    ("width", int, "channels of the model's first level"),
    ("depth", int, "U-Net: how many times the image is halved"),
    ("encoder", str, "vgg11, vgg11_bn, vgg16, vgg16_bn, resnet18, resnet34, resnet20 or mobilenet_v1"),
    ("variant", str, "FCN: 32s, 16s or 8s"),
    ("version", str, "DeepLab: v1, v2 or v3"),
    ("staged", _yes_or_no, "FCN: yes, to go on from a coarser one with --start-from exactly where that stood; or no"),
    ("output_stride", int, "DeepLab: 8, 16 or 32 image pixels for one pixel of the encoder's features"),
    ("upsampling", str, "nearest, bed_of_nails, max_unpool, bilinear, transposed, transposed_bilinear or sub_pixel"),
    ("skip", str, "skip connections: none, sum or concat"),
    ("norm", str, "normalisation: batch or group"),
    ("window", int, "patch classifier: side of the window around each pixel, 22, 30, 38, …"),
]
SCENES = {"train": 600, "val": 50, "test": 100}          # how many scenes the splits of `--data scenes` have
DATA_HELP = "folder in Pascal-VOC layout or of CIFAR-10, or 'scenes': images that tinyseg draws itself"


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
    from ..data import CIFAR10, Scenes, VOCSegmentation

    if Path(data, CIFAR10.FILE).exists():
        return CIFAR10(data, split, transform)
    if data != "scenes":
        return VOCSegmentation(data, split, transform)
    if split not in SCENES:
        raise ValueError(f"scenes has no split {split!r}; there are {', '.join(SCENES)}")
    return Scenes(SCENES[split], split=split, transform=transform)


def add_model_options(parser: argparse.ArgumentParser, default: object = None) -> None:
    """The options that shape a model; each goes to the models whose constructor takes it."""
    for name, type, help in MODEL_OPTIONS:
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, type=type, default=default, metavar=name.upper(),
                            help=f"{help} (default: {'16' if name == 'width' else 'the model' + chr(39) + 's own'})")


def build_model(name: str, num_classes: int, options: Mapping[str, Any]) -> Module:
    """An untrained model.  options: by the names of MODEL_OPTIONS; None is the model's own default, 16 for the width."""
    from ..models import MODELS

    if name not in MODELS:
        raise ValueError(f"--model {name}: no such model; there are {', '.join(MODELS)}")
    takes = inspect.signature(MODELS[name]).parameters
    given = {option: value for option, value in options.items() if value is not None}
    for option in given:
        if option not in takes:
            raise ValueError(f"--{option.replace('_', '-')}: {name} does not take it; of these options it takes "
                             f"{', '.join('--' + o.replace('_', '-') for o, _, _ in MODEL_OPTIONS if o in takes)}")
    return MODELS[name](**{"num_classes": num_classes, "width": 16, **given})


def add_view_options(parser: argparse.ArgumentParser) -> None:
    """The options that say how a trained model looks at an image: `views` takes them."""
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0], metavar="S",
                        help="see each image at several scales, such as 0.5 0.75 1 (default: 1)")
    parser.add_argument("--flip", action="store_true", help="see each image mirrored as well")
    parser.add_argument("--fusion", default="mean", help="how several views become one: mean or max (default: %(default)s)")
    parser.add_argument("--crf", nargs="*", metavar="NAME=VALUE",
                        help="refine with the fully connected CRF; such as --crf w1=4 theta_alpha=40 iterations=5")


def views(options: argparse.Namespace) -> dict[str, Any]:
    """What `inference.scores` takes besides model and image."""
    return {"scales": options.scales, "flip": options.flip, "fusion": options.fusion,
            "crf": None if options.crf is None else dict(map(_crf_setting, options.crf))}


def _crf_setting(text: str) -> tuple[str, Any]:
    """NAME=VALUE, one of the numbers and words that dense_crf takes."""
    from ..crf import DenseCRF, dense_crf

    name, _, value = text.partition("=")
    takes = {key: parameter.default for function in (dense_crf, DenseCRF)
             for key, parameter in inspect.signature(function).parameters.items()
             if type(parameter.default) in (int, float, str)}
    if name not in takes:
        raise ValueError(f"--crf {text}: no such setting; there are {', '.join(takes)}")
    try:
        return name, type(takes[name])(value)
    except ValueError:
        raise ValueError(f"--crf {text}: expected a number, such as {name}={takes[name]}") from None


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


COMPILING = "compiling kernels, once per machine: half a minute, or two for all of them"


def announce_compilation() -> None:
    """Say so if this is the first time that the kernels are compiled on this machine."""
    from ..kernels import conv

    if not any(Path(conv.conv2d.stats.cache_path or "").glob("*.nbi")):
        print(COMPILING, file=sys.stderr)


class CompilationAnnouncer(event.Listener):
    """Says so when numba compiles the first kernel: steppers need a few, and in float64, which may be the only ones missing."""

    said = False

    def on_start(self, event: event.Event) -> None:
        if not self.said:
            print(COMPILING, file=sys.stderr)
        self.said = True

    def on_end(self, event: event.Event) -> None:
        pass
