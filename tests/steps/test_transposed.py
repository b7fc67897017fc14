"""The transposed convolution's steps: the lecture's tables number for number, and any other setting against the op."""
import numpy as np
import pytest

import tinyseg.functional as F
from tinyseg import steps

# Transcribed from the slides: "Element x Kernel" and "Added Result" of elements 0 to 8 and of the last one.  Right of a
# row's numbers the slide is empty.
ELEMENT_X_KERNEL = {
    0: [[0, 0, 0], [0, 0, 0], [0, 0, 0]],
    1: [[0.25, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 0.25]],
    2: [[0.5, 1, 0.5], [1, 2, 1], [0.5, 1, 0.5]],
    3: [[0.75, 1.5, 0.75], [1.5, 3, 1.5], [0.75, 1.5, 0.75]],
    4: [[1, 2, 1], [2, 4, 2], [1, 2, 1]],
    5: [[1.25, 2.5, 1.25], [2.5, 5, 2.5], [1.25, 2.5, 1.5]],
    6: [[1.5, 3, 1.5], [3, 6, 3], [1.5, 3, 1.5]],
    7: [[1.75, 3.5, 1.75], [3.5, 7, 3.5], [1.75, 3.5, 1.75]],
    8: [[2, 4, 2], [4, 8, 4], [2, 4, 2]],
    15: [[3.75, 7.5, 3.75], [7.5, 15, 7.5], [3.75, 7.5, 3.75]],
}
TOP = [[0, 0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 0.75], [0, 0, 0.5, 1, 1.5, 2, 2.5, 3, 1.5]]
LEFT = [0, 0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 0.75]
ADDED_RESULT = {
    0: [[0, 0, 0]] * 3,
    1: [[0, 0, 0.25, 0.5, 0.25], [0, 0, 0.5, 1, 0.5], [0, 0, 0.25, 0.5, 0.25]],
    2: [[0, 0, 0.25, 0.5, 0.75, 1, 0.5], [0, 0, 0.5, 1, 1.5, 2, 1], [0, 0, 0.25, 0.5, 0.75, 1, 0.5]],
    3: [*TOP, LEFT],
    4: [*TOP, [1, 2, 1.25, 0.5, 0.75, 1, 1.25, 1.5, 0.75], [2, 4, 2], [1, 2, 1]],
    5: [*TOP, [1, 2, 2.5, 3, 2, 1, 1.25, 1.5, 0.75], [2, 4, 4.5, 5, 2.5], [1, 2, 2.5, 2.5, 1.5]],
    6: [*TOP, [1, 2, 2.5, 3, 3.5, 4, 2.75, 1.5, 0.75], [2, 4, 4.5, 5, 5.5, 6, 3], [1, 2, 2.5, 2.5, 2.75, 3, 1.5]],
    7: [*TOP, [1, 2, 2.5, 3, 3.5, 4, 4.5, 5, 2.5], [2, 4, 4.5, 5, 5.5, 6, 6.5, 7, 3.5],
        [1, 2, 2.5, 2.5, 2.75, 3, 3.25, 3.5, 1.75]],
    8: [*TOP, [1, 2, 2.5, 3, 3.5, 4, 4.5, 5, 2.5], [2, 4, 4.5, 5, 5.5, 6, 6.5, 7, 3.5],
        [3, 6, 4.25, 2.5, 2.75, 3, 3.25, 3.5, 1.75], [4, 8, 4], [2, 4, 2]],
    15: [*TOP, [1, 2, 2.5, 3, 3.5, 4, 4.5, 5, 2.5], [2, 4, 4.5, 5, 5.5, 6, 6.5, 7, 3.5],
         [3, 6, 6.5, 7, 7.5, 8, 8.5, 9, 4.5], [4, 8, 8.5, 9, 9.5, 10, 10.5, 11, 5.5],
         [5, 10, 10.5, 11, 11.5, 12, 12.5, 13, 6.5], [6, 12, 12.5, 13, 13.5, 14, 14.5, 15, 7.5],
         [3, 6, 6.25, 6.5, 6.75, 7, 7.25, 7.5, 3.75]],
}
# The slides slip here: {(element, row, column): (printed, 5 x 0.25 and what follows)}.  Their later tables are right.
ELEMENT_SLIPS = {(5, 2, 2): (1.5, 1.25)}
CANVAS_SLIPS = {(5, 4, 2): (2.5, 2.25), (5, 4, 4): (1.5, 1.25), (6, 4, 2): (2.5, 2.25), (7, 4, 2): (2.5, 2.25)}
ZERO_INTERLEAVED = np.zeros((9, 9))
ZERO_INTERLEAVED[1::2, 1::2] = np.arange(16).reshape(4, 4)


def assert_as_printed(rows, values, slips, element):
    """Number for number, but for the slips; and nothing where the slide has nothing."""
    for r, row in enumerate(values):
        printed = rows[r] if r < len(rows) else []
        for c, value in enumerate(row):
            if c >= len(printed):
                assert np.isnan(value), f"element {element}: {value} at {r}, {c}, where the slide is empty"
            elif (element, r, c) in slips:
                assert (printed[c], value) == slips[element, r, c]
            else:
                assert value == printed[c], f"element {element}: {value} at {r}, {c}, on the slide {printed[c]}"


def added_frames(run):
    return [frame for frame in run if "is added to the canvas" in frame.sentence]


@pytest.mark.parametrize("element", ADDED_RESULT)
def test_every_table_of_the_slides(element):
    run = steps.conv_transpose()
    multiplied, added = run[1 + 2 * element], run[2 + 2 * element]
    assert multiplied["Input"].cells("read") == [divmod(element, 4)]
    for frame in multiplied, added:
        assert_as_printed(ELEMENT_X_KERNEL[element], frame["Element × kernel"].values, ELEMENT_SLIPS, element)
    assert_as_printed(ADDED_RESULT[element], added["Canvas"].values, CANVAS_SLIPS, element)
    if element - 1 in ADDED_RESULT:                        # the canvas while the next element is multiplied
        assert_as_printed(ADDED_RESULT[element - 1], multiplied["Canvas"].values, CANVAS_SLIPS, element - 1)
    top, left = 2 * (element // 4), 2 * (element % 4)
    assert added["Canvas"].cells("written") == [(top + u, left + v) for u in range(3) for v in range(3)]
    assert added.code.startswith("out[") and added.code.endswith("+= element_x_kernel")


def test_the_zero_interleaved_image_of_the_slides_and_its_output():
    run = steps.conv_transpose_gather()
    assert np.array_equal(run[2]["Zero-interleaved and padded"].values, ZERO_INTERLEAVED)
    expected = np.array(ADDED_RESULT[15])[1:-1, 1:-1]
    assert np.array_equal(run[-1]["Output"].values, expected)
    assert np.array_equal(steps.conv_transpose()[-1]["Output"].values, expected)


def random_call(seed):
    """Input, kernel and settings of a transposed convolution that has an output."""
    rng = np.random.default_rng(seed)
    while True:
        stride, dilation = (tuple(map(int, rng.integers(1, 4, 2))) for _ in range(2))
        padding = tuple(map(int, rng.integers(0, 4, 2)))
        output_padding = tuple(int(rng.integers(0, max(s, d))) for s, d in zip(stride, dilation))
        x, w = rng.standard_normal(rng.integers(1, 5, 2)), rng.standard_normal(rng.integers(1, 4, 2))
        size = [s * (n - 1) + d * (k - 1) + 1 - 2 * p + o for n, k, s, p, d, o in
                zip(x.shape, w.shape, stride, padding, dilation, output_padding)]
        if min(size) >= 1:
            return x, w, {"stride": stride, "padding": padding, "dilation": dilation, "output_padding": output_padding}


def transposed(x, w, **settings):
    return F.conv_transpose2d(x[None, None], w[None, None], **settings).numpy()[0, 0]


@pytest.mark.parametrize("seed", range(25))
def test_running_sums_are_the_op_on_the_elements_so_far(seed):
    x, w, settings = random_call(seed)
    run = steps.conv_transpose(x, w, **settings)
    uncropped = {**settings, "padding": 0}
    frames = added_frames(run)
    assert len(frames) == x.size
    for k, frame in enumerate(frames, start=1):
        so_far = np.arange(x.size).reshape(x.shape) < k
        reached = transposed(1.0 * so_far, np.ones(w.shape), **uncropped) > 0
        canvas = frame["Canvas"].values
        assert np.array_equal(~np.isnan(canvas), reached)
        np.testing.assert_allclose(np.nan_to_num(canvas), transposed(x * so_far, w, **uncropped), rtol=0, atol=1e-12)
    np.testing.assert_allclose(run[-1]["Output"].values, transposed(x, w, **settings), rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(25))
def test_gathering_gives_the_same_output(seed):
    x, w, settings = random_call(seed)
    run = steps.conv_transpose_gather(x, w, **settings)
    np.testing.assert_allclose(run[-1]["Output"].values, transposed(x, w, **settings), rtol=0, atol=1e-12)
    assert np.array_equal(run[-1]["Flipped kernel"].values, w[::-1, ::-1])
    image = run[2]["Zero-interleaved and padded"]
    assert not image.values[image.roles == steps.frames.ROLES.index("padding")].any()


@pytest.mark.parametrize("call, message", [
    (dict(padding=5), "conv-transpose: the output would be -1x-1"),
    (dict(stride=0), "conv-transpose: stride=0: expected at least 1"),
    (dict(output_padding=2), r"output_padding=\(2, 2\) must be less than the stride"),
    (dict(input=np.zeros((2, 2, 2))), r"conv-transpose: input: has shape \(2, 2, 2\)"),
    (dict(input=np.zeros((33, 2))), "33x2 is too large"),
    (dict(stride=11), "the output would be 34x34; expected 1x1 to 32x32"),
])
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        steps.conv_transpose(**call)
