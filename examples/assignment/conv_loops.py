"""Task conv_loops: convolution as the lecture draws it, one window after the other.

Images are x (N, C, H, W), kernels w (O, C, KH, KW), biases b (O,).  As everywhere in deep learning, "convolution" is
cross-correlation: the kernel is not flipped.
"""
import numpy as np


def conv2d_forward(x, w, b, stride=1, padding=0):
    """y[n, o, i, j] = b[o] + Σ_{c,k,l} w[o, c, k, l] · xp[n, c, i·stride + k, j·stride + l], xp = x padded with zeros.

    Returns y (N, O, OH, OW), OH = ⌊(H + 2·padding - KH) / stride⌋ + 1.
    """
    # BEGIN SOLUTION
    kh, kw = w.shape[2:]
    xp = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    oh, ow = (xp.shape[2] - kh) // stride + 1, (xp.shape[3] - kw) // stride + 1
    y = np.zeros((x.shape[0], w.shape[0], oh, ow), x.dtype)
    for i in range(oh):
        for j in range(ow):
            window = xp[:, :, i * stride:i * stride + kh, j * stride:j * stride + kw]           # (N, C, KH, KW)
            y[:, :, i, j] = np.tensordot(window, w, axes=([1, 2, 3], [1, 2, 3]))                # (N, O)
    return y + b[:, None, None]
    # END SOLUTION


def conv2d_backward(dy, x, w, stride=1, padding=0):
    """The gradients (dx, dw, db) of L, where dy = ∂L/∂y is given: every window hands its share back.

    dx, dw and db have the shapes of x, w and b.
    """
    # BEGIN SOLUTION
    kh, kw = w.shape[2:]
    height, width = x.shape[2:]
    xp = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    dxp, dw = np.zeros_like(xp), np.zeros_like(w)
    for i in range(dy.shape[2]):
        for j in range(dy.shape[3]):
            rows, columns = slice(i * stride, i * stride + kh), slice(j * stride, j * stride + kw)
            share = dy[:, :, i, j]                                                              # (N, O)
            dw += np.tensordot(share, xp[:, :, rows, columns], axes=(0, 0))                     # (O, C, KH, KW)
            dxp[:, :, rows, columns] += np.tensordot(share, w, axes=(1, 0))                     # (N, C, KH, KW)
    dx = dxp[:, :, padding:padding + height, padding:padding + width].copy()
    return dx, dw, dy.sum(axis=(0, 2, 3))
    # END SOLUTION
