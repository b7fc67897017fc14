"""The optimizers' updates, each in one pass over a parameter.

All arrays are flat, contiguous and of one dtype, and so are the settings; θ is the parameter, g its gradient.
"""
from __future__ import annotations

import numpy as np
from numba import njit, prange


@njit(cache=True, parallel=True, nogil=True)
def sgd(theta, grad, lr, weight_decay):
    """g ← g + λθ;   θ ← θ - lr·g"""
    for i in prange(theta.size):
        theta[i] -= lr * (grad[i] + weight_decay * theta[i])


@njit(cache=True, parallel=True, nogil=True)
def sgd_momentum(theta, grad, velocity, lr, weight_decay, momentum, rate):
    """g ← g + λθ;   v ← μv + rate·g;   θ ← θ - lr·v"""
    for i in prange(theta.size):
        velocity[i] = momentum * velocity[i] + rate * (grad[i] + weight_decay * theta[i])
        theta[i] -= lr * velocity[i]


@njit(cache=True, parallel=True, nogil=True)
def sgd_nesterov(theta, grad, velocity, lr, weight_decay, momentum):
    """g ← g + λθ;   v ← μv + g;   θ ← θ - lr·(g + μv)"""
    for i in prange(theta.size):
        g = grad[i] + weight_decay * theta[i]
        velocity[i] = momentum * velocity[i] + g
        theta[i] -= lr * (g + momentum * velocity[i])


@njit(cache=True, parallel=True, nogil=True)
def adam(theta, grad, mean, square, step, scale, rate1, rate2, eps, weight_decay, shrink):
    """θ ← shrink·θ;   g ← g + λθ;   m ← m + rate₁(g - m);   v ← v + rate₂(g² - v);   θ ← θ - step·m / (scale·√v + ε)"""
    for i in prange(theta.size):
        value = shrink * theta[i]
        g = grad[i] + weight_decay * value
        mean[i] += rate1 * (g - mean[i])
        square[i] += rate2 * (g * g - square[i])
        theta[i] = value - step * mean[i] / (scale * np.sqrt(square[i]) + eps)
