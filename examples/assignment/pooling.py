"""Task pooling: max pooling that remembers where the maxima were, and unpooling that puts values back there.

Windows do not overlap: the stride is the kernel size.  Rows and columns that fill no window are left out.
"""
import numpy as np


def max_pool2d_forward(x, kernel_size):
    """The largest value of each window of x (N, C, H, W), and where it stood.

    Returns y (N, C, OH, OW) and indices (N, C, OH, OW) int64, row · W + column in the image.  Of equal values the
    first counts, row by row.
    """
    # BEGIN SOLUTION
    n, c, height, width = x.shape
    k, oh, ow = kernel_size, height // kernel_size, width // kernel_size
    windows = x[:, :, :oh * k, :ow * k].reshape(n, c, oh, k, ow, k).transpose(0, 1, 2, 4, 3, 5)
    at = windows.reshape(n, c, oh, ow, k * k).argmax(axis=-1)
    rows = np.arange(oh)[:, None] * k + at // k
    columns = np.arange(ow) * k + at % k
    return windows.max(axis=(-2, -1)), rows * width + columns
    # END SOLUTION


def max_pool2d_backward(dy, indices, shape):
    """The gradient dx, of the image's shape (N, C, H, W): all of dy goes to the maxima."""
    # BEGIN SOLUTION
    return max_unpool2d_forward(dy, indices, shape[2:])
    # END SOLUTION


def max_unpool2d_forward(y, indices, size):
    """Put each value back to where `max_pool2d_forward` found it, in an image of size (H, W); all else is 0.

    y, indices (N, C, OH, OW); returns (N, C, H, W).
    """
    # BEGIN SOLUTION
    n, c = y.shape[:2]
    x = np.zeros((n, c, size[0] * size[1]), y.dtype)
    np.put_along_axis(x, indices.reshape(n, c, -1), y.reshape(n, c, -1), axis=-1)
    return x.reshape(n, c, *size)
    # END SOLUTION


def max_unpool2d_backward(dx, indices):
    """The gradient dy (N, C, OH, OW) of unpooling, where the gradient dx (N, C, H, W) of its result is given."""
    # BEGIN SOLUTION
    n, c = dx.shape[:2]
    return np.take_along_axis(dx.reshape(n, c, -1), indices.reshape(n, c, -1), axis=-1).reshape(indices.shape)
    # END SOLUTION
