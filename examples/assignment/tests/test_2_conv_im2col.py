import numpy as np

import tinyseg as ts
import tinyseg.functional as F
from tinyseg.course.testing import close, gradients, points


def windows(x, kh, kw, stride, padding):
    """(N, C, KH, KW, OH, OW)"""
    xp = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    all_windows = np.lib.stride_tricks.sliding_window_view(xp, (kh, kw), axis=(2, 3))[:, :, ::stride, ::stride]
    return all_windows.transpose(0, 1, 4, 5, 2, 3)


def columns(conv, seed, shape, kernel, **settings):
    x = np.random.default_rng(seed).standard_normal(shape)
    n, c, kh, kw, oh, ow = (six := windows(x, *kernel, **settings)).shape

    def rows(*axes):
        return six.transpose(axes).reshape(n, c * kh * kw, oh * ow)
    close(conv.im2col(x, kernel, **settings), rows(0, 1, 2, 3, 4, 5), "columns", {
        "rows stand in the order (k, l, c), expected (c, k, l)": rows(0, 2, 3, 1, 4, 5),
        "windows stand column by column, expected row by row": rows(0, 1, 2, 3, 5, 4),
        "the window's rows and columns are exchanged": rows(0, 1, 3, 2, 4, 5),
        "the matrix is transposed: each window is a row, expected a column": rows(0, 1, 2, 3, 4, 5).transpose(0, 2, 1),
        "the padding is ignored": _flat(windows(x, *kernel, settings["stride"], 0))})


def back(conv, seed, shape, kernel, stride, padding):
    rng = np.random.default_rng(seed)
    n, c, kh, kw, oh, ow = windows(np.zeros(shape), *kernel, stride, padding).shape
    values = rng.standard_normal((n, c * kh * kw, oh * ow))

    def scatter(add):
        image = np.zeros((n, c, shape[2] + 2 * padding, shape[3] + 2 * padding))
        seen = np.zeros_like(image)
        six = values.reshape(n, c, kh, kw, oh, ow)
        for k in range(kh):
            for l in range(kw):
                at = np.s_[:, :, k:k + stride * oh:stride, l:l + stride * ow:stride]
                image[at] = image[at] + six[:, :, k, l] if add else six[:, :, k, l]
                seen[at] += 1
        return image, np.maximum(seen, 1)

    def crop(image):
        return image[:, :, padding:padding + shape[2], padding:padding + shape[3]]
    image, count = scatter(add=True)
    close(conv.col2im(values, shape, kernel, stride=stride, padding=padding), crop(image), "the image", {
        "the crop of the padding is missing": image,
        "windows that overlap are averaged where they should be summed": crop(image / count),
        "windows that overlap overwrite each other: = where += is meant": crop(scatter(add=False)[0])})


def _flat(six):
    n, c, kh, kw, oh, ow = six.shape
    return six.reshape(n, c * kh * kw, oh * ow)


@points("conv_im2col", 2)
def test_im2col(conv_im2col):
    columns(conv_im2col, 0, (2, 3, 5, 6), (3, 2), stride=2, padding=1)


@points("conv_im2col", 2)
def test_col2im(conv_im2col):
    back(conv_im2col, 0, (2, 2, 5, 6), (3, 3), 1, 1)


@points("conv_im2col", 2)
def test_forward(conv_im2col):
    rng = np.random.default_rng(0)
    x, w, b = rng.standard_normal((2, 3, 7, 6)), rng.standard_normal((4, 3, 3, 3)), rng.standard_normal(4)
    close(conv_im2col.conv2d_forward(x, w, b, stride=2, padding=1), F.conv2d(x, w, b, 2, 1).numpy(), "y", {
        "the kernel is flipped": F.conv2d(x, w[..., ::-1, ::-1], b, 2, 1).numpy(),
        "the bias is left out": F.conv2d(x, w, None, 2, 1).numpy()})


# BEGIN HIDDEN
@points("conv_im2col", 1)
def test_col2im_with_stride(conv_im2col):
    back(conv_im2col, 1, (2, 3, 8, 7), (3, 4), 2, 1)


@points("conv_im2col", 3)
def test_backward(conv_im2col):
    rng = np.random.default_rng(1)
    x, w, b = rng.standard_normal((2, 2, 6, 5)), rng.standard_normal((3, 2, 3, 3)), rng.standard_normal(3)

    def first_image_only(dy):
        tensors = [ts.Tensor(a, requires_grad=True) for a in (x, w, b)]
        F.conv2d(*tensors, 2, 1).backward(dy)
        weight = ts.Tensor(w, requires_grad=True)
        F.conv2d(x[:1], weight, b, 2, 1).backward(dy[:1])
        return [tensors[0].grad, weight.grad, tensors[2].grad]
    gradients(lambda dy: conv_im2col.conv2d_backward(dy, x, w, stride=2, padding=1),
              lambda x, w, b: F.conv2d(x, w, b, 2, 1), {"x": x, "w": w, "b": b},
              {"dw counts the first image only: the sum over the batch is missing": first_image_only}, "conv2d_backward")
# END HIDDEN
