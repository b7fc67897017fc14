"""The lecture's closing assignment in one picture: a U-Net untrained, overfitted on one example, trained on all images.

Each of the three is shown on an image that it was trained on and on one that it never saw.
"""
from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np

from . import plots
from .data import Dataset, Scenes
from .data.dataset import Pair
from .data.palette import VOID, colorize
from .data.transforms import RandomHorizontalFlip, normalize
from .files import require_writable
from .inference import evaluate, predict
from .metrics import ConfusionMatrix
from .models import UNet
from .nn import Module
from .optim import AdamW
from .plots import Panel
from .rng import manual_seed
from .training import Row, Trainer, train_step

LEARNING_RATE = 6e-3
EXAMPLE, UNSEEN = 5, 2                    # of the training set and of the test set, shown since they have all classes


class Stage(NamedTuple):
    """How far the network has come: what it makes of the two images, and its mean IoU on them and on the test set."""

    name: str
    predictions: list[np.ndarray]
    ious: list[float]
    test_iou: float

    def __str__(self) -> str:
        return f"{self.name:26} {self.ious[0]:10.2f} {self.ious[1]:14.2f} {self.test_iou:10.2f}"


def run(out: str | os.PathLike = "demo.png", seed: int = 0, images: int = 400, epochs: int = 8, steps: int = 150,
        test_images: int = 100) -> list[Stage]:
    """Train, print what each stage reaches, and write the picture `out`: in about two minutes on two cores.

    images: how many there are to train on, in so many epochs; steps: of the training on one example alone.
    """
    require_writable(out)
    train_set = Scenes(images, transform=RandomHorizontalFlip())
    test_set = Scenes(test_images, split="test")
    shown = train_set.read(EXAMPLE), test_set.read(UNSEEN)

    print(f"{'mean IoU on':26} {'an example':>10} {'an unseen one':>14} {'test set':>10}")
    stages = [_look("untrained", _unet(train_set, seed), shown, test_set)]
    model = _unet(train_set, seed)
    losses = _overfit(model, shown[0], steps)
    stages.append(_look("overfitted on the example", model, shown, test_set))
    model = _unet(train_set, seed)
    history = _train(model, train_set, test_set, epochs, seed)
    stages.append(_look(f"trained on {images} images", model, shown, test_set))

    captions = ["1   Untrained: it guesses",
                f"2   After {steps} steps on this one example: it knows that by heart, and little else",
                f"3   After {epochs} epochs on {images} images: it has learnt to see, also what it never saw"]
    plots.save(_picture(train_set, shown, list(zip(captions, stages)), losses, history), out, dpi=80)
    print(f"the whole story: {out}")
    return stages


def _unet(dataset: Dataset, seed: int) -> UNet:
    manual_seed(seed)
    return UNet(dataset.num_classes, width=12, depth=3)


def _overfit(model: Module, example: Pair, steps: int) -> list[Row]:
    """Train on a single example; the loss before each step."""
    from tqdm import trange

    image, mask = example
    optimizer = AdamW(model.parameters(), LEARNING_RATE)
    rows = []
    for step in trange(1, steps + 1, desc="overfitting on one example", unit="step", leave=False):
        loss, _ = train_step(model, optimizer, normalize(image)[None], mask[None])
        rows.append({"step": step, "loss": loss})
    return rows


def _train(model: Module, train_set: Dataset, test_set: Dataset, epochs: int, seed: int) -> list[Row]:
    """Train on all images; the figures of each epoch."""
    from tqdm import tqdm

    validation = Scenes(20, split="val")
    trainer = Trainer(model, train_set, validation, epochs=epochs, batch_size=4, lr=LEARNING_RATE, seed=seed)
    with tqdm(total=epochs * trainer.images_per_epoch, unit="image", leave=False) as bar:
        return [trainer.epoch(bar) for _ in range(epochs)]


def _look(name: str, model: Module, shown: tuple[Pair, Pair], test_set: Dataset) -> Stage:
    predictions, ious = [predict(model, image) for image, _ in shown], []
    for prediction, (_, mask) in zip(predictions, shown):
        confusion = ConfusionMatrix(test_set.num_classes, VOID)
        confusion.update(prediction, mask)
        ious.append(confusion.mean_iou)
    stage = Stage(name, predictions, ious, evaluate(model, test_set).confusion.mean_iou)
    print(stage)
    return stage


def _picture(dataset: Dataset, shown: tuple[Pair, Pair], stages: list[tuple[str, Stage]], losses: list[Row],
             history: list[Row]) -> Any:
    palette = dataset.palette
    (example, example_mask), (unseen, unseen_mask) = shown
    rows = [("The example that it is trained on, and an image that it never sees",
             [Panel("example: image", example), Panel("example: ground truth", colorize(example_mask, palette)),
              Panel("unseen: image", unseen), Panel("unseen: ground truth", colorize(unseen_mask, palette))])]
    for caption, stage in stages:
        for_example, for_unseen = stage.predictions
        rows.append((caption, [
            Panel(f"example: prediction, mIoU {stage.ious[0]:.2f}", colorize(for_example, palette)),
            Panel("example: errors", plots.error_map(for_example, example_mask)),
            Panel(f"unseen: prediction, mIoU {stage.ious[1]:.2f}", colorize(for_unseen, palette)),
            Panel("unseen: errors", plots.error_map(for_unseen, unseen_mask))]))

    figure = plots.new_figure(14, 24)
    figure.suptitle("tinyseg demo: a U-Net learns to segment drawn scenes\n", fontsize=22, fontweight="bold")
    *parts, legend, curves = plots.stack(figure, [4.2] * len(rows) + [1, 4])
    for (caption, row), part in zip(rows, parts):
        part.suptitle(caption, fontsize=17, fontweight="bold")
        plots.draw_row(part, row)
    plots.draw_legend(legend, {**plots.class_legend(dataset.classes, palette), "right": plots.RIGHT_COLOUR,
                               "wrong": plots.WRONG_COLOUR})
    overfitting, loss, iou = curves.subplots(1, 3)
    plots.draw_curves(overfitting, losses, "loss", "2   loss on the one example", x="step")
    plots.draw_curves(loss, history, "loss", "3   loss on all images")
    plots.draw_curves(iou, history, "mean_iou", "3   mean IoU", top=1)
    return figure
