"""Using a trained model: predictions for images of any size, and its figures on a dataset."""
from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .crf import dense_crf
from .data import Dataset
from .data.palette import VOID
from .data.transforms import normalize
from .functional import cross_entropy, interpolate, log_softmax, softmax
from .graph import no_grad
from .metrics import ConfusionMatrix, boundary_band
from .nn import Module
from .tensor import Tensor


FUSIONS = ("mean", "max")


def predict(model: Module, image: np.ndarray, **views: Any) -> np.ndarray:
    """The most probable class of every pixel: (H, W, 3) uint8 RGB, of any size -> (H, W) uint8.  views: as `scores`.

    >>> from tinyseg.models import UNet
    >>> predict(UNet(3, width=2, depth=2), np.zeros((5, 7, 3), np.uint8), flip=True).shape
    (5, 7)
    """
    return probabilities(model, image, **views).argmax(axis=0).astype(np.uint8)


def probabilities(model: Module, image: np.ndarray, **views: Any) -> np.ndarray:
    """The probability of every class at every pixel: (H, W, 3) uint8 RGB -> (num_classes, H, W) float32.

    views: as `scores`.  ValueError for a `Classifier`.
    """
    if hasattr(model, "targets"):
        raise ValueError(f"predict: {type(model).__name__} says what is in an image, not where; train a segmentation "
                         f"model on its encoder (--pretrained)")
    return softmax(Tensor(scores(model, image, **views)), dim=0).numpy()


def scores(model: Module, image: np.ndarray, *, scales: Sequence[float] = (1.0,), flip: bool = False,
           fusion: str = "mean", crf: Mapping[str, Any] | None = None) -> np.ndarray:
    """The model's scores of every class at every pixel: (H, W, 3) uint8 RGB -> (num_classes, H, W) float32.

    scales: factors of height and width at which the model sees the image, one after the other; its scores are brought
        back to the image's size, both bilinearly.  flip: at each scale it sees the mirrored image as well.
    fusion: how several views become one: "mean" of their probabilities (Chen et al. 2017, DeepLab v3), in the form of
        logarithms, whose softmax they are; or "max" of their scores, class by class (Chen et al. 2018, v2).
    crf: settings of `crf.dense_crf`, {} for its defaults, to refine the result with; None is no CRF.

    An image of any size is mirrored at its edges up to a size that fits the model (its `legal_size`), and to make up
    for the border that a model without padding loses (Ronneberger et al. 2015, figure 2).
    The model runs in evaluation mode.  ValueError or TypeError if this is not such an image, or for other settings.
    """
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"predict: the image has shape {image.shape}; expected (H, W, 3) with at least one pixel")
    if image.dtype != np.uint8:
        raise TypeError(f"predict: the image is {image.dtype}; expected uint8 RGB, 0 to 255")
    if np.ndim(scales) != 1 or len(scales) == 0 or not all(0 < scale < math.inf for scale in scales):
        raise ValueError(f"predict: scales={scales}; expected positive numbers, such as (0.5, 0.75, 1.0)")
    if fusion not in FUSIONS:
        raise ValueError(f"predict: fusion={fusion!r}; expected one of {', '.join(map(repr, FUSIONS))}")
    if hasattr(model, "targets") and (crf is not None or flip or tuple(scales) != (1.0,)):
        raise ValueError(f"predict: {type(model).__name__} says what is in an image, not where: no scales, flip or CRF")
    planes, flips = normalize(image), (False, True) if flip else (False,)
    with no_grad(), evaluating(model):
        fused = _fuse([_view_scores(model, planes, scale, flipped) for scale in scales for flipped in flips], fusion)
    if crf is None:
        return fused
    refined = dense_crf(softmax(Tensor(fused), dim=0).numpy(), image, **crf)
    return np.log(np.maximum(refined, np.finfo(refined.dtype).tiny))


def _fuse(views: list[np.ndarray], fusion: str) -> np.ndarray:
    """Several (num_classes, H, W) into one."""
    if len(views) == 1:
        return views[0]
    if fusion == "max":
        return functools.reduce(np.maximum, views)
    logarithms = (log_softmax(view, dim=0).numpy() for view in views)
    return functools.reduce(np.logaddexp, logarithms) - math.log(len(views))


def targets(model: Any, masks: np.ndarray, height: int, width: int) -> np.ndarray:
    """What scores of height x width are compared to: the middle of the masks (N, H, W), or what the model makes of them.

    A model without padding predicts only the middle of the image; a `Classifier` predicts what is in it.
    """
    return model.targets(masks) if hasattr(model, "targets") else center_crop(masks, height, width)


class Evaluation(NamedTuple):
    """How good a model is on a dataset.

    confusion: one matrix over all images, whole ones; loss: the mean per pixel that is not void;
    boundary: a confusion matrix of the pixels within 3 pixels of a boundary alone (see `metrics.boundary_band`).
    """

    confusion: ConfusionMatrix
    loss: float
    boundary: ConfusionMatrix


def evaluate(model: Any, dataset: Dataset, progress: Callable[[Iterable[int]], Iterable[int]] = iter,
             **views: Any) -> Evaluation:
    """Predict every image of a dataset, and compare with its mask.

    progress: such as tqdm, through which the numbers of the images go.  views: as `scores`.
    ValueError if all masks are void.
    """
    labels_are = getattr(model, "labels", None) or dataset.classes
    confusion, boundary = (ConfusionMatrix(len(labels_are), VOID, labels_are) for _ in range(2))
    loss, pixels = 0.0, 0
    for index in progress(range(len(dataset))):
        image, mask = dataset.read(index)
        out = scores(model, image, **views)
        target = targets(model, mask[None], *out.shape[1:])
        labels = out.argmax(axis=0)
        confusion.update(labels, target[0])
        boundary.update(labels, np.where(boundary_band(target[0]), target[0], VOID))
        loss += cross_entropy(Tensor(out[None]), target, ignore_index=VOID, reduction="sum").item()
        pixels += np.count_nonzero(target != VOID)
    if not pixels:
        raise ValueError("evaluate: all pixels of the dataset are void; give masks with labels")
    return Evaluation(confusion, loss / pixels, boundary)


@contextlib.contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Put a model into evaluation mode for a while; afterwards every module is in the mode that it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def center_crop(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle of the last two axes.

    >>> center_crop(np.arange(5)[None], 1, 3)
    array([[1, 2, 3]])
    """
    top, left = (array.shape[-2] - height) // 2, (array.shape[-1] - width) // 2
    return array[..., top:top + height, left:left + width]


def _view_scores(model: Any, planes: np.ndarray, scale: float, flipped: bool) -> np.ndarray:
    """Scores (num_classes, H, W) of an image (3, H, W) that the model sees at this scale, mirrored or not."""
    height, width = planes.shape[1:]
    h, w = max(1, round(scale * height)), max(1, round(scale * width))
    view = _resized(planes, h, w)[:, :, ::-1 if flipped else 1]
    out = model(Tensor(_mirrored(view, *_input_size(model, h, w))[None])).numpy()[0]
    if hasattr(model, "targets"):
        return out                                        # of the image as a whole
    return _resized(center_crop(out, h, w)[:, :, ::-1 if flipped else 1], height, width)


def _resized(planes: np.ndarray, height: int, width: int) -> np.ndarray:
    """(C, H, W), interpolated bilinearly if it has another size."""
    if planes.shape[1:] == (height, width):
        return planes
    return interpolate(planes, (height, width), mode="bilinear").numpy()


def _input_size(model: Any, height: int, width: int) -> tuple[int, int]:
    """The smallest input for which the model's output covers height x width."""
    if not hasattr(model, "legal_size"):
        return height, width                              # a model without a size policy takes any size
    legal = model.legal_size(height, width)
    lost = np.subtract(legal, model.output_size(*legal))  # by convolutions without padding, the same at every size
    return model.legal_size(height + int(lost[0]), width + int(lost[1]))


def _mirrored(planes: np.ndarray, height: int, width: int) -> np.ndarray:
    """The image (3, H, W) in the middle of height x width pixels, reflected at its edges as often as it takes."""
    top, left = (height - planes.shape[1]) // 2, (width - planes.shape[2]) // 2
    bottom, right = height - planes.shape[1] - top, width - planes.shape[2] - left
    return np.pad(planes, ((0, 0), (top, bottom), (left, right)), mode="reflect")
