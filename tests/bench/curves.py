"""Does a digit less in the convolutions change what is learnt?  The same trainings with "fast" and with "accurate".

The seed decides on the first weights and on the order of the images.  With one seed the two settings begin alike and drift
apart by rounding; how far is to be seen beside the distance between seeds.
"""
from __future__ import annotations

from functools import partial

import harness
import numpy as np
from tqdm import tqdm

import tinyseg as ts
from tinyseg import backends
from tinyseg.data import Scenes
from tinyseg.data.transforms import RandomHorizontalFlip
from tinyseg.training import Trainer

SETTINGS = {"fast": "#0072B2", "accurate": "#D55E00"}
SEEDS, IMAGES, EPOCHS = range(6), 200, 8
FIGURES = {"loss": "loss in training", "val_loss": "loss in validation", "val_mean_iou": "mean IoU in validation"}


def jobs(options):
    return {f"{setting}, seed {seed}": partial(train, setting, seed) for seed in SEEDS for setting in SETTINGS}


def train(setting, seed, images=IMAGES, epochs=EPOCHS):
    """{figure: [epochs]} of a U-Net that learns drawn scenes."""
    ts.manual_seed(seed)
    train_set = Scenes(images, transform=RandomHorizontalFlip())
    model = ts.models.UNet(train_set.num_classes, width=16, depth=3)
    trainer = Trainer(model, train_set, Scenes(50, split="val"), epochs=epochs, batch_size=4, lr=6e-3, seed=seed)
    with backends.conv2d(setting), tqdm(total=epochs * trainer.images_per_epoch, unit="image", leave=False) as bar:
        rows = [trainer.epoch(bar) for _ in range(epochs)]
    return {name: [row[name] for row in rows] for name in FIGURES}


def curves(rows, setting, name):
    """(seeds, epochs), of the seeds that both settings were trained with."""
    seeds = [seed for seed in SEEDS if all(f"{other}, seed {seed}" in rows for other in SETTINGS)]
    return np.array([rows[f"{setting}, seed {seed}"][name] for seed in seeds])


def markdown(rows):
    tables = []
    for name, title in FIGURES.items():
        fast, accurate = (curves(rows, setting, name) for setting in SETTINGS)
        if len(fast) < 2:
            return "two seeds of each setting are needed"
        lines = [[i + 1, *(f"{values[:, i].mean():.3f} ± {values[:, i].std(ddof=1):.3f}" for values in (fast, accurate)),
                  f"{abs(fast - accurate)[:, i].mean():.3f}"] for i in range(fast.shape[1])]
        tables.append(harness.table([f"{title}, epoch", *(f"{setting}, {len(fast)} seeds" for setting in SETTINGS),
                                     "apart, with one seed"], lines))
    return "\n\n".join(tables)


def figure(rows):
    from tinyseg.plots import new_figure

    figure = new_figure(13, 4.2)
    for ax, (name, title) in zip(figure.subplots(1, 3), FIGURES.items()):
        for setting, colour in SETTINGS.items():
            values = curves(rows, setting, name)
            if not values.size:
                continue
            epochs = np.arange(1, values.shape[1] + 1)
            ax.plot(epochs, values.T, color=colour, linewidth=0.7, alpha=0.6)
            ax.plot(epochs, values.mean(axis=0), color=colour, linewidth=2.5, label=setting)
            ax.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.12)
        ax.set_title(title)
        ax.set_xlabel("epoch")
        ax.grid(color="0.9")
    ax.legend(title="mean of the seeds, each, and their range")
    return figure
