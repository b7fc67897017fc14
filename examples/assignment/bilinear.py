"""Task bilinear: bilinear interpolation is a transposed convolution.

You may call transposed: here it will be right, even if yours is not.
"""
import numpy as np
from transposed import conv_transpose2d_forward


def bilinear_kernel(size):
    """The triangle 1 - |i - centre| / factor over `size` taps, times itself: (size, size), float64.

    factor = ⌊(size + 1) / 2⌋; the centre is the middle tap, or for an even size the middle between two taps.
    bilinear_kernel(3) is the lecture's kernel, 0.25 0.5 0.25 / 0.5 1 0.5 / 0.25 0.5 0.25.
    """
    # BEGIN SOLUTION
    factor = (size + 1) // 2
    centre = factor - 1 if size % 2 else factor - 0.5
    line = 1 - abs(np.arange(size) - centre) / factor
    return np.outer(line, line)
    # END SOLUTION


def upsample(x, stride):
    """Bilinear interpolation of x (N, C, H, W) to stride·(H - 1) + 1 rows, columns alike, by conv_transpose2d_forward.

    The corner pixels stay in the corners (align_corners=True).  Channels do not mix.
    """
    # BEGIN SOLUTION
    c = x.shape[1]
    w = np.zeros((c, c, 2 * stride - 1, 2 * stride - 1))
    w[range(c), range(c)] = bilinear_kernel(2 * stride - 1)
    return conv_transpose2d_forward(x, w, stride, stride - 1)
    # END SOLUTION
