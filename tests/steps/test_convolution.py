"""Convolution's steps against the op, for any setting: last frame, partial outputs, partial sums."""
import numpy as np
import pytest

import tinyseg.functional as F
from tinyseg import steps
from tinyseg.steps.convolution import IMAGE, KERNEL, LARGER_IMAGE


def random_call(seed, largest=6):
    rng = np.random.default_rng(seed)
    while True:
        stride, dilation = (tuple(map(int, rng.integers(1, 4, 2))) for _ in range(2))
        padding = tuple(map(int, rng.integers(0, 3, 2)))
        x, w = rng.standard_normal(rng.integers(1, largest, 2)), rng.standard_normal(rng.integers(1, 4, 2))
        if all(n + 2 * p >= d * (k - 1) + 1 for n, p, k, d in zip(x.shape, padding, w.shape, dilation)):
            return x, w, {"stride": stride, "padding": padding, "dilation": dilation}


def convolved(x, w, **settings):
    return F.conv2d(x[None, None], w[None, None], **settings).numpy()[0, 0]


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(25))
def test_conv(seed):
    x, w, settings = random_call(seed)
    run, y = steps.conv(x, w, **settings), convolved(x, w, **settings)
    assert len(run) == y.size + 1
    close(run[-1]["Output"].values, y)
    for k, frame in enumerate(run[1:], start=1):
        output, image = frame["Output"], frame["Input"]
        assert np.isnan(output.values).sum() == y.size - k
        close(output.values[~np.isnan(output.values)], y.ravel()[:k])
        place = divmod(k - 1, y.shape[1])
        assert output.cells("written") == [place]
        under = np.array([image.values[cell] for cell in image.cells("read")]).reshape(w.shape)
        close(frame["Window × kernel"].values, under * w)
        sums = frame["Running sum"].values.ravel()
        for taps in range(1, w.size + 1):                                  # the op with the first taps only
            first = np.where(np.arange(w.size) < taps, w.ravel(), 0).reshape(w.shape)
            close(sums[taps - 1], convolved(x, first, **settings)[place])


def test_the_cells_that_are_read_are_those_that_matter():
    x, w, settings = random_call(3)
    y = convolved(x, w, **settings)
    (top, left), frames = settings["padding"], steps.conv(x, w, **settings)[1:]
    for i, j in np.ndindex(x.shape):
        changed = x.copy()
        changed[i, j] += 1
        reached = {place for frame, place in zip(frames, np.ndindex(y.shape))
                   if (i + top, j + left) in frame["Input"].cells("read")}
        assert reached == set(zip(*(abs(convolved(changed, w, **settings) - y) > 1e-12).nonzero()))


@pytest.mark.parametrize("seed", range(15))
def test_im2col(seed):
    x, w, settings = random_call(seed)
    run, y = steps.im2col(x, w, **settings), convolved(x, w, **settings)
    columns, product = run[-1]["Columns"].values, run[-1]["Product"].values
    assert columns.shape == (w.size, y.size)
    close(w.ravel() @ columns, y.ravel())
    close(product[0], y.ravel())
    close(run[-1]["Output"].values, y)
    for k in range(y.size):
        gathered, multiplied = run[1 + k], run[1 + y.size + k]
        close(gathered["Columns"].values[:, :k + 1], columns[:, :k + 1])
        assert np.isnan(gathered["Columns"].values[:, k + 1:]).all()
        assert np.isnan(multiplied["Product"].values).sum() == y.size - k - 1


@pytest.mark.parametrize("seed", range(15))
def test_the_matrix_is_the_convolution_and_its_transpose_the_transposed_one(seed):
    x, w, settings = random_call(seed)
    run, y = steps.conv_matrix(x, w, **settings), convolved(x, w, **settings)
    matrix, back = run[-1]["C"].values, run[-1]["Transposed convolution of the output"].values
    close(matrix @ x.ravel(), y.ravel())
    close(run[-1]["Output"].values, y)
    close(back.ravel(), matrix.T @ y.ravel())
    beyond = [(n + 2 * p - d * (k - 1) - 1) % s for n, p, k, s, d in
              zip(x.shape, settings["padding"], w.shape, settings["stride"], settings["dilation"])]
    close(back, F.conv_transpose2d(y[None, None], w[None, None], output_size=x.shape, **settings).numpy()[0, 0])
    assert max(beyond) < 3
    for p in range(x.size):
        assert np.isnan(run[p]["C"].values[:, p + 1:]).all() and not np.isnan(run[p]["C"].values[:, :p + 1]).any()


def test_strided_and_dilated_are_the_same_stepper_with_other_defaults():
    close(steps.conv_strided()[-1]["Output"].values, convolved(IMAGE, KERNEL, stride=2, padding=1))
    run = steps.conv_dilated()
    close(run[-1]["Output"].values, convolved(LARGER_IMAGE, KERNEL, padding=2, dilation=2))
    assert run[1]["Input"].cells("read") == [(i, j) for i in (0, 2, 4) for j in (0, 2, 4)], "holes between the taps"


def test_nothing_that_was_given_is_changed():
    x, w = np.arange(9.0).reshape(3, 3), np.ones((2, 2))
    for stepper in steps.conv, steps.im2col, steps.conv_matrix, steps.conv_transpose, steps.conv_transpose_gather:
        stepper(x, w)
    assert np.array_equal(x, np.arange(9.0).reshape(3, 3)) and np.array_equal(w, np.ones((2, 2)))


@pytest.mark.parametrize("stepper, call, error, message", [
    (steps.conv, dict(kernel=np.ones((7, 1))), ValueError, "conv: kernel height 7 .* exceeds the padded input's 6"),
    (steps.conv, dict(dilation=3), ValueError, "conv: kernel height 7 .dilation included."),
    (steps.conv, dict(padding=-1), ValueError, "conv: padding=-1: expected at least 0"),
    (steps.conv, dict(padding=20), ValueError, "conv: the padded input's height is 44"),
    (steps.conv, dict(input=[[1, np.nan]]), ValueError, "not finite"),
    (steps.conv, dict(input=[[1], [2, 3]]), TypeError, "conv: input: expected rows of as many numbers"),
    (steps.conv, dict(input="cat"), TypeError, "conv: input"),
    (steps.im2col, dict(input=np.ones((9, 9))), ValueError, "im2col: the matrix would be 9x81"),
    (steps.conv_matrix, dict(input=np.ones((9, 9))), ValueError, "conv-matrix: the matrix would be 49x81"),
    (steps.conv_dilated, dict(stride=(1, 2, 3)), ValueError, "conv-dilated: stride"),
])
def test_what_does_not_fit_is_refused(stepper, call, error, message):
    with pytest.raises(error, match=message):
        stepper(**call)
