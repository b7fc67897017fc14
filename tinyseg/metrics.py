"""How good a segmentation is: one confusion matrix over the whole data set, and the scores that follow from it."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np


class ConfusionMatrix:
    """Counts n_ij: how many pixels of class i were predicted as class j, over all images that it is updated with.

    With t_i = Σ_j n_ij the pixels of class i (Long, Shelhamer & Darrell, CVPR 2015, section 5)::

        pixel_accuracy               Σ_i n_ii / Σ_i t_i
        mean_accuracy                mean over i of n_ii / t_i
        mean_iou                     mean over i of n_ii / (t_i + Σ_j n_ji − n_ii)  =  |S_gt ∩ S_pred| / |S_gt ∪ S_pred|
        frequency_weighted_iou       Σ_i t_i IoU_i / Σ_i t_i

    The scores are fractions in [0, 1]. A class without a pixel in truth and prediction has no IoU: it is NaN in `iou`
    and left out of `mean_iou`, counted neither as 0 nor as 1; `mean_accuracy` leaves out the classes without truth.
    Before the first valid pixel every score is NaN. The mean of the mIoU of single images, or of batches, is another
    score.

    num_classes: labels are 0 … num_classes − 1.
    ignore_index: pixels with this true label (void) do not count, whatever was predicted there.
    classes: their names, for the table that `str` gives.

    >>> confusion = ConfusionMatrix(2)
    >>> confusion.update(np.array([[0, 1, 1, 1]]), np.array([[0, 0, 1, 255]]))
    >>> confusion.matrix
    array([[1, 1],
           [0, 1]])
    >>> confusion.iou, confusion.mean_iou
    (array([0.5, 0.5]), 0.5)
    """

    def __init__(self, num_classes: int, ignore_index: int = 255, classes: Sequence[str] | None = None) -> None:
        if num_classes < 1:
            raise ValueError(f"ConfusionMatrix: num_classes must be at least 1, got {num_classes}")
        if classes is not None and len(classes) != num_classes:
            raise ValueError(f"ConfusionMatrix: {len(classes)} class names for {num_classes} classes")
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.classes = [f"class {i}" for i in range(num_classes)] if classes is None else list(classes)
        self.reset()

    def reset(self) -> None:
        """Forget all pixels."""
        self.matrix = np.zeros((self.num_classes, self.num_classes), np.int64)

    def update(self, prediction: np.ndarray, target: np.ndarray) -> None:
        """Count the pixels of integer label arrays of one shape: (H, W), (N, H, W) or any other.

        Raises TypeError for labels that are not integers and ValueError for shapes that differ or labels out of
        range; nothing is counted then.
        """
        prediction, target = np.asarray(prediction), np.asarray(target)
        for name, labels in ("prediction", prediction), ("target", target):
            if labels.dtype.kind not in "iu":
                raise TypeError(f"ConfusionMatrix: {name} must be integer labels, got {labels.dtype}; "
                                "of scores (N, C, H, W) take the argmax over axis 1")
        if prediction.shape != target.shape:
            raise ValueError(f"ConfusionMatrix: prediction {prediction.shape} and target {target.shape} differ")
        valid = target != self.ignore_index
        true, predicted = target[valid].astype(np.int64), prediction[valid].astype(np.int64)
        self._check_range("target", true)
        self._check_range("prediction", predicted)
        n = self.num_classes
        self.matrix += np.bincount(n * true + predicted, minlength=n * n).reshape(n, n)

    def _check_range(self, name: str, labels: np.ndarray) -> None:
        wrong = labels[(labels < 0) | (labels >= self.num_classes)]
        if wrong.size:
            void = f" and void {self.ignore_index}" if name == "target" else ""
            raise ValueError(f"ConfusionMatrix: {name} holds label {wrong[0]}; {wrong.size} pixels are out of range, "
                             f"the {self.num_classes} classes are 0..{self.num_classes - 1}{void}")

    def merge(self, other: ConfusionMatrix) -> None:
        """Add the counts of `other`, which must have as many classes; also written `+=`."""
        if other.num_classes != self.num_classes:
            raise ValueError(f"ConfusionMatrix: cannot merge {other.num_classes} classes into {self.num_classes}")
        self.matrix = self.matrix + other.matrix

    def __iadd__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        self.merge(other)
        return self

    @property
    def pixel_accuracy(self) -> float:
        """The fraction of pixels that are right."""
        return float(_divide(np.trace(self.matrix), self.matrix.sum()))

    @property
    def class_accuracy(self) -> np.ndarray:
        """Per class, the fraction of its pixels that are right (recall): (num_classes,), NaN without truth."""
        return _divide(np.diag(self.matrix), self.matrix.sum(axis=1))

    @property
    def mean_accuracy(self) -> float:
        """The mean of `class_accuracy` over the classes that have pixels in the truth."""
        return _mean(self.class_accuracy)

    @property
    def iou(self) -> np.ndarray:
        """Per class, intersection over union: (num_classes,), NaN for a class absent from truth and prediction."""
        intersection = np.diag(self.matrix)
        return _divide(intersection, self.matrix.sum(axis=1) + self.matrix.sum(axis=0) - intersection)

    @property
    def mean_iou(self) -> float:
        """The mean of `iou` over the classes that occur: mIoU."""
        return _mean(self.iou)

    @property
    def frequency_weighted_iou(self) -> float:
        """The mean of `iou` weighted by how often each class occurs in the truth."""
        true = self.matrix.sum(axis=1)
        return float(_divide((true * np.nan_to_num(self.iou)).sum(), true.sum()))

    def as_dict(self) -> dict[str, Any]:
        """All scores under their names, and per class under the class names; None for NaN, so that JSON can hold it."""
        scores = {name: _or_none(getattr(self, name))
                  for name in ("pixel_accuracy", "mean_accuracy", "mean_iou", "frequency_weighted_iou")}
        return {**scores, "iou": dict(zip(self.classes, map(_or_none, self.iou))),
                "class_accuracy": dict(zip(self.classes, map(_or_none, self.class_accuracy)))}

    def __str__(self) -> str:
        """A table of one line a class and one line a score, in per cent.

        >>> print(ConfusionMatrix(2, classes=["sky", "road"]))
        class          pixels   accuracy      IoU
        sky                 0          –        –
        road                0          –        –
        mean                0          –        –
        pixel accuracy – · frequency-weighted IoU –
        """
        width = max(10, *map(len, self.classes))
        true = self.matrix.sum(axis=1)
        rows = [*zip(self.classes, true, self.class_accuracy, self.iou),
                ("mean", true.sum(), self.mean_accuracy, self.mean_iou)]
        lines = [f"{'class':{width}} {'pixels':>10} {'accuracy':>10} {'IoU':>8}"]
        lines += [f"{name:{width}} {pixels:10d} {_percent(accuracy):>10} {_percent(iou):>8}"
                  for name, pixels, accuracy, iou in rows]
        lines.append(f"pixel accuracy {_percent(self.pixel_accuracy)} · "
                     f"frequency-weighted IoU {_percent(self.frequency_weighted_iou)}")
        return "\n".join(lines)


def boundary_band(mask: np.ndarray, width: int = 3) -> np.ndarray:
    """Which pixels of a mask (H, W) lie within `width` pixels of a boundary between two labels: (H, W) bool.

    The trimap of Kohli, Ladický & Torr (IJCV 2009, section 5.2), where thin and sharp structures decide. Distance is
    counted along rows and columns, diagonals as one step. A void contour, as VOC draws it, is a label like any other
    here: the band lies on both sides of it.

    >>> boundary_band(np.array([[0, 0, 0, 0, 1, 1]]), width=1).astype(int)
    array([[0, 0, 0, 1, 1, 0]])
    """
    if mask.ndim != 2 or width < 1:
        raise ValueError(f"boundary_band: mask {mask.shape} and width={width}; expected (H, W) and at least 1")
    band: Any = np.zeros(mask.shape, bool)
    rows, columns = mask[1:] != mask[:-1], mask[:, 1:] != mask[:, :-1]
    for side in band[1:], band[:-1]:
        side |= rows
    for side in band[:, 1:], band[:, :-1]:
        side |= columns
    for axis in 0, 1:
        near = np.pad(band, [(width - 1, width - 1) if a == axis else (0, 0) for a in (0, 1)])
        band = np.any(np.lib.stride_tricks.sliding_window_view(near, 2 * width - 1, axis), axis=-1)
    return band


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient, NaN where the denominator is 0."""
    return np.where(denominator > 0, numerator / np.maximum(denominator, 1), np.nan)


def _mean(values: np.ndarray) -> float:
    """The mean of the values that are not NaN; NaN if there are none."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _percent(value: float) -> str:
    return "–" if np.isnan(value) else f"{100 * value:.1f}"
