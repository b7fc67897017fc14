"""Task conv_im2col: the same convolution as one matrix product, as fast libraries do it."""
import numpy as np


def im2col(x, kernel_size, stride=1, padding=0):
    """Every window of x (N, C, H, W) as a column: (N, C·KH·KW, OH·OW).

    kernel_size is (KH, KW).  Rows stand in the order (c, k, l), columns in the order (i, j).
    """
    # BEGIN SOLUTION
    kh, kw = kernel_size
    n, c = x.shape[:2]
    xp = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    oh, ow = (xp.shape[2] - kh) // stride + 1, (xp.shape[3] - kw) // stride + 1
    columns = np.empty((n, c, kh, kw, oh, ow), x.dtype)
    for k in range(kh):
        for l in range(kw):
            columns[:, :, k, l] = xp[:, :, k:k + stride * oh:stride, l:l + stride * ow:stride]
    return columns.reshape(n, c * kh * kw, oh * ow)
    # END SOLUTION


def col2im(columns, shape, kernel_size, stride=1, padding=0):
    """Add every column back to where `im2col` took it from: the backward of im2col.

    columns (N, C·KH·KW, OH·OW); shape is that of the image, (N, C, H, W), and of what is returned.
    """
    # BEGIN SOLUTION
    kh, kw = kernel_size
    n, c, height, width = shape
    oh, ow = (height + 2 * padding - kh) // stride + 1, (width + 2 * padding - kw) // stride + 1
    columns = columns.reshape(n, c, kh, kw, oh, ow)
    xp = np.zeros((n, c, height + 2 * padding, width + 2 * padding), columns.dtype)
    for k in range(kh):
        for l in range(kw):
            xp[:, :, k:k + stride * oh:stride, l:l + stride * ow:stride] += columns[:, :, k, l]
    return xp[:, :, padding:padding + height, padding:padding + width].copy()
    # END SOLUTION


def conv2d_forward(x, w, b, stride=1, padding=0):
    """As in conv_loops, but by one matrix product: no loop over pixels."""
    # BEGIN SOLUTION
    n, _, height, width = x.shape
    o, _, kh, kw = w.shape
    oh, ow = (height + 2 * padding - kh) // stride + 1, (width + 2 * padding - kw) // stride + 1
    y = w.reshape(o, -1) @ im2col(x, (kh, kw), stride, padding)                                 # (N, O, OH·OW)
    return y.reshape(n, o, oh, ow) + b[:, None, None]
    # END SOLUTION


def conv2d_backward(dy, x, w, stride=1, padding=0):
    """As in conv_loops, (dx, dw, db), by two matrix products."""
    # BEGIN SOLUTION
    n, o, kh, kw = x.shape[0], w.shape[0], *w.shape[2:]
    dy = dy.reshape(n, o, -1)                                                                   # (N, O, OH·OW)
    columns = im2col(x, (kh, kw), stride, padding)                                              # (N, C·KH·KW, OH·OW)
    dw = (dy @ columns.transpose(0, 2, 1)).sum(axis=0).reshape(w.shape)
    dx = col2im(w.reshape(o, -1).T @ dy, x.shape, (kh, kw), stride, padding)
    return dx, dw, dy.sum(axis=(0, 2))
    # END SOLUTION
