import numpy as np

import tinyseg.functional as F
from tinyseg.course.testing import close, gradients, points


def pooled(x, k):
    y, indices = F.max_pool2d(x, k, return_indices=True)
    return y.numpy(), indices.numpy()


def _pooling(module, x, k):
    found = module.max_pool2d_forward(x, k)
    assert isinstance(found, (tuple, list)) and len(found) == 2, "max_pool2d_forward returns two arrays, y and indices"
    y, indices = pooled(x, k)
    height, width = x.shape[2:]
    mean = F.avg_pool2d(x, k).numpy()
    close(found[0], y, "y", {"the mean of each window is taken, expected the maximum": mean,
                             "the minimum of each window is taken": -pooled(-x, k)[0]})
    row, column = np.divmod(indices, width)
    last = pooled(x[:, :, :height // k * k, :width // k * k][:, :, ::-1, ::-1], k)[1][:, :, ::-1, ::-1]
    last = (height // k * k - 1 - last // (width // k * k)) * width + width // k * k - 1 - last % (width // k * k)
    close(found[1], indices, "indices", {
        "they are counted within the window, expected row · W + column in the image": row % k * k + column % k,
        "they are column · H + row, expected row · W + column": column * height + row,
        "rows are counted with the width of the cropped image": row * (width // k * k) + column,
        "of equal maxima the last is taken, expected the first": last})


@points("pooling", 2)
def test_maxima_and_where_they_were(pooling):
    _pooling(pooling, np.random.default_rng(0).permutation(np.arange(96.0)).reshape(2, 2, 4, 6), 2)


@points("pooling", 1)
def test_rows_that_fill_no_window(pooling):
    _pooling(pooling, np.random.default_rng(0).standard_normal((1, 2, 7, 8)), 3)


@points("pooling", 2)
def test_unpooling(pooling):
    x = np.random.default_rng(0).standard_normal((2, 2, 4, 6))
    y, indices = pooled(x, 2)
    right = F.max_unpool2d(y, indices, 2).numpy()
    nails = F.bed_of_nails(y, 2).numpy()
    close(pooling.max_unpool2d_forward(y, indices, (4, 6)), right, "the image", {
        "each value goes to the top left of its window (bed of nails), not to where the maximum was": nails,
        "each value fills its whole window": y.repeat(2, axis=2).repeat(2, axis=3)})


@points("pooling", 2)
def test_backward(pooling):
    x = np.random.default_rng(0).standard_normal((2, 2, 4, 6))
    gradients(lambda dy: pooling.max_pool2d_backward(dy, pooled(x, 2)[1], x.shape),
              lambda x: F.max_pool2d(x, 2), {"x": x},
              {"it is spread evenly over the window, as for a mean":
                  lambda dy: [dy.repeat(2, axis=2).repeat(2, axis=3) / 4],
               "every pixel of a window gets all of it": lambda dy: [dy.repeat(2, axis=2).repeat(2, axis=3)]},
              "max_pool2d_backward")


# BEGIN HIDDEN
@points("pooling", 2)
def test_equal_maxima(pooling):
    _pooling(pooling, np.random.default_rng(1).integers(0, 3, (2, 2, 6, 6)).astype(float), 3)


@points("pooling", 1)
def test_negative_values(pooling):
    _pooling(pooling, -1 - np.random.default_rng(1).random((1, 2, 4, 4)), 2)


@points("pooling", 2)
def test_unpooling_to_an_odd_size_and_back(pooling):
    x = np.random.default_rng(1).standard_normal((2, 2, 5, 7))
    y, indices = pooled(x, 2)
    close(pooling.max_unpool2d_forward(y, indices, (5, 7)), F.max_unpool2d(y, indices, 2, output_size=(5, 7)).numpy(),
          "the image")
    gradients(lambda dx: pooling.max_unpool2d_backward(dx, indices),
              lambda y: F.max_unpool2d(y, indices, 2, output_size=(5, 7)), {"y": y}, name="max_unpool2d_backward")
# END HIDDEN
