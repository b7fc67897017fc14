"""Convolution (cross-correlation, as everywhere in deep learning) and transposed convolution.

The two share their kernels with roles exchanged: what is forward for the one is the gradient of the input for the other.
Settings are resolved by `functional`: a pair (height, width) each, and for padding the pixels (before, after) per axis.
"""
from __future__ import annotations

import numpy as np

from .. import backends, buffers
from ..kernels import dense, positions, sums
from ..kernels.side_by_side import SideBySide
from ..op import Op, Sample
from ..sizes import conv_output, conv_transpose_output, dilated
from .sampling import normal


class Conv2d(Op):
    """y[n, o, i, j] = b[o] + Σ_cuv w[o, c, u, v] x[n, c, i·s + u·d - p, j·s + v·d - p]

    dx[n, c, h, w'] = Σ_ouv w[o, c, u, v] dy[n, o, i, j]   over all  i·s + u·d - p = h,  j·s + v·d - p = w'
    dw[o, c, u, v]  = Σ_nij dy[n, o, i, j] x[n, c, i·s + u·d - p, j·s + v·d - p],     db[o] = Σ_nij dy[n, o, i, j]

    x (N, G·C, H, W), w (G·O, C, KH, KW), b (G·O,): group g of the input channels makes group g of the outputs.
    The last channels of x may be an array of their own, `beside`: as U-Net joins two arrays, but no joined one is written.
    Dumoulin & Visin 2016, relationships 6 and 15.
    """

    linear = (0, 1, 2, 3)

    def forward(ctx, x, w, b=None, beside=None, *, stride, padding, dilation):
        (top, bottom), (left, right) = padding
        height = conv_output(x.shape[2] + top + bottom, w.shape[2], stride[0], 0, dilation[0])
        width = conv_output(x.shape[3] + left + right, w.shape[3], stride[1], 0, dilation[1])
        ctx.x, ctx.w, ctx.geometry = dense(x), dense(w), (*stride, top, left, *dilation)
        ctx.beside = None if beside is None else dense(beside)
        image, y = _image(ctx.x, ctx.beside), buffers.empty((len(x), len(w), height, width), x.dtype)
        _run("conv2d", image, w, y, ctx.geometry, y, image, ctx.w, _bias(b, len(w), x.dtype))
        return y

    def backward(ctx, dy):
        dy, dx, dw, db, dbeside = dense(dy), None, None, None, None
        needs_dx, needs_dw, needs_db, needs_dbeside = (*ctx.needs_input_grad, False, False)[:4]
        if needs_dw:
            image, dw = _image(ctx.x, ctx.beside), buffers.empty_like(ctx.w)
            _run("conv2d_weight_grad", image, ctx.w, dy, ctx.geometry, dw, image, dy)
        if needs_dx or needs_dbeside:                      # last: whoever comes next reads it while it is in the cache
            dx, dbeside = buffers.empty_like(ctx.x), None if ctx.beside is None else buffers.empty_like(ctx.beside)
            image = _image(dx, dbeside)
            _run("conv2d_input_grad", image, ctx.w, dy, ctx.geometry, image, dy, ctx.w, _bias(None, image.shape[1], dy.dtype))
        if needs_db:
            db = _bias_grad(dy)
        return (dx, dw, db, dbeside)[:len(ctx.needs_input_grad)]

    def reference(x, w, b=None, beside=None, *, stride, padding, dilation):
        x = x if beside is None else np.concatenate([x, beside], axis=1)
        x = np.pad(x, ((0, 0), (0, 0), *padding))
        (sh, sw), (dh, dw), (kh, kw) = stride, dilation, w.shape[2:]
        rows = (x.shape[2] - dilated(kh, dh)) // sh + 1
        cols = (x.shape[3] - dilated(kw, dw)) // sw + 1
        groups = x.shape[1] // w.shape[1]
        y = np.zeros((len(x), len(w), rows, cols), np.result_type(x, w, *([] if b is None else [b])))
        for xg, wg, yg in zip(np.split(x, groups, 1), np.split(w, groups), np.split(y, groups, 1)):
            for i in range(rows):
                for j in range(cols):
                    window = xg[:, :, i * sh:i * sh + dilated(kh, dh):dh, j * sw:j * sw + dilated(kw, dw):dw]
                    yg[:, :, i, j] = np.einsum("ncuv,ocuv->no", window, wg)
        return y if b is None else y + b[:, None, None]

    def samples(rng):
        for (n, c, h, w), (o, kh, kw), groups, stride, padding, dilation in [
            ((2, 3, 5, 6), (4, 3, 3), 1, (1, 1), ((1, 1), (1, 1)), (1, 1)),      # the common one
            ((1, 2, 5, 5), (3, 3, 3), 1, (1, 1), ((0, 0), (0, 0)), (2, 2)),      # dilated kernel as large as the input
            ((2, 4, 6, 5), (6, 3, 2), 2, (2, 1), ((1, 1), (0, 0)), (1, 2)),      # groups, every axis different
            ((1, 3, 6, 7), (3, 2, 2), 3, (2, 3), ((0, 1), (1, 0)), (1, 1)),      # depthwise, even kernel, uneven padding
            ((2, 2, 3, 3), (5, 1, 1), 1, (2, 2), ((0, 0), (0, 0)), (1, 1)),      # 1x1 with stride: some inputs unused
            ((1, 1, 2, 3), (2, 4, 5), 1, (1, 1), ((1, 1), (1, 1)), (1, 1)),      # kernel = padded input: one output
            ((1, 2, 8, 9), (2, 3, 3), 1, (3, 2), ((4, 4), (5, 5)), (2, 1)),      # more padding than kernel
        ]:
            settings = {"stride": stride, "padding": padding, "dilation": dilation}
            yield Sample((normal(rng, n, c, h, w), normal(rng, o, c // groups, kh, kw), normal(rng, o)), settings)
        yield Sample((normal(rng, 1, 2, 4, 4), normal(rng, 2, 2, 3, 3), None), settings)
        yield Sample((normal(rng, 2, 2, 4, 5), normal(rng, 3, 5, 3, 3), normal(rng, 3), normal(rng, 2, 3, 4, 5)), settings)


class ConvTranspose2d(Op):
    """y[n, o, h, w'] = b[o] + Σ_cuv x[n, c, i, j] w[c, o, u, v]   over all  i·s + u·d - p = h,  j·s + v·d - p = w'

    Each input pixel, times the kernel, is added to the output at stride s.  It is the gradient of a convolution with
    respect to its input, so its own gradients are convolutions:
    dx = conv2d(dy, w),     dw[c, o, u, v] = Σ_nij x[n, c, i, j] dy[n, o, i·s + u·d - p, j·s + v·d - p],     db[o] = Σ dy

    x (N, G·C, H, W), w (G·C, O, KH, KW), b (G·O,).  `output_padding` names one of the s sizes that a convolution would map
    to the same H: it enlarges the output at the bottom and the right.  Dumoulin & Visin 2016, relationship 14.
    """

    linear = (0, 1, 2)

    def forward(ctx, x, w, b=None, *, stride, padding, output_padding, dilation, groups):
        size = [conv_transpose_output(x.shape[a + 2], w.shape[a + 2], stride[a], padding[a], dilation[a], output_padding[a])
                for a in (0, 1)]
        ctx.x, ctx.w, ctx.geometry = dense(x), dense(w), (*stride, *padding, *dilation)
        y = buffers.empty((len(x), groups * w.shape[1], *size), x.dtype)
        _run("conv2d_input_grad", y, ctx.w, ctx.x, ctx.geometry, y, ctx.x, ctx.w, _bias(b, y.shape[1], x.dtype))
        return y

    def backward(ctx, dy):
        dy, dx, dw, db = dense(dy), None, None, None
        needs_dx, needs_dw, needs_db = (*ctx.needs_input_grad, False)[:3]
        if needs_dx:
            dx = buffers.empty_like(ctx.x)
            _run("conv2d", dy, ctx.w, ctx.x, ctx.geometry, dx, dy, ctx.w, _bias(None, dx.shape[1], dy.dtype))
        if needs_dw:
            dw = buffers.empty_like(ctx.w)
            _run("conv2d_weight_grad", dy, ctx.w, ctx.x, ctx.geometry, dw, dy, ctx.x)
        if needs_db:
            db = _bias_grad(dy)
        return (dx, dw, db)[:len(ctx.needs_input_grad)]

    def reference(x, w, b=None, *, stride, padding, output_padding, dilation, groups):
        (sh, sw), (ph, pw), (dh, dw), (kh, kw) = stride, padding, dilation, w.shape[2:]
        rows = (x.shape[2] - 1) * sh + dilated(kh, dh) + output_padding[0]
        cols = (x.shape[3] - 1) * sw + dilated(kw, dw) + output_padding[1]
        canvas = np.zeros((len(x), groups * w.shape[1], rows, cols), np.result_type(x, w, *([] if b is None else [b])))
        for xg, wg, out in zip(np.split(x, groups, 1), np.split(w, groups), np.split(canvas, groups, 1)):
            for i in range(x.shape[2]):
                for j in range(x.shape[3]):
                    element_x_kernel = np.einsum("nc,couv->nouv", xg[:, :, i, j], wg)
                    out[:, :, i * sh:i * sh + dilated(kh, dh):dh, j * sw:j * sw + dilated(kw, dw):dw] += element_x_kernel
        y = canvas[:, :, ph:rows - ph, pw:cols - pw]
        return y if b is None else y + b[:, None, None]

    def samples(rng):
        for (n, c, h, w), (o, kh, kw), groups, stride, padding, output_padding, dilation in [
            ((2, 3, 3, 4), (2, 3, 3), 1, (2, 2), (1, 1), (0, 0), (1, 1)),        # the lecture's: 2H - 1
            ((1, 4, 3, 3), (2, 2, 2), 1, (2, 2), (0, 0), (0, 0), (1, 1)),        # U-Net's: no overlap
            ((1, 2, 3, 3), (2, 4, 4), 1, (2, 2), (1, 1), (0, 0), (1, 1)),        # FCN's: exactly 2H
            ((2, 4, 3, 2), (3, 3, 2), 2, (3, 2), (1, 0), (2, 1), (1, 2)),        # groups, all sizes that s leaves open
            ((1, 3, 4, 3), (1, 2, 3), 3, (1, 1), (0, 1), (0, 1), (2, 2)),        # depthwise, dilated
            ((1, 2, 2, 2), (3, 1, 1), 1, (3, 3), (0, 0), (2, 2), (1, 1)),        # holes between the kernels
            ((1, 1, 1, 1), (2, 3, 3), 1, (2, 2), (1, 1), (0, 0), (1, 1)),        # one pixel to one pixel
        ]:
            settings = {"stride": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation,
                        "groups": groups}
            yield Sample((normal(rng, n, c, h, w), normal(rng, c, o, kh, kw), normal(rng, o * groups)), settings)
        yield Sample((normal(rng, 1, 2, 2, 3), normal(rng, 2, 1, 3, 3), None), settings)


def _bias(b, channels, dtype):
    return np.zeros(channels, dtype) if b is None else dense(b)


def _bias_grad(dy):
    db = np.empty(dy.shape[1], dy.dtype)
    sums.channel_sums(db, positions(dy))
    return db


def _image(x, beside):
    """The image that a convolution reads or writes: an array, or two."""
    return x if beside is None else SideBySide(x, beside)


def _run(task, image, weight, output, geometry, *arguments):
    """A task of the convolution of an image to an output, by the algorithm that `backends` chooses for it.

    An image in two arrays is joined for an algorithm that cannot do with them.
    """
    work = backends.Work(task, image.shape, weight.shape, output.shape, geometry, image.itemsize)
    algorithm = backends.conv2d.algorithm(work)
    run = getattr(algorithm.kernels, task)
    if algorithm.takes(image):
        return run(*arguments, geometry)
    joined = image.joined()
    run(*(joined if argument is image else argument for argument in arguments), geometry)
    if task == "conv2d_input_grad":
        image.assign(joined)
