"""The differentiable functions, with the names and the argument order of torch.nn.functional.

Each takes tensors or arrays, checks them, resolves its settings and applies one op.
"""
from .activation import dropout, dropout2d, leaky_relu, log_softmax, relu, relu6, sigmoid, softmax, tanh
from .convolution import conv2d, conv_transpose2d, linear
from .joining import cat, stack
from .losses import cross_entropy
from .normalization import batch_norm, group_norm
from .pooling import adaptive_avg_pool2d, avg_pool2d, max_pool2d, max_unpool2d
from .resizing import bed_of_nails, interpolate, pad, pixel_shuffle

__all__ = [
    "adaptive_avg_pool2d", "avg_pool2d", "batch_norm", "bed_of_nails", "cat", "conv2d", "conv_transpose2d", "cross_entropy",
    "dropout", "dropout2d", "group_norm", "interpolate", "leaky_relu", "linear", "log_softmax", "max_pool2d", "max_unpool2d",
    "pad", "pixel_shuffle", "relu", "relu6", "sigmoid", "softmax", "stack", "tanh",
]
