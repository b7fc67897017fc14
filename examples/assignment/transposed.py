"""Task transposed: upsampling with a kernel, in the two ways of the lecture.

Images are x (N, C, H, W), kernels w (C, O, KH, KW): as everywhere, with the input's channels first.  There is no bias.
You may call conv_loops: here it will be right, even if yours is not.
"""
import numpy as np
from conv_loops import conv2d_backward, conv2d_forward


def conv_transpose2d_forward(x, w, stride=1, padding=0):
    """Add kernel times pixel, for every pixel, to the output at stride s; then crop `padding` on every side.

    Returns y (N, O, OH, OW), OH = (H - 1)·stride + KH - 2·padding.
    """
    # BEGIN SOLUTION
    n, _, height, width = x.shape
    _, o, kh, kw = w.shape
    y = np.zeros((n, o, (height - 1) * stride + kh, (width - 1) * stride + kw), x.dtype)
    for i in range(height):
        for j in range(width):
            added = np.tensordot(x[:, :, i, j], w, axes=(1, 0))                                 # (N, O, KH, KW)
            y[:, :, i * stride:i * stride + kh, j * stride:j * stride + kw] += added
    return y[:, :, padding:y.shape[2] - padding, padding:y.shape[3] - padding].copy()
    # END SOLUTION


def conv_transpose2d_backward(dy, x, w, stride=1, padding=0):
    """The gradients (dx, dw).  Which convolution is the transpose of this one?"""
    # BEGIN SOLUTION
    dx = conv2d_forward(dy, w, np.zeros(w.shape[0]), stride, padding)
    _, dw, _ = conv2d_backward(x, dy, w, stride, padding)
    return dx, dw
    # END SOLUTION


def conv_transpose2d_by_zeros(x, w, stride=1, padding=0):
    """The same y by a fractionally strided convolution: stride - 1 zeros between the pixels, then conv2d_forward.

    padding is at most KH - 1, and kernels are square.
    """
    # BEGIN SOLUTION
    n, c, height, width = x.shape
    interleaved = np.zeros((n, c, (height - 1) * stride + 1, (width - 1) * stride + 1), x.dtype)
    interleaved[:, :, ::stride, ::stride] = x
    flipped = w[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)                                         # (O, C, KH, KW)
    return conv2d_forward(interleaved, flipped, np.zeros(w.shape[1]), 1, w.shape[2] - 1 - padding)
    # END SOLUTION
