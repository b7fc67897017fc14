"""Task metrics: how good is a segmentation?"""
import numpy as np

VOID = 255


def labels(scores):
    """The most probable class of every pixel: scores (N, K, H, W) -> (N, H, W) int64."""
    # BEGIN SOLUTION
    return scores.argmax(axis=1)
    # END SOLUTION


def confusion_matrix(prediction, target, num_classes):
    """n[i, j]: how many pixels of the true class i were predicted as class j.  (num_classes, num_classes), int64.

    prediction, target: integer labels of one shape.  Pixels whose true label is 255 (void) do not count.
    """
    # BEGIN SOLUTION
    valid = target != VOID
    pairs = num_classes * target[valid].astype(np.int64) + prediction[valid]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
    # END SOLUTION


def mean_iou(confusion):
    """The mean of n_ii / (Σ_j n_ij + Σ_j n_ji - n_ii) over the classes that occur, in the truth or in the prediction."""
    # BEGIN SOLUTION
    intersection = np.diag(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - intersection
    return (intersection[union > 0] / union[union > 0]).mean()
    # END SOLUTION
