"""Every op, one file a family.  Importing this package fills the registry."""
from . import conv, dropout, loss, matmul, norm, pointwise, pool, reduce, resize, shape

__all__ = ["conv", "dropout", "loss", "matmul", "norm", "pointwise", "pool", "reduce", "resize", "shape"]
