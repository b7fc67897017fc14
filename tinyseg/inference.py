"""Using a trained model: predictions for images of any size, and its figures on a dataset."""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from .data import Dataset
from .data.palette import VOID
from .data.transforms import normalize
from .functional import cross_entropy, softmax
from .graph import no_grad
from .metrics import ConfusionMatrix
from .nn import Module
from .tensor import Tensor


def predict(model: Module, image: np.ndarray) -> np.ndarray:
    """The most probable class of every pixel: (H, W, 3) uint8 RGB, of any size -> (H, W) uint8.

    >>> from tinyseg.models import UNet
    >>> predict(UNet(3, width=2, depth=2), np.zeros((5, 7, 3), np.uint8)).shape
    (5, 7)
    """
    return scores(model, image).argmax(axis=0).astype(np.uint8)


def probabilities(model: Module, image: np.ndarray) -> np.ndarray:
    """The probability of every class at every pixel: (H, W, 3) uint8 RGB -> (num_classes, H, W) float32."""
    return softmax(Tensor(scores(model, image)), dim=0).numpy()


def scores(model: Module, image: np.ndarray) -> np.ndarray:
    """The model's scores of every class at every pixel: (H, W, 3) uint8 RGB -> (num_classes, H, W) float32.

    The image, of any size, is mirrored at its edges up to a size that fits the model (its `legal_size`), and to make up
    for the border that a model without padding loses (Ronneberger et al. 2015, figure 2).
    The model runs in evaluation mode.  ValueError or TypeError if this is not such an image.
    """
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"predict: the image has shape {image.shape}; expected (H, W, 3) with at least one pixel")
    if image.dtype != np.uint8:
        raise TypeError(f"predict: the image is {image.dtype}; expected uint8 RGB, 0 to 255")
    height, width = image.shape[:2]
    with no_grad(), evaluating(model):
        out = model(Tensor(normalize(_mirrored(image, *_input_size(model, height, width)))[None]))
    return center_crop(out.numpy()[0], height, width)


def evaluate(model: Module, dataset: Dataset,
             progress: Callable[[Iterable[int]], Iterable[int]] = iter) -> tuple[ConfusionMatrix, float]:
    """One confusion matrix over all images of a dataset, whole ones, and the mean loss per pixel that is not void.

    progress: such as tqdm, through which the numbers of the images go.  ValueError if all masks are void.
    """
    confusion, loss, pixels = ConfusionMatrix(dataset.num_classes, VOID, dataset.classes), 0.0, 0
    for index in progress(range(len(dataset))):
        image, mask = dataset.read(index)
        out = scores(model, image)
        confusion.update(out.argmax(axis=0), mask)
        loss += cross_entropy(Tensor(out[None]), mask[None], ignore_index=VOID, reduction="sum").item()
        pixels += np.count_nonzero(mask != VOID)
    if not pixels:
        raise ValueError("evaluate: all pixels of the dataset are void; give masks with labels")
    return confusion, loss / pixels


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


def _input_size(model: Any, height: int, width: int) -> tuple[int, int]:
    """The smallest input for which the model's output covers height x width."""
    if not hasattr(model, "legal_size"):
        return height, width                              # a model without a size policy takes any size
    legal = model.legal_size(height, width)
    lost = np.subtract(legal, model.output_size(*legal))  # by convolutions without padding, the same at every size
    return model.legal_size(height + int(lost[0]), width + int(lost[1]))


def _mirrored(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The image in the middle of height x width pixels, reflected at its edges as often as it takes."""
    top, left = (height - image.shape[0]) // 2, (width - image.shape[1]) // 2
    bottom, right = height - image.shape[0] - top, width - image.shape[1] - left
    return np.pad(image, ((top, bottom), (left, right), (0, 0)), mode="reflect")
