"""Training: one step, one epoch, and a whole run that survives being killed at any moment.

Everything random is a function of (seed, epoch, index), or drawn from the one generator of `rng.py`, whose state is in
the checkpoint.  So a run that is resumed from `last.npz` ends with the same bits as one that was never disturbed.
"""
from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import checkpoint as checkpoints
from . import plots
from .checkpoint import Checkpoint
from .data import DataLoader, Dataset
from .data.palette import VOID
from .files import replacing, require_writable
from .functional import cross_entropy
from .inference import evaluate, evaluating, targets
from .metrics import ConfusionMatrix
from .nn import Module, first_nonfinite
from .optim import SGD, Adam, AdamW, Optimizer, PolynomialLR
from .rng import generator
from .tensor import Tensor

if TYPE_CHECKING:
    from tqdm import tqdm

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adamw": AdamW, "adam": Adam, "sgd": partial(SGD, momentum=0.9, weight_decay=5e-4),
    "sgd99": partial(SGD, momentum=0.99, weight_decay=5e-4),        # FCN's and U-Net's, for batches of one image
}
BALANCES = {"none": 0.0, "sqrt": 0.5, "median": 1.0}      # the power of the median-frequency weights
HEADS = ("score", "classifier", "fc8", "conv_1x1")        # how the layers that make class scores are called in models
Row = dict[str, Any]                                      # the figures of one epoch: a line of history.jsonl


def train_step(model: Module, optimizer: Optimizer, images: np.ndarray, masks: np.ndarray,
               weight: np.ndarray | None = None) -> tuple[float, np.ndarray]:
    """One step of gradient descent on one batch; returns the loss before it, and the labels predicted (N, H', W').

    images (N, 3, H, W) float32; masks (N, H, W) uint8, 255 = void; weight (num_classes,): of each class in the loss.
    Where a model without padding predicts only the middle of the image, the loss looks at the middle of the masks.
    FloatingPointError naming the first layer at fault if the loss is NaN or infinite; no parameter has changed then.
    """
    optimizer.zero_grad()
    scores = model(Tensor(images))                                         # (N, num_classes, H', W')
    loss = cross_entropy(scores, targets(model, masks, *scores.shape[2:]), weight)
    _check_finite("the loss", loss.item(), model, images)
    loss.backward()
    optimizer.step()
    return loss.item(), scores.numpy().argmax(axis=1)


def parameter_groups(model: Module, lr: float, encoder_lr: float = 1.0, head_lr: float = 1.0) -> list[dict[str, Any]]:
    """The model's parameters with a learning rate for each part: lr times encoder_lr or head_lr, elsewhere lr.

    A pretrained encoder needs to move less than what is new (encoder_lr=0.1), the layers that make the class scores
    more (DeepLab's head_lr=10).  encoder_lr=0 freezes the encoder: its parameters are left out.
    ValueError for a negative factor, or if the model has no such part.
    """
    parts: dict[float, list[Tensor]] = {}
    found = set()
    for name, parameter in model.named_parameters():
        first = name.partition(".")[0]
        part = "encoder" if first == "encoder" else "head" if first.startswith(HEADS) else "rest"
        found.add(part)
        parts.setdefault({"encoder": encoder_lr, "head": head_lr, "rest": 1.0}[part], []).append(parameter)
    for part, factor in [("encoder", encoder_lr), ("head", head_lr)]:
        if factor < 0 or (factor != 1 and part not in found):
            raise ValueError(f"training: {part}_lr={factor}, but " + (
                "it must be at least 0" if factor < 0 else f"{type(model).__name__} has no {part} of its own"))
    return [{"params": parameters, "lr": lr * factor} for factor, parameters in parts.items() if factor]


def class_weights(dataset: Dataset, power: float = 1.0) -> np.ndarray:
    """Median-frequency balancing: w_c = (median f / f_c)^power, f_c = pixels of c / pixels of the images with c.

    Eigen & Fergus, ICCV 2015, section 6.  A power below 1 tempers it.  A class that never occurs has weight 0.
    Returns (num_classes,) float32; ValueError if there is nothing but void.
    """
    pixels, available = np.zeros(dataset.num_classes), np.zeros(dataset.num_classes)
    for index in range(len(dataset)):
        counts = np.bincount(dataset.mask(index).ravel(), minlength=256)[:dataset.num_classes]
        pixels += counts
        available[counts > 0] += counts.sum()
    present = pixels > 0
    if not present.any():
        raise ValueError("class_weights: all pixels of the dataset are void; give masks with labels")
    frequency = pixels[present] / available[present]
    weights = np.zeros(dataset.num_classes, np.float32)
    weights[present] = (np.median(frequency) / frequency) ** power
    return weights


class Trainer:
    """A model in training: what an epoch needs, and what a checkpoint keeps.

    epochs, batch_size: how long, and how many images a step; lr: the first learning rate, which falls to 0 by the
    polynomial schedule, step by step; optimizer: a name in OPTIMIZERS; balance: a name in BALANCES; encoder_lr, head_lr:
    see `parameter_groups` (a frozen encoder's batch norm keeps its statistics too); seed: of order and augmentation;
    workers: threads that prepare images (no influence on the result); about: what else the run was made with, such as
    the folder of the images (strings and numbers): kept in checkpoints, and to be the same when the run is resumed.
    `history` has a row for each epoch done.  ValueError for settings out of range.
    """

    def __init__(self, model: Module, train_set: Dataset, val_set: Dataset, *, epochs: int, batch_size: int = 8,
                 lr: float = 1e-3, optimizer: str = "adamw", balance: str = "none", encoder_lr: float = 1.0,
                 head_lr: float = 1.0, seed: int = 0, workers: int = 1,
                 about: dict[str, Any] | None = None):
        _check_choice("optimizer", optimizer, OPTIMIZERS)
        _check_choice("balance", balance, BALANCES)
        if epochs < 1 or not 0 < lr < math.inf:
            raise ValueError(f"training: epochs={epochs} and lr={lr}; expected at least 1 epoch and a rate above 0")
        self.model, self.train_set, self.val_set, self.epochs = model, train_set, val_set, epochs
        self.settings = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "optimizer": optimizer,
                         "balance": balance, "encoder_lr": encoder_lr, "head_lr": head_lr, "seed": seed,
                         "images": len(train_set), **(about or {})}
        self.loader = DataLoader(train_set, batch_size, shuffle=True, seed=seed, drop_last=len(train_set) >= batch_size,
                                 workers=workers)
        self.optimizer = OPTIMIZERS[optimizer](parameter_groups(model, lr, encoder_lr, head_lr), lr=lr)
        self.frozen: list[Any] = [getattr(model, "encoder")] if encoder_lr == 0 else []
        for part in self.frozen:
            part.requires_grad_(False)
        self.scheduler = PolynomialLR(self.optimizer, total_iters=epochs * len(self.loader))
        self.weight = class_weights(train_set, BALANCES[balance]) if BALANCES[balance] else None
        self.history: list[Row] = []

    @property
    def images_per_epoch(self) -> int:
        """How many images an epoch trains on: all, or as many as fill batches."""
        return min(len(self.train_set), len(self.loader) * self.loader.batch_size)

    @np.errstate(over="ignore", invalid="ignore")         # what overflows is looked for, and reported once
    def epoch(self, bar: tqdm) -> Row:
        """Train on every image once and evaluate on the validation set, showing it on `bar`; a new row of the history.

        FloatingPointError as `train_step`; ValueError if all masks are void.
        """
        from tqdm import tqdm

        bar.set_description(f"epoch {len(self.history) + 1}/{self.epochs}")
        started, lr = time.perf_counter(), self.scheduler.lr(self.settings["lr"], self.scheduler.last_epoch)
        self.loader.set_epoch(len(self.history))
        self.model.train()
        for part in self.frozen:
            part.eval()
        confusion, losses = ConfusionMatrix(self.train_set.num_classes, VOID), []
        for images, masks in self.loader:
            if (masks != VOID).any():                     # a batch of nothing but void has no loss
                loss, labels = train_step(self.model, self.optimizer, images, masks, self.weight)
                losses.append(loss)
                confusion.update(labels, targets(self.model, masks, *labels.shape[1:]))
                bar.set_postfix(loss=f"{loss:.3f}", mIoU=f"{confusion.mean_iou:.3f}", refresh=False)
            self.scheduler.step()
            bar.update(len(images))
        if not losses:
            raise ValueError("training: all pixels of the training images are void; give masks with labels")
        seconds = time.perf_counter() - started
        progress = partial(tqdm, desc="validation", unit="image", leave=False, disable=bar.disable)
        validation, val_loss, _ = evaluate(self.model, self.val_set, progress)
        with evaluating(self.model):
            _check_finite("the loss in validation", val_loss, self.model, images)
        self.history.append({
            "epoch": len(self.history) + 1, "lr": lr, "loss": float(np.mean(losses)), "val_loss": val_loss,
            "mean_iou": confusion.mean_iou, "val_mean_iou": validation.mean_iou,
            "pixel_accuracy": confusion.pixel_accuracy, "val_pixel_accuracy": validation.pixel_accuracy,
            "seconds": round(time.perf_counter() - started, 2),
            "images_per_second": round(self.images_per_epoch / seconds, 1),
        })
        return self.history[-1]

    def checkpoint(self) -> Checkpoint:
        """All that `restore` needs to go on from here."""
        model, arguments = checkpoints.describe(self.model)
        return Checkpoint(model, arguments, self.model.state_dict(), list(self.train_set.classes),
                          self.train_set.palette, list(self.history), self.settings, self.optimizer.state_dict(),
                          self.scheduler.state_dict(), dict(generator().bit_generator.state))

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint.  ValueError if it is of another model, other classes, or trained in another way."""
        saved, given = ({"model": c.model, **c.arguments, "classes": c.classes, **c.settings}
                        for c in (checkpoint, self.checkpoint()))
        for name in {**given, **saved}:
            if given.get(name) != saved.get(name):
                raise ValueError(f"was trained with {name} = {saved.get(name)}, not {given.get(name)}; resume with "
                                 f"the same, or start a new run in another folder")
        self.model.load_state_dict(checkpoint.weights)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        self.scheduler.load_state_dict(checkpoint.scheduler)
        generator().bit_generator.state = checkpoint.rng
        self.history = list(checkpoint.history)


def fit(model: Module, train_set: Dataset, val_set: Dataset, out: str | os.PathLike, *, resume: bool = False,
        **settings: Any) -> list[Row]:
    """Train a model, keeping everything in the folder `out`; returns the history, one row an epoch.

    settings: as of `Trainer` (epochs, batch_size, lr, optimizer, balance, encoder_lr, head_lr, seed, workers).
    out: history.jsonl (the rows), curves.png, best.npz (of the highest mean IoU in validation), last.npz; up to date
    after each epoch, and whole at every moment.
    resume: go on from last.npz if there is one, to the same bits that an undisturbed run ends with.
    FileExistsError if there is a run that is not to be resumed, ValueError if it is one of other settings.

    >>> import tempfile
    >>> from tinyseg.data import Scenes
    >>> from tinyseg.models import UNet
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     history = fit(UNet(3, width=2, depth=2), Scenes(4, 32, 3), Scenes(1, 32, 3, split="val"), folder, epochs=1)
    ...     sorted(path.name for path in Path(folder).iterdir())
    ['best.npz', 'curves.png', 'history.jsonl', 'last.npz']
    """
    from tqdm import tqdm

    out = Path(out)
    last = out / "last.npz"
    if last.exists() and not resume:
        raise FileExistsError(f"{out}: holds a run already; resume it (--resume), or choose another folder")
    trainer = Trainer(model, train_set, val_set, **settings)
    if last.exists():
        saved = checkpoints.load(last)
        try:
            trainer.restore(saved)
        except ValueError as error:
            raise ValueError(f"{last}: {error}") from error
        _write_history(out, trainer.history)              # without rows that the checkpoint does not know
    out.mkdir(parents=True, exist_ok=True)
    require_writable(last)
    done, images = len(trainer.history), trainer.images_per_epoch
    with tqdm(total=trainer.epochs * images, initial=done * images, unit="image", smoothing=0.05) as bar:
        while len(trainer.history) < trainer.epochs:
            row = trainer.epoch(bar)
            _keep(trainer, out)
            bar.write(f"epoch {row['epoch']}: loss {row['loss']:.4f}, mIoU {row['mean_iou']:.4f}; validation: "
                      f"loss {row['val_loss']:.4f}, mIoU {row['val_mean_iou']:.4f}", file=sys.stderr)
    return trainer.history


def _keep(trainer: Trainer, out: Path) -> None:
    """Write the files of a run: last.npz before all that can be made from it, and after best.npz, which cannot."""
    *before, now = [row["val_mean_iou"] for row in trainer.history]
    checkpoint = trainer.checkpoint()
    if now > max(before, default=-1):
        checkpoints.save(out / "best.npz", checkpoint)
    checkpoints.save(out / "last.npz", checkpoint)
    _write_history(out, trainer.history)
    plots.save(plots.curves(trainer.history), out / "curves.png")


def _write_history(out: Path, history: list[Row]) -> None:
    with replacing(out / "history.jsonl") as file:
        file.writelines(json.dumps(row).encode() + b"\n" for row in history)


def _check_finite(what: str, loss: float, model: Module, images: np.ndarray) -> None:
    if not math.isfinite(loss):
        layer = first_nonfinite(model, Tensor(images)) or "the loss itself"
        raise FloatingPointError(f"{what} is {loss}: the first layer to put out NaN or infinity is {layer}; "
                                 f"train with a smaller learning rate")


def _check_choice(name: str, value: str, choices: dict[str, Any]) -> None:
    if value not in choices:
        raise ValueError(f"training: {name}={value!r}; expected one of {', '.join(choices)}")
