import numpy as np

import tinyseg as ts
import tinyseg.functional as F
from tinyseg.course.testing import close, gradients, points


def example(seed=0, void=0.0):
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 4, (2, 3, 5))
    target[rng.random(target.shape) < void] = 255
    return 2 * rng.standard_normal((2, 4, 3, 5)), target


def forward(loss, scores, target):
    right = F.cross_entropy(scores, target).item()
    summed = F.cross_entropy(scores, target, reduction="sum").item()
    logs = F.log_softmax(scores, 1).numpy()
    as_zero = F.cross_entropy(scores, np.where(target == 255, 0, target)).item()
    last = F.cross_entropy(scores, np.where(target == 255, 3, target)).item()
    rights = np.take_along_axis(logs, np.where(target == 255, 0, target)[:, None], 1)
    close(loss.cross_entropy_forward(scores, target), right, "the loss", {
        "it is summed over the pixels, expected their mean": summed,
        "void pixels count as class 0": as_zero, "void pixels count as the last class": last,
        "the mean is over all pixels, void ones included": summed / target.size,
        "the mean is over pixels and classes": right / scores.shape[1],
        "the sign is wrong: expected minus the logarithm": -right,
        "the probability is taken, not minus its logarithm": -np.exp(rights)[target[:, None] != 255].mean(),
        "softmax is left out": -np.take_along_axis(
            scores, np.where(target == 255, 0, target)[:, None], 1)[target[:, None] != 255].mean(),
        "the logarithm is to base 2, expected the natural one": right / np.log(2)})


def backward(loss, scores, target):
    def gradient(t, scale=1.0):
        x = ts.Tensor(scores, requires_grad=True)
        F.cross_entropy(x, t).backward()
        return x.grad * scale
    sigma = F.softmax(scores, 1).numpy()
    valid = target != 255
    one_hot = np.moveaxis(np.eye(scores.shape[1])[np.where(valid, target, 0)], -1, 1)
    mixed = np.eye(scores.shape[1])[np.where(valid, target, 0)].reshape(scores.shape)
    mistakes = {
        "void pixels count": (sigma - np.where(valid[:, None], one_hot, 0)) / valid.sum(),
        "void pixels count as class 0": gradient(np.where(valid, target, 0)),
        "it is that of the sum over the pixels, expected of their mean": gradient(target, valid.sum()),
        "it is divided by all pixels, void ones included": gradient(target, valid.mean()),
        "one-hot is reshaped where a transpose was meant: (N, H, W, K) is not (N, K, H, W)":
            (sigma - mixed) * valid[:, None] / valid.sum(),
        "one-hot is not subtracted": sigma * valid[:, None] / valid.sum()}
    gradients(lambda dy: dy * np.asarray(loss.cross_entropy_backward(scores, target)),
              lambda scores: F.cross_entropy(scores, target), {"scores": scores},
              {sentence: lambda dy, wrong=wrong: [dy * wrong] for sentence, wrong in mistakes.items()},
              "cross_entropy_backward")


@points("loss", 1)
def test_softmax(loss):
    scores, _ = example()
    close(loss.softmax(scores), F.softmax(scores, 1).numpy(), "softmax", {
        f"it is taken over axis {axis}, expected axis 1": F.softmax(scores, axis).numpy() for axis in (0, 2, 3)} | {
        "it is taken over all entries, expected axis 1": np.exp(scores) / np.exp(scores).sum()})


@points("loss", 1)
def test_large_scores(loss):
    scores, _ = example()
    close(loss.softmax(1000 * scores), F.softmax(1000 * scores, 1).numpy(), "softmax of large scores")


@points("loss", 2)
def test_forward(loss):
    forward(loss, *example())


@points("loss", 2)
def test_backward(loss):
    backward(loss, *example())


# BEGIN HIDDEN
@points("loss", 2)
def test_forward_with_void(loss):
    forward(loss, *example(1, void=0.3))


@points("loss", 2)
def test_backward_with_void(loss):
    backward(loss, *example(1, void=0.3))
# END HIDDEN
