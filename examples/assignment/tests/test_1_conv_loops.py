import numpy as np

import tinyseg.functional as F
from tinyseg import Tensor
from tinyseg.course.testing import close, gradients, points

FLIPPED = "the kernel is flipped: deep learning's convolution is cross-correlation, without a flip"


def arrays(shape, kernel, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape), rng.standard_normal(kernel), rng.standard_normal(kernel[0])


def forward(conv, x, w, b, stride=1, padding=0):
    def conv2d(x=x, w=w, b=b, stride=stride, padding=padding):
        return F.conv2d(x, w, b, stride, padding).numpy()
    mistakes = {FLIPPED: conv2d(w=w[..., ::-1, ::-1]),
                "the kernel is transposed: rows and columns are exchanged": conv2d(w=w.swapaxes(-1, -2)),
                "the bias is left out": conv2d(b=0 * b),
                "the bias is added once for every channel": conv2d(b=b * x.shape[1]),
                "the products are averaged over the window where they should be summed": conv2d(w=w / w[0].size),
                "only the first channel of the image is used": conv2d(x[:, :1], w[:, :1]),
                "the stride is ignored": conv2d(stride=1),
                "the stride is applied to rows, but not to columns": conv2d(stride=(stride, 1)),
                "the padding is ignored": conv2d(padding=0),
                "the padding is added on one side only": conv2d(np.pad(x, ((0, 0),) * 2 + ((padding, 0),) * 2), padding=0),
                "the image is padded with its border pixels, not with zeros":
                    conv2d(np.pad(x, ((0, 0),) * 2 + ((padding, padding),) * 2, mode="edge"), padding=0),
                "the last row and column of windows are left out (off by one in the output size)":
                    conv2d()[:, :, :-1, :-1]}
    close(conv.conv2d_forward(x, w, b, stride=stride, padding=padding), conv2d(), "y", mistakes)


def backward(conv, x, w, b, stride=1, padding=0):
    def uncropped(dy):
        xp = np.pad(x, ((0, 0),) * 2 + ((padding, padding),) * 2)
        dxp = F.conv_transpose2d(dy, w, stride=stride, output_size=xp.shape[2:]).numpy()
        return [dxp, *exact(dy)[1:]]

    def exact(dy):
        tensors = [Tensor(a, requires_grad=True) for a in (x, w, b)]
        F.conv2d(*tensors, stride, padding).backward(dy)
        return [t.grad for t in tensors]

    def one_short(rows, columns):
        def mistake(dy):
            dy = dy.copy()
            dy[:, :, dy.shape[2] - rows:], dy[:, :, :, dy.shape[3] - columns:] = 0, 0
            return [*exact(dy)[:2], None]                    # db may be right or wrong
        return mistake

    def averaged(dy):
        dx, dw, db = exact(dy)
        return [dx, dw, db / (dy.size / dy.shape[1])]

    gradients(lambda dy: conv.conv2d_backward(dy, x, w, stride=stride, padding=padding),
              lambda x, w, b: F.conv2d(x, w, b, stride, padding), {"x": x, "w": w, "b": b},
              {"the last row of windows is left out": one_short(1, 0),
               "the last column of windows is left out": one_short(0, 1),
               "dx is still padded: its crop is missing": uncropped,
               "db is averaged over the pixels where it should be summed": averaged}, "conv2d_backward")


@points("conv_loops", 1)
def test_one_window(conv_loops):
    x, w, b = arrays((1, 1, 3, 3), (1, 1, 3, 3))
    forward(conv_loops, x, w, 0 * b)


@points("conv_loops", 2)
def test_channels_and_images(conv_loops):
    forward(conv_loops, *arrays((2, 3, 5, 6), (4, 3, 3, 3)))


@points("conv_loops", 2)
def test_stride_and_padding(conv_loops):
    forward(conv_loops, *arrays((2, 3, 7, 6), (2, 3, 3, 3)), stride=2, padding=1)


@points("conv_loops", 2)
def test_backward(conv_loops):
    backward(conv_loops, *arrays((2, 3, 5, 4), (2, 3, 3, 3)))


# BEGIN HIDDEN
@points("conv_loops", 2)
def test_kernels_that_are_not_square(conv_loops):
    forward(conv_loops, *arrays((2, 2, 8, 7), (3, 2, 2, 4), seed=1), stride=3, padding=1)


@points("conv_loops", 3)
def test_backward_with_stride_and_padding(conv_loops):
    backward(conv_loops, *arrays((2, 2, 6, 5), (3, 2, 3, 3), seed=1), stride=2, padding=1)
# END HIDDEN
