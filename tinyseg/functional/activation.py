"""Activations, softmax and dropout."""
from __future__ import annotations

from ..ops.dropout import Dropout
from ..ops.loss import LogSoftmax, Softmax
from ..ops.pointwise import LeakyReLU, ReLU, ReLU6, Sigmoid, Tanh
from ..rng import generator
from ..tensor import Tensor, apply
from .checks import TensorLike, require_float, tensor


def relu(input: TensorLike) -> Tensor:
    """max(x, 0); the gradient at 0 is 0.

    >>> import numpy as np
    >>> relu(np.array([-1., 2.])).numpy()
    array([0., 2.])
    """
    return apply(ReLU, input)


def relu6(input: TensorLike) -> Tensor:
    """min(max(x, 0), 6), the activation of MobileNets; the gradient is 0 outside, at 0 and at 6.

    >>> import numpy as np
    >>> relu6(np.array([-1., 2., 7.])).numpy()
    array([0., 2., 6.])
    """
    return apply(ReLU6, input)


def leaky_relu(input: TensorLike, negative_slope: float = 0.01) -> Tensor:
    """x where positive, else negative_slope · x."""
    return apply(LeakyReLU, input, negative_slope=negative_slope)


def sigmoid(input: TensorLike) -> Tensor:
    """1 / (1 + e⁻ˣ)."""
    return apply(Sigmoid, input)


def tanh(input: TensorLike) -> Tensor:
    """The hyperbolic tangent."""
    return apply(Tanh, input)


def softmax(input: TensorLike, dim: int) -> Tensor:
    """Probabilities along one dimension: exp x / Σ exp x.  For logits (N, K, H, W) that is dim=1.

    >>> import numpy as np
    >>> softmax(np.array([0., 0.]), dim=0).numpy()
    array([0.5, 0.5])
    """
    return apply(Softmax, _float("softmax", input, dim), dim=dim)


def log_softmax(input: TensorLike, dim: int) -> Tensor:
    """Logarithms of the softmax, without taking the logarithm of a rounded 0."""
    return apply(LogSoftmax, _float("log_softmax", input, dim), dim=dim)


def dropout(input: TensorLike, p: float = 0.5, training: bool = True) -> Tensor:
    """Zero each element with probability p and scale the others by 1 / (1 - p); the identity unless training.

    Which ones is drawn from the generator that `tinyseg.manual_seed` starts.
    """
    return _dropout("dropout", input, p, training, channelwise=False)


def dropout2d(input: TensorLike, p: float = 0.5, training: bool = True) -> Tensor:
    """Dropout of whole planes (n, c) of an input (N, C, H, W)."""
    return _dropout("dropout2d", input, p, training, channelwise=True)


def _dropout(name: str, input: TensorLike, p: float, training: bool, channelwise: bool) -> Tensor:
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p={p}, expected a probability between 0 and 1")
    x = tensor(input)
    require_float(name, input=x)
    if not training or p == 0:
        return x
    return apply(Dropout, x, p=p, channelwise=channelwise, seed=int(generator().integers(2**63)))


def _float(name: str, input: TensorLike, dim: int) -> Tensor:
    x = tensor(input)
    require_float(name, input=x)
    if not -x.ndim <= dim < x.ndim:
        raise ValueError(f"{name}: dim={dim} for an input of shape {x.shape}; expected {-x.ndim} to {x.ndim - 1}")
    return x
