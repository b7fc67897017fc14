"""Task loss: cross-entropy of the softmax at every pixel, where pixels that are labelled 255 (void) do not count."""
import numpy as np

VOID = 255


def softmax(scores):
    """Probabilities of the classes, exp(s_k) / Σ_l exp(s_l) over axis 1 of scores (N, K, H, W), for scores of any size."""
    # BEGIN SOLUTION
    exps = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exps / exps.sum(axis=1, keepdims=True)
    # END SOLUTION


def cross_entropy_forward(scores, target):
    """The mean of -ln softmax(scores)[n, target[n, i, j], i, j] over the pixels that are not void.

    scores (N, K, H, W); target (N, H, W) integers, 0 … K - 1 or 255.  Returns a number.
    """
    # BEGIN SOLUTION
    shifted = scores - scores.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))                         # (N, K, H, W)
    valid = target != VOID
    label = np.where(valid, target, 0).astype(np.int64)
    right = np.take_along_axis(logs, label[:, None], axis=1)[:, 0]                              # (N, H, W)
    return -right[valid].mean()
    # END SOLUTION


def cross_entropy_backward(scores, target):
    """The gradient of the loss, (N, K, H, W): softmax minus one-hot, over the number of pixels; 0 where void."""
    # BEGIN SOLUTION
    valid = target != VOID
    one_hot = (np.arange(scores.shape[1])[:, None, None] == target[:, None])                    # (N, K, H, W)
    return (softmax(scores) - one_hot) * valid[:, None] / valid.sum()
    # END SOLUTION
