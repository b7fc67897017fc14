"""The scores against the lecture's set formula, by brute force; void never counts; bad labels are refused."""
from __future__ import annotations

import json
import math

import numpy as np
import pytest

from tinyseg.metrics import ConfusionMatrix, boundary_band

SCORES = ("pixel_accuracy", "mean_accuracy", "mean_iou", "frequency_weighted_iou")


def random_labels(rng, num_classes, shape=(3, 8, 9), void=0.2):
    """A prediction that is right in about half of the pixels, and a target with void; some classes may be absent."""
    present = rng.permutation(num_classes)[:rng.integers(1, num_classes + 1)]
    target = rng.choice(present, shape)
    prediction = np.where(rng.random(shape) < 0.5, target, rng.integers(num_classes, size=shape))
    target[rng.random(shape) < void] = 255
    return prediction.astype(np.uint8), target.astype(np.uint8)


def confusion_of(prediction, target, num_classes, **options):
    confusion = ConfusionMatrix(num_classes, **options)
    confusion.update(prediction, target)
    return confusion


def scores(confusion):
    return [getattr(confusion, name) for name in SCORES]


def set_scores(prediction, target, num_classes):
    """Every score from sets of pixels, |S_gt ∩ S_pred| / |S_gt ∪ S_pred|, without a confusion matrix."""
    valid = [*zip(*np.nonzero(target != 255))]
    truth = [{pixel for pixel in valid if target[pixel] == k} for k in range(num_classes)]
    guess = [{pixel for pixel in valid if prediction[pixel] == k} for k in range(num_classes)]
    iou = [len(t & g) / len(t | g) if t | g else math.nan for t, g in zip(truth, guess)]
    accuracy = [len(t & g) / len(t) for t, g in zip(truth, guess) if t]
    occurring = [value for value in iou if not math.isnan(value)]
    return iou, [sum(len(t & g) for t, g in zip(truth, guess)) / len(valid), sum(accuracy) / len(accuracy),
                 sum(occurring) / len(occurring),
                 sum(len(t) * value for t, value in zip(truth, iou) if t) / len(valid)]


@pytest.mark.parametrize("seed", range(20))
def test_scores_are_the_lectures_sets(seed):
    rng = np.random.default_rng(seed)
    num_classes = int(rng.integers(1, 8))
    prediction, target = random_labels(rng, num_classes)
    confusion = confusion_of(prediction, target, num_classes)
    iou, expected = set_scores(prediction, target, num_classes)
    np.testing.assert_allclose(confusion.iou, iou, rtol=1e-14)
    np.testing.assert_allclose(scores(confusion), expected, rtol=1e-14)


def test_a_case_worked_out_by_hand():
    """Rows are the truth: of 4 pixels of class 0 three are right and one is taken for 1; class 2 is only imagined."""
    confusion = confusion_of(np.array([0, 0, 0, 1, 1, 2, 0]), np.array([0, 0, 0, 0, 1, 1, 255]), 4)
    np.testing.assert_array_equal(confusion.matrix, [[3, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(confusion.iou, [3 / 4, 1 / 3, 0, np.nan])
    np.testing.assert_allclose(confusion.class_accuracy, [3 / 4, 1 / 2, np.nan, np.nan])
    np.testing.assert_allclose(scores(confusion), [4 / 6, 5 / 8, 13 / 36, (4 * 3 / 4 + 2 / 3) / 6])


@pytest.mark.parametrize("seed", range(5))
def test_nothing_under_void_changes_anything(seed):
    rng = np.random.default_rng(seed)
    prediction, target = random_labels(rng, 5)
    other = np.where(target == 255, rng.integers(0, 256, target.shape), prediction)
    assert (other != prediction).any()
    np.testing.assert_array_equal(confusion_of(prediction, target, 5).matrix, confusion_of(other, target, 5).matrix)


def test_absent_classes_count_neither_as_zero_nor_as_one():
    prediction, target = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    expected = scores(confusion_of(prediction, target, 2))
    confusion = confusion_of(prediction, target, 5)
    np.testing.assert_allclose(scores(confusion), expected)
    assert np.isnan(confusion.iou[2:]).all()


def test_perfect_and_entirely_wrong():
    labels = np.array([[0, 1], [2, 255]])
    assert scores(confusion_of(labels, labels, 3)) == [1, 1, 1, 1]
    assert scores(confusion_of((labels + 1) % 3, labels, 3)) == [0, 0, 0, 0]


def test_the_score_of_a_dataset_is_not_the_mean_over_its_images():
    prediction = np.array([[0, 0, 0, 1], [1, 1, 0, 0]])
    target = np.array([[0, 0, 0, 0], [1, 1, 1, 1]])
    single = [confusion_of(prediction[i], target[i], 2).mean_iou for i in (0, 1)]
    assert confusion_of(prediction, target, 2).mean_iou == pytest.approx((3 / 6 + 2 / 5) / 2)
    assert np.mean(single) == pytest.approx((3 / 8 + 2 / 8) / 2)


def test_order_batches_and_merging_do_not_matter():
    rng = np.random.default_rng(0)
    prediction, target = random_labels(rng, 6, (4, 10, 10))
    whole = confusion_of(prediction, target, 6)
    pieces, other = ConfusionMatrix(6), ConfusionMatrix(6)
    for i in (2, 0):
        pieces.update(prediction[i], target[i])
    for i in (3, 1):
        other.update(prediction[i], target[i])
    before = other.matrix.copy()
    pieces += other
    np.testing.assert_array_equal(pieces.matrix, whole.matrix)
    np.testing.assert_array_equal(other.matrix, before)
    assert whole.matrix.sum() == (target != 255).sum()


def test_before_any_pixel_and_after_a_reset_scores_are_nan():
    confusion = confusion_of(np.array([1]), np.array([1]), 3)
    confusion.reset()
    confusion.update(np.zeros((0, 4), int), np.zeros((0, 4), int))
    confusion.update(np.array([2]), np.array([255]))
    assert np.isnan(scores(confusion)).all() and np.isnan(confusion.iou).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.int64, np.uint64])
def test_integers_of_every_type(dtype):
    labels = np.array([0, 1, 2, 2], dtype)
    np.testing.assert_array_equal(confusion_of(labels, labels, 3).matrix, np.diag([1, 1, 2]))


def test_many_classes_do_not_overflow_their_byte():
    labels = np.arange(200, dtype=np.uint8)
    np.testing.assert_array_equal(confusion_of(labels, labels, 200).matrix, np.eye(200))


def test_another_void_label():
    confusion = confusion_of(np.array([0, 1, 1]), np.array([-1, 1, 0]), 2, ignore_index=-1)
    np.testing.assert_array_equal(confusion.matrix, [[0, 1], [0, 1]])


@pytest.mark.parametrize("prediction, target, error, message", [
    (np.zeros((2, 3)), np.zeros((2, 3), int), TypeError, "prediction must be integer labels, got float64.*argmax"),
    (np.zeros((2, 3), int), np.zeros((2, 3), bool), TypeError, "target must be integer labels, got bool"),
    (np.zeros((2, 3), int), np.zeros((3, 2), int), ValueError, r"prediction \(2, 3\) and target \(3, 2\)"),
    (np.array([0, 7, 7]), np.array([0, 1, 1]), ValueError, "prediction holds label 7; 2 pixels .* classes are 0..2$"),
    (np.array([0, -1]), np.array([0, 1]), ValueError, "prediction holds label -1"),
    (np.array([0, 255]), np.array([0, 1]), ValueError, "prediction holds label 255"),
    (np.array([0, 1]), np.array([0, 3]), ValueError, "target holds label 3; 1 pixels .* 0..2 and void 255"),
    (np.array([0, 1]), np.array([0, -1]), ValueError, "target holds label -1"),
])
def test_bad_labels_are_refused_and_nothing_is_counted(prediction, target, error, message):
    confusion = ConfusionMatrix(3)
    with pytest.raises(error, match=message):
        confusion.update(prediction, target)
    assert not confusion.matrix.any()


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="num_classes must be at least 1"):
        ConfusionMatrix(0)
    with pytest.raises(ValueError, match="2 class names for 3 classes"):
        ConfusionMatrix(3, classes=["a", "b"])
    with pytest.raises(ValueError, match="cannot merge 2 classes into 3"):
        ConfusionMatrix(3).merge(ConfusionMatrix(2))


def test_json_holds_every_score_and_none_for_nan():
    confusion = confusion_of(np.array([0, 1]), np.array([0, 0]), 3, classes=["sky", "road", "car"])
    read = json.loads(json.dumps(confusion.as_dict(), allow_nan=False))
    assert {name: read[name] for name in SCORES} == dict(zip(SCORES, scores(confusion)))
    assert read["iou"] == {"sky": 0.5, "road": 0, "car": None}
    assert read["class_accuracy"] == {"sky": 0.5, "road": None, "car": None}


def test_the_table_names_classes_in_per_cent():
    table = str(confusion_of(np.array([0, 1, 0, 0]), np.array([0, 0, 0, 255]), 3, classes=["sky", "road", "car"]))
    assert [line.split() for line in table.splitlines()] == [
        ["class", "pixels", "accuracy", "IoU"], ["sky", "3", "66.7", "66.7"], ["road", "0", "–", "0.0"],
        ["car", "0", "–", "–"], ["mean", "3", "66.7", "33.3"],
        ["pixel", "accuracy", "66.7", "·", "frequency-weighted", "IoU", "66.7"]]
    assert "class 0" in str(ConfusionMatrix(1))


@pytest.mark.parametrize("width", [1, 2, 3])
def test_boundary_band_by_brute_force(rng, width):
    """A pixel belongs to the band if, at most width - 1 away, there is one with a neighbour of another label."""
    mask = rng.choice([0, 1, 2, 255], size=(4, 5)).repeat(4, axis=0).repeat(5, axis=1)
    on_boundary = np.zeros(mask.shape, bool)
    for y, x in np.ndindex(mask.shape):
        neighbours = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        on_boundary[y, x] = any(mask[y, x] != mask[n] for n in neighbours
                                if 0 <= n[0] < mask.shape[0] and 0 <= n[1] < mask.shape[1])
    expected = np.zeros(mask.shape, bool)
    for y, x in np.ndindex(mask.shape):
        expected[y, x] = on_boundary[max(0, y - width + 1):y + width, max(0, x - width + 1):x + width].any()
    np.testing.assert_array_equal(boundary_band(mask, width), expected)
    assert 0 < expected.sum() < expected.size or width == 3


def test_boundary_band_of_one_label_is_empty_and_bad_input_is_refused():
    assert not boundary_band(np.zeros((4, 4), np.uint8)).any()
    with pytest.raises(ValueError, match=r"boundary_band: mask \(1, 4, 4\)"):
        boundary_band(np.zeros((1, 4, 4), np.uint8))
    with pytest.raises(ValueError, match="width=0"):
        boundary_band(np.zeros((4, 4), np.uint8), width=0)
