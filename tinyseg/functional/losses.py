"""cross_entropy."""
from __future__ import annotations

from ..ops.loss import CrossEntropy
from ..tensor import Tensor, apply
from .checks import TensorLike, require_float, require_labels, require_shape, tensor


def cross_entropy(input: TensorLike, target: TensorLike, weight: TensorLike | None = None, ignore_index: int = 255,
                  reduction: str = "mean", label_smoothing: float = 0.0) -> Tensor:
    """The training loss: -ln of the probability that softmax gives to the right class, at each pixel.

    input: logits (N, K, H, W), or (N, K, …), or (K,); target: integer labels (N, H, W) in 0 … K-1, or ignore_index (void:
    neither loss nor gradient; 255 as in Pascal VOC, PyTorch's default is -100); weight: (K,), one for each class.
    reduction: "sum" over pixels, as in the lecture; "mean", the sum divided by the weights of the pixels that count (nan if
    there are none); "none", a loss for each pixel.  label_smoothing ε spreads ε of each label over all classes.
    Raises ValueError where shapes do not fit or a label is out of range, TypeError for labels that are not integers.

    >>> import numpy as np
    >>> logits = np.zeros((1, 4, 2, 2))                        # an untrained net: all four classes alike
    >>> round(cross_entropy(logits, np.array([[[0, 1], [3, 255]]])).item(), 4)      # ln 4
    1.3863
    """
    x, t, w = tensor(input), tensor(target), None if weight is None else tensor(weight)
    require_float("cross_entropy", input=x, weight=w)
    if x.ndim == 1:
        x, t = x[None], t.reshape(1) if t.size == 1 else t
        if reduction == "none":
            return cross_entropy(x, t, w, ignore_index, reduction, label_smoothing)[0]
    if x.ndim < 2 or x.shape[1] == 0 or t.shape != (x.shape[0], *x.shape[2:]):
        raise ValueError(f"cross_entropy: target has shape {t.shape}, but logits {x.shape} = (N, K, …) need "
                         f"{(*x.shape[:1], *x.shape[2:])}: one label a pixel")
    require_labels("cross_entropy", t, x.shape[1], ignore_index)
    require_shape("cross_entropy", "weight", w, x.shape[1:2])
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f'cross_entropy: reduction={reduction!r}; expected "mean", "sum" or "none"')
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing={label_smoothing}, expected 0 to 1")
    return apply(CrossEntropy, x, t, w, ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing)
