import numpy as np

import tinyseg.functional as F
from tinyseg.course.testing import close, gradients, points

KERNEL = np.array([[0.25, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 0.25]])[None, None]
IMAGE = np.arange(16.0).reshape(1, 1, 4, 4)


def transposed(x, w, stride, padding):
    return F.conv_transpose2d(x, w, stride=stride, padding=padding).numpy()


def overlaps(x, w, stride, padding):
    """How many kernels are added up in each pixel."""
    return transposed(np.ones((1, 1, *x.shape[2:])), np.ones((1, 1, *w.shape[2:])), stride, padding)


def overwritten(x, w, stride, padding):
    (n, _, height, width), (_, o, kh, kw) = x.shape, w.shape
    y = np.zeros((n, o, (height - 1) * stride + kh, (width - 1) * stride + kw))
    for i, j in np.ndindex(height, width):
        y[:, :, i * stride:i * stride + kh, j * stride:j * stride + kw] = np.tensordot(x[:, :, i, j], w, axes=(1, 0))
    return y[:, :, padding:y.shape[2] - padding, padding:y.shape[3] - padding]


def check(function, x, w, stride, padding):
    right = transposed(x, w, stride, padding)
    mistakes = {"the crop of the padding is missing": transposed(x, w, stride, 0),
                "the crop is made on one side only": transposed(x, w, stride, 0)[:, :, padding:, padding:],
                "kernels that overlap are averaged where they should be summed": right / overlaps(x, w, stride, padding),
                "kernels that overlap overwrite each other: = where += is meant": overwritten(x, w, stride, padding),
                "the kernel is flipped": transposed(x, w[..., ::-1, ::-1], stride, padding),
                "the kernel is transposed: rows and columns are exchanged": transposed(x, w.swapaxes(-1, -2), stride, padding),
                "the stride is ignored": transposed(x, w, 1, padding)}
    close(function(x, w, stride=stride, padding=padding), right, "y", mistakes)


def by_zeros(transposed_module, x, w, stride, padding):
    right, size = transposed(x, w, stride, padding), w.shape[2] - 1 - padding
    zeros = np.zeros((*x.shape[:2], x.shape[2] * stride, x.shape[3] * stride))
    zeros[:, :, ::stride, ::stride] = x
    trimmed = zeros[:, :, :(x.shape[2] - 1) * stride + 1, :(x.shape[3] - 1) * stride + 1]
    same, flipped = w.transpose(1, 0, 2, 3), w[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
    close(transposed_module.conv_transpose2d_by_zeros(x, w, stride=stride, padding=padding), right, "y", {
        "the kernel is not flipped: the two ways agree only for the kernel flipped up-down and left-right":
            F.conv2d(trimmed, same, padding=size).numpy(),
        "zeros stand after the last row and column too": F.conv2d(zeros, flipped, padding=size).numpy(),
        "the padding is taken as that of the convolution, expected KH - 1 - padding":
            F.conv2d(trimmed, flipped, padding=padding).numpy()})


@points("transposed", 2)
def test_example_of_the_lecture(transposed):
    check(transposed.conv_transpose2d_forward, IMAGE, KERNEL, stride=2, padding=0)


@points("transposed", 2)
def test_example_of_the_lecture_with_padding(transposed):
    check(transposed.conv_transpose2d_forward, IMAGE, KERNEL, stride=2, padding=1)


@points("transposed", 2)
def test_channels(transposed):
    rng = np.random.default_rng(0)
    check(transposed.conv_transpose2d_forward, rng.standard_normal((2, 3, 3, 4)), rng.standard_normal((3, 2, 3, 3)), 2, 1)


@points("transposed", 2)
def test_by_zeros(transposed):
    by_zeros(transposed, IMAGE, np.arange(9.0).reshape(1, 1, 3, 3), 2, 1)


# BEGIN HIDDEN
@points("transposed", 2)
def test_by_zeros_with_channels(transposed):
    rng = np.random.default_rng(1)
    by_zeros(transposed, rng.standard_normal((2, 3, 3, 4)), rng.standard_normal((3, 2, 4, 4)), 3, 1)


@points("transposed", 4)
def test_backward(transposed):
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((2, 3, 3, 4)), rng.standard_normal((3, 2, 3, 3))
    gradients(lambda dy: transposed.conv_transpose2d_backward(dy, x, w, stride=2, padding=1),
              lambda x, w: F.conv_transpose2d(x, w, stride=2, padding=1), {"x": x, "w": w},
              name="conv_transpose2d_backward")
# END HIDDEN
