"""Batch normalisation folded into the convolution in front of it, for inference.

With the running statistics given, normalisation is one more affine map of each channel, and a convolution is affine already:

    γ (w * x + b - μ) / √(σ² + ε) + β  =  (s w) * x + (s (b - μ) + β),     s = γ / √(σ² + ε)
"""
from __future__ import annotations

import copy
from collections import Counter
from typing import TypeVar

import numpy as np

from .layers import BatchNorm2d, Conv2d
from .module import Module, Parameter
from .plain import Identity

AnyModule = TypeVar("AnyModule", bound=Module)


def fused(model: AnyModule) -> AnyModule:
    """A copy of the model in which no batch normalisation is left that stands directly behind a convolution.

    Which those are is what `Module.normalised` of every module says.  A normalisation without running statistics stays, and
    so does every layer that the model uses in more than one place.
    """
    result = copy.deepcopy(model)
    uses = Counter(module for _, module in result._walk())
    for parent in list(result.modules()):
        for conv_name, norm_name in parent.normalised():
            conv, norm = getattr(parent, conv_name), getattr(parent, norm_name)
            if uses[conv] == uses[norm] == 1 and isinstance(conv, Conv2d) and _fold(conv, norm):
                setattr(parent, norm_name, Identity())
    for module in result.modules():
        module.fused = True
    return result.eval()


def _fold(conv: Conv2d, norm: Module) -> bool:
    """Let the convolution do the work of the normalisation; False if that is none, or has no running statistics."""
    if not isinstance(norm, BatchNorm2d) or norm.running_mean is None or norm.running_var is None:
        return False
    dtype, trains, nothing = conv.weight.dtype, conv.weight.requires_grad, np.zeros(conv.out_channels)
    gamma = nothing + 1 if norm.weight is None else norm.weight._array
    beta, bias = (nothing if tensor is None else tensor._array for tensor in (norm.bias, conv.bias))
    scale = gamma / np.sqrt(norm.running_var._array.astype(np.float64) + norm.eps)
    weight = conv.weight._array * scale[:, None, None, None]                    # (O, C/G, KH, KW)
    conv.weight = Parameter(weight.astype(dtype), trains)
    conv.bias = Parameter(((bias - norm.running_mean._array) * scale + beta).astype(dtype), trains)
    return True
