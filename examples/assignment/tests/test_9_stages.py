from functools import cache

import numpy as np

from tinyseg.course.testing import points
from tinyseg.data import Scenes
from tinyseg.data.transforms import normalize
from tinyseg.metrics import ConfusionMatrix

CLASSES, SIZE = 4, 32


@cache
def scenes(length, split, seed=0):
    pairs = [Scenes(length, size=SIZE, num_classes=CLASSES, seed=seed, split=split).read(i) for i in range(length)]
    return np.stack([normalize(image) for image, _ in pairs]), np.stack([mask for _, mask in pairs])


def mean_iou(labels, masks, name="the labels"):
    labels = np.asarray(labels)
    assert labels.shape == masks.shape and labels.dtype.kind in "iu", \
        f"{name}: {labels.dtype} of shape {labels.shape}, expected integers of shape {masks.shape}"
    assert labels.min() >= 0 and labels.max() < CLASSES, \
        f"{name} lie in {labels.min()} … {labels.max()}, expected 0 … {CLASSES - 1}"
    confusion = ConfusionMatrix(CLASSES)
    confusion.update(labels, masks)
    return confusion.mean_iou


@points("stages", 2)
def test_untrained(stages):
    images, masks = scenes(8, "train")
    loss, labels = stages.untrained(images, masks, CLASSES)
    assert abs(loss - np.log(CLASSES)) < 0.8, \
        f"the loss of an untrained network is {float(loss):.3f}, expected about ln {CLASSES} = {np.log(CLASSES):.3f}" \
        + (": it is summed, expected the mean over pixels" if loss > 20 else "")
    assert mean_iou(labels, masks) < 0.5, "an untrained network that segments well has been trained"


@points("stages", 4)
def test_overfit(stages):
    images, masks = scenes(8, "train")
    losses, labels = stages.overfit(images[5:6], masks[5:6], CLASSES)
    losses = np.asarray(losses)
    assert losses.ndim == 1 and losses.size >= 2 and np.isfinite(losses).all(), "losses: expected one number a step"
    why = "it rises, is the sign of the step right?" if losses[-1] > losses[0] else \
        "is zero_grad called before each backward?"
    assert losses[-1] < losses[0] / 5, \
        f"the loss goes from {losses[0]:.3f} to {losses[-1]:.3f}; expected less than a fifth: {why}"
    iou = mean_iou(labels, masks[5:6])
    assert iou > 0.9, f"mean IoU on the example itself is {iou:.2f}, expected more than 0.9: not known by heart, " \
        "after too few steps? is zero_grad called before each backward?"


@cache
def unseen(stages, length, seed):
    """Mean IoU on images that were not trained on."""
    state = trained(stages)
    images, masks = scenes(length, "test", seed)
    return mean_iou(stages.predict(state, images, CLASSES), masks)


@cache
def trained(stages):
    state = stages.train(*scenes(96, "train"), CLASSES)
    assert isinstance(state, dict) and state, "train returns the weights: model.state_dict()"
    return state


def reaches(stages, threshold, length, seed):
    iou = unseen(stages, length, seed)
    assert iou >= threshold, f"mean IoU on unseen images is {iou:.3f}, expected {threshold} or more" + (
        ": hardly better than guessing" if iou < 0.25 else "")


@points("stages", 3)
def test_train_on_all(stages):
    reaches(stages, 0.35, 16, seed=0)


# BEGIN HIDDEN
@points("stages", 3)
def test_unseen_images(stages):
    reaches(stages, 0.45, 48, seed=7)


@points("stages", 2)
def test_unseen_images_well(stages):
    reaches(stages, 0.52, 48, seed=7)


@points("stages", 2)
def test_an_image_alone_is_segmented_as_in_a_batch(stages):
    state, (images, _) = trained(stages), scenes(4, "test", 8)
    together = np.asarray(stages.predict(state, images, CLASSES))
    alone = np.concatenate([stages.predict(state, images[i:i + 1], CLASSES) for i in range(len(images))])
    agree = np.mean(together == alone)
    assert agree > 0.995, f"an image alone is segmented otherwise than in a batch, {1 - agree:.0%} of its pixels: is " \
                          "model.eval() called, and is nothing normalised over the batch?"
# END HIDDEN
