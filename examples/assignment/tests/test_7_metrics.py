import numpy as np

from tinyseg.course.testing import close, points
from tinyseg.metrics import ConfusionMatrix


def confusion(prediction, target, num_classes):
    matrix = ConfusionMatrix(num_classes)
    matrix.update(prediction, target)
    return matrix


def check_matrix(metrics, seed, void):
    rng = np.random.default_rng(seed)
    prediction, target = rng.integers(0, 4, (2, 6, 7)), rng.integers(0, 4, (2, 6, 7))
    target[rng.random(target.shape) < void] = 255
    right = confusion(prediction, target, 5).matrix
    as_zero = confusion(prediction, np.where(target == 255, 0, target), 5).matrix
    close(metrics.confusion_matrix(prediction, target, 5), right, "the matrix", {
        "it is transposed: rows are the true classes, columns the predicted ones": right.T,
        "void pixels count as class 0": as_zero,
        "each pair is counted at most once: matrix[i, j] += 1 with arrays counts a pair only once": np.minimum(right, 1),
        "classes without pixels are left out": right[:4, :4],
        "pixels are given as fractions, expected counts": right / right.sum()})


def check_iou(metrics, matrix):
    reference = ConfusionMatrix(len(matrix))
    reference.matrix = matrix
    diagonal, rows, columns = np.diag(matrix), matrix.sum(1), matrix.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        dice = np.nanmean(2 * diagonal / (rows + columns))
        summed = np.nanmean(diagonal / (rows + columns))
    close(metrics.mean_iou(matrix), reference.mean_iou, "mean IoU", {
        "the intersection is not subtracted from the union": summed,
        "Dice is computed, 2 |A ∩ B| / (|A| + |B|)": dice,
        "pixel accuracy is computed": diagonal.sum() / matrix.sum(),
        "mean accuracy is computed: the union lacks the wrongly predicted pixels": np.nanmean(_over(diagonal, rows)),
        "a class that does not occur counts as 0, expected not at all": np.nan_to_num(reference.iou).mean(),
        "a class that does not occur counts as 1, expected not at all": np.nan_to_num(reference.iou, nan=1.0).mean()})


def _over(a, b):
    return np.divide(a, b, out=np.full(len(a), np.nan), where=b > 0)


@points("metrics", 1)
def test_labels(metrics):
    scores = np.random.default_rng(0).standard_normal((2, 5, 3, 4))
    close(metrics.labels(scores), scores.argmax(1), "labels", {
        f"argmax is taken over axis {axis}, expected axis 1": scores.argmax(axis) for axis in (0, 2, 3)} | {
        "argmin is taken": scores.argmin(1)})


@points("metrics", 2)
def test_confusion_matrix(metrics):
    check_matrix(metrics, 0, void=0)


@points("metrics", 1)
def test_mean_iou(metrics):
    check_iou(metrics, np.array([[5, 1, 0], [2, 3, 1], [1, 0, 4]]))


# BEGIN HIDDEN
@points("metrics", 2)
def test_void(metrics):
    check_matrix(metrics, 1, void=0.2)


@points("metrics", 2)
def test_a_class_that_does_not_occur(metrics):
    check_iou(metrics, np.array([[7, 1, 0, 0], [2, 3, 0, 1], [0, 0, 0, 0], [1, 2, 0, 4]]))
# END HIDDEN
