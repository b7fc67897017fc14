"""The loss at one pixel, and the score over all pixels: softmax cross-entropy and mIoU."""
from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..metrics import ConfusionMatrix
from ..op import Array
from ..ops.loss import CrossEntropy
from .checks import plane
from .frames import Frame, Grid, Steps, Text, grid, number
from .watch import reference, watch

VOID = 255
TARGET = np.array([[0, 0, 0, 1, 1], [0, 2, 2, 1, 1], [0, 2, 2, 0, VOID], [0, 0, 0, 0, VOID]])
PREDICTION = np.array([[0, 0, 1, 1, 1], [0, 2, 2, 2, 1], [0, 2, 0, 0, 0], [0, 0, 0, 0, 1]])


def cross_entropy(logits: Any = (1, 0.5, 3, -1), label: int = 2) -> Steps:
    """Softmax cross-entropy at one pixel: logits, their exponentials, probabilities, the loss -ln σ_y, its gradient.

    logits: K numbers, one a class; label: the pixel's class, or 255, void.  Raises ValueError for a label that is none.

    >>> cross_entropy([0, 0], label=1)[-1]["One pixel"].values[-1].tolist()
    [0.5, -0.5]
    """
    x = plane("cross-entropy: logits", logits)
    if x.shape[0] > 1 or x.shape[1] < 2:
        raise ValueError(f"cross-entropy: logits of shape {x.shape}; expected one row, a number for each of at least 2 "
                         f"classes")
    if abs(x).max() > 100:
        raise ValueError(f"cross-entropy: logit {number(x.flat[abs(x).argmax()])}; expected -100 to 100, or the "
                         f"exponentials cannot be shown")
    if label != VOID and not 0 <= label < x.size:
        raise ValueError(f"cross-entropy: label {label}, but {x.size} logits make the classes 0 … {x.size - 1}; {VOID} "
                         f"is void")
    return Steps(f"Softmax cross-entropy at a pixel of {'no class (void)' if label == VOID else f'class {label}'}",
                 _loss_frames(x, int(label)))


def _loss_frames(x: Array, label: int) -> Iterator[Frame]:
    """What `CrossEntropy.reference` holds after its last step, line by line."""
    def see(at: Any) -> tuple[Array, Array, float]:
        return np.array(at["log_p"][0]), np.array(at["one_hot"][0]), float(at["loss"][0])

    run = watch(reference(CrossEntropy), "loss = np.where(void", see, x, np.array([label]),
                ignore_index=VOID, reduction="sum", label_smoothing=0)
    [(log_p, one_hot, loss)], logits = run.moments, x[0]
    powers, sigma, void = np.exp(logits), np.exp(log_p), label == VOID
    one_hot = np.zeros(x.size) if void else one_hot
    rows = [("logit x", logits, "The network gives the pixel one number for each class, its logit."),
            ("exp x", powers, f"The exponential makes them positive; they sum to {number(powers.sum())}."),
            ("σ = exp x / Σ", sigma, "Divided by the sum they are probabilities, and sum to 1: the softmax."),
            ("y, one-hot", one_hot, "The pixel is void: it has no class." if void else
             f"The ground truth is class {label}: all probability in one place."),
            ("-y ln σ", -one_hot * log_p, "A void pixel costs nothing." if void else
             f"The loss is -ln σ of that class: -ln {number(sigma[label])} = {number(loss)}."),
            ("dL/dx", np.zeros(x.size) if void else sigma - one_hot, "No gradient comes from a void pixel." if void else
             "The gradient is σ - y: negative at the true class, whose logit a step downhill raises, else positive.")]
    table = np.full((len(rows), x.size), np.nan)
    for r, (_, values, sentence) in enumerate(rows):
        table[r] = values
        panels = [grid("One pixel", table, read=np.s_[:r], written=np.s_[r], rows=[name for name, *_ in rows],
                       columns=[f"class {k}" for k in range(x.size)])]
        if r >= 4:
            panels.append(grid("Loss", loss, written=np.s_[:]))
        yield Frame(sentence, tuple(panels), run.code if r == 4 else "")


def mean_iou(prediction: Any = PREDICTION, target: Any = TARGET) -> Steps:
    """mIoU, class by class: intersection and union of the two masks, and the mean over the classes so far.

    prediction, target (H, W): class indices 0, 1, 2 …; 255 in the target is void.  Raises ValueError, TypeError for
    others.

    >>> mean_iou([[0, 1]], [[0, 0]])[-1].sentence
    'mIoU 0.25 is the mean over 2 classes; pixel accuracy is 0.5: 1 of 2 pixels.'
    """
    masks = []
    for name, mask in ("prediction", prediction), ("target", target):
        values = plane(f"mean-iou: {name}", mask)
        wrong = values[(values % 1 != 0) | (values < 0)]
        if wrong.size:
            raise ValueError(f"mean-iou: {name} holds {number(wrong[0])}; expected class indices 0, 1, 2 …")
        masks.append(values.astype(int))
    if masks[0].shape != masks[1].shape:
        raise ValueError(f"mean-iou: prediction {masks[0].shape} and target {masks[1].shape} differ; give masks of one "
                         f"size")
    valid = masks[1] != VOID
    num_classes = max(int(mask[valid].max(initial=0)) for mask in masks) + 1
    if num_classes > 21 or not valid.any():
        raise ValueError(f"mean-iou: {num_classes} classes in {valid.sum()} pixels that are not void; expected at most "
                         f"21 classes and at least a pixel")
    confusion = ConfusionMatrix(num_classes, VOID)
    confusion.update(*masks)
    return Steps(f"mIoU of {num_classes} classes", _iou_frames(masks[0], masks[1], confusion),
                 {"read": "in the union only", "written": "in the intersection", "padding": "void"})


def _iou_frames(prediction: Array, target: Array, confusion: ConfusionMatrix) -> Iterator[Frame]:
    names, void = [f"class {k}" for k in range(confusion.num_classes)], target == VOID
    scores = np.full((confusion.num_classes, 3), np.nan)

    def panels(union: Any = None, intersection: Any = None, k: int | None = None) -> tuple[Grid, ...]:
        down, across = np.indices(confusion.matrix.shape) == (-1 if k is None else k)      # the class's row and column
        return (grid("Ground truth", target, read=union, written=intersection, padding=void),
                grid("Prediction", prediction, read=union, written=intersection, padding=void),
                grid("Confusion: true (down), predicted", confusion.matrix, read=down | across, written=down & across),
                grid("Scores", scores, written=down[:, 0], rows=names, columns=("∩", "∪", "IoU")))

    yield Frame(f"{(~void).sum()} pixels count, {void.sum()} are void. The confusion matrix counts each by its true "
                f"class (row) and its predicted one (column).", panels())
    for k, iou in enumerate(confusion.iou):
        true, predicted = (target == k) & ~void, (prediction == k) & ~void
        scores[k] = (true & predicted).sum(), (true | predicted).sum(), iou
        sentence = f"Class {k} is in neither mask: it has no IoU, and is left out of the mean." if np.isnan(iou) else \
            f"Class {k}: {number(scores[k, 0])} pixels in both, {number(scores[k, 1])} in at least one: IoU " \
            f"{number(iou)}."
        yield Frame(sentence, (*panels(true | predicted, true & predicted, k), _mean(confusion.iou[:k + 1])))
    right, present = np.trace(confusion.matrix), (~np.isnan(confusion.iou)).sum()
    yield Frame(f"mIoU {number(confusion.mean_iou)} is the mean over {present} classes; pixel accuracy is "
                f"{number(confusion.pixel_accuracy)}: {right} of {confusion.matrix.sum()} pixels.",
                (*panels(), _mean(confusion.iou)))


def _mean(iou: Array) -> Text:
    """The mean over the classes that have an IoU, written out."""
    present = iou[~np.isnan(iou)]
    terms = " + ".join(map(number, present))
    line = f"({terms}) / {present.size} = {number(present.mean())}" if present.size else "no class yet"
    return Text("mIoU so far", tuple(textwrap.wrap(line, 60)))
