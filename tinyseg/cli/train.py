"""`tinyseg train`"""
from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .common import (DATA_HELP, MODEL_OPTIONS, add_command, add_model_options, announce_compilation, build_model,
                     open_dataset, seed)

if TYPE_CHECKING:
    from ..data.dataset import PairTransform
    from ..nn import Module

# All that decides what a training computes, and a checkpoint keeps: option, name, type, default, help
SETTINGS: list[tuple[str, str, Callable[[str], Any], Any, str]] = [
    ("--data", "data", str, "scenes", DATA_HELP),
    ("--model", "model", str, "unet", "unet, fcn, segnet, deeplab, patch_classifier; or classifier, to pretrain an encoder"),
    ("--pretrained", "pretrained", str, None, "weights for the encoder: a run, a checkpoint, .npz, .safetensors or .pth"),
    ("--start-from", "start_from", str, None, "run or checkpoint to take all weights from that have the same names"),
    ("--crop", "crop", int, 128, "side of the random crops that are trained on, in pixels"),
    ("--elastic", "elastic", float, 0.0, "deform images by displacements of so many pixels (standard deviation; U-Net: 10)"),
    ("--batch", "batch_size", int, 8, "crops in a step"),
    ("--epochs", "epochs", int, 30, "how often every training image is seen"),
    ("--lr", "lr", float, 2e-3, "learning rate at the start; it falls to 0 by the polynomial schedule"),
    ("--encoder-lr", "encoder_lr", float, 1.0, "the encoder's learning rate, as a factor of --lr; 0 freezes it"),
    ("--head-lr", "head_lr", float, 1.0, "learning rate of the layers that make the scores, as a factor of --lr"),
    ("--optimizer", "optimizer", str, "adamw", "adamw, adam, sgd (momentum 0.9) or sgd99 (momentum 0.99)"),
    ("--weights-balance", "balance", str, "none",
     "weigh the classes in the loss by 'median' frequency, by its square root ('sqrt'), or 'none'"),
    ("--seed", "seed", seed, 0, "of initial weights, order and augmentation"),
]
DEFAULTS = {**{name: default for _, name, _, default, _ in SETTINGS}, **{name: None for name, _, _ in MODEL_OPTIONS}}


def add(commands: argparse._SubParsersAction) -> None:
    parser = add_command(commands, "train", run, "train a model on a folder of images and masks")
    for option, name, type, default, help in SETTINGS:
        parser.add_argument(option, dest=name, type=type, default=argparse.SUPPRESS, metavar=name.upper(),
                            help=f"{help} (default: {default})")
    add_model_options(parser, default=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=1, help="threads that prepare images (default: %(default)s)")
    parser.add_argument("--out", required=True, metavar="RUN", help="folder for checkpoints, history and curves")
    parser.add_argument("--resume", action="store_true", help="go on with the run in RUN from where it was stopped")


def run(options: argparse.Namespace) -> int:
    from ..data import CIFAR10
    from ..rng import manual_seed
    from ..training import fit

    settings = _settings(options)
    data, crop = settings.pop("data"), settings.pop("crop")
    train_set = open_dataset(data, "train", augmentation(crop, settings["elastic"]))
    val_set = open_dataset(data, "val")
    manual_seed(settings["seed"])
    shape = {name: settings.pop(name) for name, _, _ in MODEL_OPTIONS}
    if settings["model"] == "classifier":
        shape["tags"] = not isinstance(train_set, CIFAR10)
    model = build_model(settings.pop("model"), train_set.num_classes, shape)
    about = {"data": data, "crop": crop, **{name: settings.pop(name) for name in ("elastic", "pretrained", "start_from")}}
    if not (options.resume and Path(options.out, "last.npz").exists()):
        _load_weights(model, about["pretrained"], about["start_from"])
    if hasattr(model, "output_size"):
        model.output_size(crop, crop)                     # refuses a crop that does not fit, naming the nearest
    announce_compilation()
    try:
        history = fit(model, train_set, val_set, options.out, resume=options.resume, workers=options.workers,
                      about=about, **settings)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"; {options.out} keeps the epochs that were done: go on with "
                                f"tinyseg train --out {options.out} --resume") from None
    best = max(history, key=lambda row: row["val_mean_iou"])
    print(f"best validation mIoU {best['val_mean_iou']:.4f}, epoch {best['epoch']} of {len(history)}: "
          f"{Path(options.out, 'best.npz')}")
    return 0


def _load_weights(model: Module, pretrained: str | None, start: str | None) -> None:
    """What the model begins with, in place of random numbers."""
    from ..pretraining import load_encoder, start_from

    if pretrained:
        load_encoder(model, pretrained)
    if start:
        start_from(model, start)


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """The settings by name: as given, else as the run to be resumed has them, else the defaults."""
    from ..checkpoint import load

    given = {name: value for name, value in vars(options).items() if name in DEFAULTS}
    for name in ("data", "pretrained", "start_from"):
        if name in given and given[name] != "scenes":
            given[name] = os.path.abspath(given[name])
    last = Path(options.out, "last.npz")
    if not (options.resume and last.exists()):
        return {**DEFAULTS, **given}
    saved = load(last)
    run = {**saved.settings, **saved.arguments, "model": saved.model}
    return {**DEFAULTS, **{name: run[name] for name in DEFAULTS if name in run}, **given}


def augmentation(crop: int, elastic: float = 0.0) -> PairTransform:
    """Random scale, place and side, elastic deformation if wanted, and light that changes as much as from noon to dusk."""
    from ..data import RandomElastic
    from ..data.transforms import ColorJitter, Compose, RandomCrop, RandomHorizontalFlip, RandomScale

    deform = [RandomElastic(elastic)] if elastic else []
    return Compose([RandomScale(0.75, 1.5), *deform, RandomCrop(crop), RandomHorizontalFlip(),
                    ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.05)])
