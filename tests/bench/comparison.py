"""The lecture's systems side by side: trained with the same data, recipe and time, measured on the same test images.

    python tests/bench/comparison.py --data DIR [--minutes 4 --out comparison] [--mobilenet WEIGHTS.npz] [--only NAME …]

A system's number of epochs is what fits into its minutes on this machine.  That is measured for all of them before the first
one trains, and kept in OUT/epochs.json, since the learning rate falls over the whole run: nothing else may run on the machine
meanwhile; later it may.  Every row is kept in OUT/rows.jsonl as soon as it is known; a second call goes on with the rows that
are missing.  At the end: OUT/comparison.md, and comparison.png with the predictions.
"""
import argparse
import json
import pathlib
import time

import numpy as np
from tqdm import tqdm

import tinyseg as ts
from tinyseg import inference, plots, training
from tinyseg.checkpoint import load_model
from tinyseg.data.palette import colorize
from tinyseg.models.summary import layer_rows
from tinyseg.pretraining import load_encoder

BATCH, CROP, SHOWN = 4, 128, 4
MOBILENET = {"encoder": "mobilenet_v1", "width": 32}
SYSTEMS = {
    "U-Net": ("unet", {"width": 16}),
    "FCN-8s": ("fcn", {"variant": "8s", **MOBILENET}),
    "FCN-16s": ("fcn", {"variant": "16s", **MOBILENET}),
    "FCN-32s": ("fcn", {"variant": "32s", **MOBILENET}),
    "FCN-8s from scratch": ("fcn", {"variant": "8s", **MOBILENET}),
    # a third of the papers' rates, as these images have a third of the pixels on a side
    "DeepLab v1": ("deeplab", {"version": "v1", **MOBILENET, "output_stride": 8, "rates": (4,)}),
    "DeepLab v2": ("deeplab", {"version": "v2", **MOBILENET, "output_stride": 8, "rates": (2, 4, 6, 8)}),
    "DeepLab v3": ("deeplab", {"version": "v3", **MOBILENET, "output_stride": 16, "rates": (2, 4, 6)}),
    "SegNet": ("segnet", {"width": 16}),
    "sliding window": ("patch_classifier", {"width": 16, "window": 30}),
}
FROM_SCRATCH = ("U-Net", "SegNet", "sliding window", "FCN-8s from scratch")
WITH_CRF = ("FCN-8s", "DeepLab v1", "DeepLab v2", "DeepLab v3")
CRF = {"w1": 4.0, "theta_alpha": 20.0, "theta_beta": 8.0, "w2": 2.0, "theta_gamma": 1.5, "iterations": 5}


def build(name, options, num_classes):
    """A system before its training, with its encoder's ImageNet weights unless it starts from scratch."""
    kind, arguments = SYSTEMS[name]
    ts.manual_seed(0)
    model = ts.models.MODELS[kind](num_classes, **arguments)
    if name not in FROM_SCRATCH:
        load_encoder(model, options.mobilenet)
    return model


def epochs_of_all(names, options, train_set, val_set):
    """How many epochs every system trains for: as measured by the first call."""
    kept = options.out / "epochs.json"
    epochs = json.loads(kept.read_text()) if kept.exists() else {}
    for name in names:
        if name not in epochs:
            seconds = seconds_per_epoch(build(name, options, train_set.num_classes), train_set, val_set)
            epochs[name] = max(1, int(60 * options.minutes / seconds))
            print(f"{name}: {seconds:.1f} s an epoch, so {epochs[name]} epochs", flush=True)
    kept.write_text(json.dumps(epochs))
    return epochs


def train(name, epochs, options, train_set, val_set, out):
    """Train one system, or go on with it; returns the model at its best in validation."""
    training.fit(build(name, options, train_set.num_classes), train_set, val_set, out, epochs=epochs, resume=True,
                 batch_size=BATCH, lr=2e-3, balance="sqrt", encoder_lr=1.0 if name in FROM_SCRATCH else 0.3)
    return load_model(out / "best.npz")


def seconds_per_epoch(model, train_set, val_set, steps=8, images=4):
    """From a few steps and a few validation images, after one of each that compiles what there is to compile."""
    loader = iter(ts.data.DataLoader(train_set, BATCH, shuffle=True, drop_last=True))
    optimizer = ts.optim.AdamW(model.parameters(), lr=1e-4)
    training.train_step(model, optimizer, *next(loader))
    started = time.perf_counter()
    for _ in range(steps):
        training.train_step(model, optimizer, *next(loader))
    step = (time.perf_counter() - started) / steps
    return step * (len(train_set) // BATCH) + seconds_per_image(model, val_set, images) * len(val_set)


def seconds_per_image(model, dataset, images=10):
    """The median time of a prediction, batch 1."""
    times = []
    for index in [0, *range(images)]:
        image, _ = dataset.read(index)
        started = time.perf_counter()
        inference.predict(model, image)
        times.append(time.perf_counter() - started)
    return float(np.median(times[1:]))


def measure(name, model, dataset, **options):
    """The figures of one row on a dataset."""
    result = inference.evaluate(model, dataset, lambda numbers: tqdm(numbers, desc=name, leave=False), **options)
    return {"system": name, "mean_iou": result.confusion.mean_iou, "pixel_accuracy": result.confusion.pixel_accuracy,
            "boundary_accuracy": result.boundary.pixel_accuracy,
            "iou": dict(zip(dataset.classes, map(float, result.confusion.iou)))}


def rows_of(name, epochs, options, sets, out):
    """Train and measure one system, with and without the CRF."""
    model = train(name, epochs, options, *sets[:2], out)
    image, _ = sets[2].read(0)
    layers = layer_rows(model, (1, 3, *(-(-side // 32) * 32 for side in image.shape[:2])))     # a size that all accept
    row = {**measure(name, model, sets[2]), "parameters": sum(parameter.size for parameter in model.parameters()),
           "multiply_adds": sum(layer.multiply_adds for layer in layers),
           "ms": 1e3 * seconds_per_image(model, sets[2]), "epochs": epochs}
    yield row
    if name in WITH_CRF:
        started = time.perf_counter()
        refined = measure(f"{name} + CRF", model, sets[2], crf=CRF)
        seconds = (time.perf_counter() - started) / len(sets[2])
        yield {**row, **refined, "ms": 1e3 * seconds}


def markdown(rows):
    lines = ["| system | mIoU | pixel accuracy | in the 3-pixel band | parameters | multiply-adds | ms per image | epochs |",
             "|---|---|---|---|---|---|---|---|"]
    lines += [f"| {row['system']} | {100 * row['mean_iou']:.1f} | {100 * row['pixel_accuracy']:.1f} | "
              f"{100 * row['boundary_accuracy']:.1f} | {row['parameters'] / 1e6:.2f} M | {row['multiply_adds'] / 1e9:.2f} G | "
              f"{row['ms']:.0f} | {row['epochs']} |" for row in rows]
    return "\n".join(lines) + "\n"


def picture(rows, dataset, out):
    """Test images, their ground truth, and what every system makes of them: a row for each system."""
    chosen = [dataset.read(index) for index in np.linspace(0, len(dataset) - 1, SHOWN).astype(int)]
    panels = [[plots.Panel("image", image) for image, _ in chosen],
              [plots.Panel("ground truth", colorize(mask, dataset.palette)) for _, mask in chosen]]
    for row in rows:
        name, _, crf = row["system"].partition(" + ")
        model = load_model(out / name.replace(" ", "_") / "best.npz")
        labels = [inference.probabilities(model, image, crf=CRF if crf else None).argmax(axis=0).astype(np.uint8)
                  for image, _ in chosen]
        panels.append([plots.Panel(row["system"], colorize(mask, dataset.palette)) for mask in labels])
    plots.save(plots.grid(panels, plots.class_legend(dataset.classes, dataset.palette)),
               out / "comparison.png", dpi=50)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder in Pascal-VOC layout")
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("comparison"))
    parser.add_argument("--mobilenet", help="ImageNet weights of MobileNetV1; without them only what starts from scratch")
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    kept = options.out / "rows.jsonl"
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []

    from tinyseg.cli.common import open_dataset
    from tinyseg.cli.train import augmentation
    sets = [open_dataset(options.data, "train", augmentation(CROP)), *(open_dataset(options.data, s) for s in ("val", "test"))]
    names = [name for name in options.only if name in FROM_SCRATCH or options.mobilenet]
    epochs = epochs_of_all(names, options, *sets[:2])
    for name in names:
        if name not in [row["system"] for row in rows]:
            for row in rows_of(name, epochs[name], options, sets, options.out / name.replace(" ", "_")):
                rows.append(row)
                with kept.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(markdown([row]).splitlines()[-1], flush=True)
    (options.out / "comparison.md").write_text(markdown(rows))
    picture(rows, sets[2], options.out)
    print(markdown(rows))


if __name__ == "__main__":
    main()
