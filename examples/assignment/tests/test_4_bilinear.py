import numpy as np

import tinyseg.functional as F
from tinyseg.course.testing import close, points


def kernel(size, factor=None, centre=None):
    factor = factor or (size + 1) // 2
    centre = centre if centre is not None else factor - 1 if size % 2 else factor - 0.5
    line = 1 - abs(np.arange(size) - centre) / factor
    return np.outer(line, line)


def check_kernel(bilinear, size):
    right = kernel(size)
    close(bilinear.bilinear_kernel(size), right, "the kernel", {
        "it is normalised to sum 1": right / right.sum(),
        "the centre is at size // 2 for even sizes too, expected between two taps": kernel(size, centre=size // 2),
        "the factor is size / 2, expected ⌊(size + 1) / 2⌋": kernel(size, factor=size / 2, centre=(size - 1) / 2),
        "only the outer product is missing": np.diag(right) ** 0.5})


def check_upsample(bilinear, x, stride):
    n, c, height, width = x.shape
    size = (height - 1) * stride + 1, (width - 1) * stride + 1
    right = F.interpolate(x, size=size, mode="bilinear", align_corners=True).numpy()
    close(bilinear.upsample(x, stride), right, "the larger image", {
        "channels are mixed: the kernel stands off the diagonal too": np.broadcast_to(right.sum(1, keepdims=True), right.shape),
        "pixels are repeated (nearest), not interpolated": F.interpolate(x, size=size, mode="nearest").numpy(),
        "corners are not aligned": F.interpolate(x, size=size, mode="bilinear", align_corners=False).numpy()})


@points("bilinear", 2)
def test_kernel_of_the_lecture(bilinear):
    check_kernel(bilinear, 3)


@points("bilinear", 2)
def test_even_size(bilinear):
    check_kernel(bilinear, 4)


@points("bilinear", 2)
def test_upsample(bilinear):
    check_upsample(bilinear, np.arange(16.0).reshape(1, 1, 4, 4), 2)


# BEGIN HIDDEN
@points("bilinear", 2)
def test_upsample_channels_by_three(bilinear):
    check_upsample(bilinear, np.random.default_rng(1).standard_normal((2, 3, 4, 3)), 3)
# END HIDDEN
