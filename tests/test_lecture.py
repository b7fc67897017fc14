"""The lecture's tables, number for number, and its statements about transposed convolution."""
import numpy as np
import pytest

import tinyseg.functional as F
from tinyseg import Tensor

IMAGE = np.arange(16.0).reshape(1, 1, 4, 4)
KERNEL = np.array([[0.25, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 0.25]])
OUTPUT_IMAGE = np.array([
    [0, 0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 0.75],
    [0, 0, 0.5, 1, 1.5, 2, 2.5, 3, 1.5],
    [1, 2, 2.5, 3, 3.5, 4, 4.5, 5, 2.5],
    [2, 4, 4.5, 5, 5.5, 6, 6.5, 7, 3.5],
    [3, 6, 6.5, 7, 7.5, 8, 8.5, 9, 4.5],
    [4, 8, 8.5, 9, 9.5, 10, 10.5, 11, 5.5],
    [5, 10, 10.5, 11, 11.5, 12, 12.5, 13, 6.5],
    [6, 12, 12.5, 13, 13.5, 14, 14.5, 15, 7.5],
    [3, 6, 6.25, 6.5, 6.75, 7, 7.25, 7.5, 3.75],
])
PADDED_OUTPUT = np.array([
    [0, 0.5, 1, 1.5, 2, 2.5, 3],
    [2, 2.5, 3, 3.5, 4, 4.5, 5],
    [4, 4.5, 5, 5.5, 6, 6.5, 7],
    [6, 6.5, 7, 7.5, 8, 8.5, 9],
    [8, 8.5, 9, 9.5, 10, 10.5, 11],
    [10, 10.5, 11, 11.5, 12, 12.5, 13],
    [12, 12.5, 13, 13.5, 14, 14.5, 15],
])


def bilinear_kernel(size):
    """The triangle over `size` taps, times itself: 1 - |i - centre| / factor, Long et al. 2015."""
    factor = (size + 1) // 2
    centre = factor - 1 if size % 2 else factor - 0.5
    line = 1 - abs(np.arange(size) - centre) / factor
    return np.outer(line, line)


def upsample(image, kernel, **settings):
    """Transposed convolution of each channel with one kernel."""
    channels = image.shape[1]
    weight = np.broadcast_to(kernel, (channels, 1, *kernel.shape))
    return F.conv_transpose2d(image, weight, groups=channels, **settings).numpy()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_output_image(dtype):
    np.testing.assert_array_equal(upsample(IMAGE.astype(dtype), KERNEL.astype(dtype), stride=2)[0, 0], OUTPUT_IMAGE)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_output_image_with_padding(dtype):
    np.testing.assert_array_equal(upsample(IMAGE.astype(dtype), KERNEL.astype(dtype), stride=2, padding=1)[0, 0], PADDED_OUTPUT)


def test_it_is_bilinear_interpolation():
    np.testing.assert_allclose(F.interpolate(IMAGE, size=7, mode="bilinear", align_corners=True).numpy()[0, 0], PADDED_OUTPUT,
                               rtol=0, atol=1e-14)


def test_the_lectures_kernel_is_the_bilinear_one():
    np.testing.assert_array_equal(bilinear_kernel(3), KERNEL)


@pytest.mark.parametrize("s", range(2, 7))
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 1, 1, 3), (1, 2, 7, 2)])
def test_bilinear_interpolation_is_a_transposed_convolution_for_any_stride(rng, s, shape):
    x = rng.standard_normal(shape)
    size = tuple(s * (n - 1) + 1 for n in shape[2:])
    expected = F.interpolate(x, size=size, mode="bilinear", align_corners=True).numpy()
    np.testing.assert_allclose(upsample(x, bilinear_kernel(2 * s - 1), stride=s, padding=s - 1), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("s", [2, 4, 6])
def test_kernel_2s_is_bilinear_without_aligned_corners_in_the_interior(rng, s):
    x = rng.standard_normal((1, 2, 5, 6))
    ours = upsample(x, bilinear_kernel(2 * s), stride=s, padding=s // 2)
    expected = F.interpolate(x, scale_factor=s, mode="bilinear", align_corners=False).numpy()
    interior = np.s_[..., s // 2:-(s // 2), s // 2:-(s // 2)]
    np.testing.assert_allclose(ours[interior], expected[interior], rtol=0, atol=1e-12)
    assert abs(ours - expected).max() > 0.1, "at the borders zeros leak in"


def test_fractionally_strided_the_zero_interleaved_image():
    interleaved = F.pad(F.bed_of_nails(IMAGE)[:, :, :7, :7], (1, 1, 1, 1))
    assert interleaved.shape == (1, 1, 9, 9)
    np.testing.assert_array_equal(interleaved.numpy()[0, 0, 1::2, 1::2], IMAGE[0, 0])
    assert interleaved.numpy().sum() == IMAGE.sum()
    np.testing.assert_array_equal(F.conv2d(interleaved, KERNEL[None, None]).numpy()[0, 0], PADDED_OUTPUT)


@pytest.mark.parametrize("s, k, p", [(2, 3, 1), (2, 4, 1), (3, 3, 0), (1, 3, 2), (3, 5, 2), (2, 2, 0)])
def test_the_homework_transposed_is_zero_interleaved_with_the_flipped_kernel(rng, s, k, p):
    x, w = rng.standard_normal((2, 3, 4, 5)), rng.standard_normal((3, 2, k, k))
    transposed = F.conv_transpose2d(x, w, stride=s, padding=p).numpy()
    interleaved = F.bed_of_nails(x, s)[:, :, :s * 3 + 1, :s * 4 + 1]                   # no zeros after the last pixel
    padded = F.pad(interleaved, (k - 1 - p,) * 4)
    flipped = w[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)                                # (C, O, K, K) -> (O, C, K, K)
    np.testing.assert_allclose(F.conv2d(padded, flipped).numpy(), transposed, rtol=0, atol=1e-12)
    if k > 1 and k - 1 - p >= 0:
        unflipped = F.conv2d(padded, w.transpose(1, 0, 2, 3)).numpy()
        assert abs(unflipped - transposed).max() > 0.1, "for a non-symmetric kernel the flip matters"


@pytest.mark.parametrize("settings", [{}, {"stride": 2}, {"stride": 2, "padding": 1}, {"dilation": 2, "padding": 1}])
def test_transposed_convolution_multiplies_by_the_transposed_matrix(rng, settings):
    w = rng.standard_normal((2, 3, 3, 3))
    image = (3, 7, 7)
    basis = np.eye(np.prod(image)).reshape(-1, *image)
    matrix = F.conv2d(basis, w, **settings).numpy().reshape(len(basis), -1).T          # column i: what pixel i does
    y = rng.standard_normal((1, *F.conv2d(basis[:1], w, **settings).shape[1:]))
    by_matrix = (matrix.T @ y.ravel()).reshape(1, *image)
    np.testing.assert_allclose(F.conv_transpose2d(y, w, **settings, output_size=(7, 7)).numpy() if settings.get("stride") else
                               F.conv_transpose2d(y, w, **settings).numpy(), by_matrix, rtol=0, atol=1e-12)


def test_backward_convolution_is_another_name(rng):
    x, w = Tensor(rng.standard_normal((1, 2, 5, 5)), requires_grad=True), rng.standard_normal((3, 2, 3, 3))
    y = F.conv2d(x, w, padding=1)
    dy = rng.standard_normal(y.shape)
    y.backward(dy)
    np.testing.assert_allclose(x.grad, F.conv_transpose2d(dy, w, padding=1).numpy(), rtol=0, atol=1e-12)


def test_the_loss_is_the_sum_over_pixels_of_minus_log_probability(rng):
    logits, target = rng.standard_normal((2, 5, 3, 4)), rng.integers(0, 5, (2, 3, 4))
    sigma = F.softmax(logits, dim=1).numpy()
    one_hot = np.eye(5)[target].transpose(0, 3, 1, 2)
    expected = (-one_hot * np.log(sigma)).sum()
    assert F.cross_entropy(logits, target, reduction="sum").item() == pytest.approx(expected, rel=1e-12)
    assert F.cross_entropy(logits, target).item() == pytest.approx(expected / target.size, rel=1e-12)
