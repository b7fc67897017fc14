"""tinyseg: learn semantic segmentation from an engine that you can read, trust and use.

    import tinyseg as ts
    x = ts.Tensor(array, requires_grad=True)
    y = ts.functional.conv2d(x, weight, padding=1)
    y.sum().backward()
    x.grad
"""
from . import backends, crf, data, functional, gradcheck, metrics, models, nn, ops, optim
from .graph import no_grad
from .rng import manual_seed
from .tensor import Tensor

__version__ = "0.1.0"
__all__ = ["Tensor", "backends", "crf", "data", "functional", "gradcheck", "manual_seed", "metrics", "models", "nn", "no_grad",
           "ops", "optim"]
