"""Receptive fields: computed from the layers as gradients measure them, and where most of the gradient lies."""
import math

import numpy as np
import pytest

import tinyseg.functional as F
from tinyseg import Tensor, nn
from tinyseg.models import UNet
from tinyseg.models.measured_field import EffectiveField, effective_receptive_field, measured_receptive_field
from tinyseg.models.receptive_field import Box, receptive_field
from tinyseg.models.summary import layer_rows


def conv(*arguments, **settings):
    return nn.Conv2d(1, 1, *arguments, **settings)


class Function(nn.Module):
    def __init__(self, function):
        self.function = function

    def forward(self, x):
        return self.function(x)


class Sum(nn.Module):
    """All branches of an image, added."""

    def __init__(self, *branches):
        self.branches = nn.ModuleList(branches)

    def forward(self, x):
        first, *others = [branch(x) for branch in self.branches]
        return sum(others, first)


def vgg16(fc6, pool_kernel=2, stages=(2, 2, 2, 2, 2), dilations=(1, 1, 1, 1, 1)):
    """VGG16 with one channel a layer up to fc6: what it sees does not depend on the width."""
    layers = []
    for count, stride, dilation in zip((2, 2, 3, 3, 3), stages, dilations):
        for _ in range(count):
            layers += [conv(3, padding=dilation, dilation=dilation), nn.ReLU()]
        layers.append(nn.MaxPool2d(pool_kernel, stride, padding=pool_kernel // 2 if pool_kernel == 3 else 0))
    return nn.Sequential(*layers, fc6)


NETS = {
    "conv": lambda: conv((3, 5)),
    "stride": lambda: nn.Sequential(conv(3, stride=2, padding=1), nn.ReLU(), conv((3, 2), stride=(1, 3))),
    "max pooling": lambda: nn.Sequential(conv(3, padding=1), nn.ReLU(), nn.MaxPool2d(2), conv(3),
                                         nn.MaxPool2d(3, 2, 1)),
    "average pooling": lambda: nn.Sequential(nn.AvgPool2d(3, 2, 1), conv(3), nn.AvgPool2d((2, 4))),
    "dilation": lambda: nn.Sequential(conv(3), conv(3, dilation=2), conv(3, dilation=(4, 3))),
    "dilated pooling": lambda: nn.Sequential(conv(2), nn.MaxPool2d(2, 1, dilation=3), conv(3, dilation=2)),
    "transposed": lambda: nn.Sequential(conv(3, stride=4), nn.ConvTranspose2d(1, 1, 4, stride=2, padding=1), conv(3),
                                        nn.ConvTranspose2d(1, 1, (3, 5), stride=2)),
    "transposed, dilated": lambda: nn.Sequential(conv(3), nn.ConvTranspose2d(1, 1, 3, stride=2, dilation=3), conv(3)),
    "same": lambda: nn.Sequential(conv(4, padding="same"), conv((2, 3), padding="same", dilation=3)),
    "nearest": lambda: nn.Sequential(conv(3, stride=2), nn.Upsample(scale_factor=(2, 3)), conv(3, padding=1)),
    "aligned corners": lambda: nn.Sequential(
        conv(3, stride=3), nn.Upsample((46, 31), mode="bilinear", align_corners=True), conv(2)),
    "pixel shuffle": lambda: nn.Sequential(conv(3), nn.Conv2d(1, 4, 3, stride=2), nn.PixelShuffle(2), conv(3)),
    "residual": lambda: Sum(nn.Sequential(conv(3, padding=1), conv(5, padding=2)), nn.Identity()),
    "pyramid": lambda: Sum(*(conv(3, padding=rate, dilation=rate) for rate in (2, 4, 6))),
    "pad and crop": lambda: nn.Sequential(Function(lambda x: F.pad(x, (3, 5, 4, 2))), conv(3, stride=2),
                                          Function(lambda x: x[:, :, 1:, -12:-1]), conv(2)),
    "double": lambda: nn.Sequential(conv(3), conv(3, stride=2)).double(),
    "batch norm": lambda: nn.Sequential(nn.Conv2d(1, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU(),
                                        nn.MaxPool2d(2), nn.Conv2d(3, 2, 3)),
    "unet": lambda: UNet(2, in_channels=1, width=2, depth=2),
}


@pytest.mark.parametrize("name", NETS)
def test_computed_is_measured(name):
    """At several pixels of the output, so that every phase of the strides comes up."""
    shape = (1, 1, 48, 52)
    model = NETS[name]()
    field = receptive_field(model, shape)
    height, width = field.rows.first.size, field.columns.first.size
    for i, j in [(height // 2, width // 2), (height // 2 + 1, width // 2 - 1), (height // 2 - 1, width // 2 + 1)]:
        box, mask = measured_receptive_field(model, shape, (i, j))
        assert box == field.box(i, j)
        assert mask[int(box.top):, int(box.left):].any() and mask.sum() <= box.height * box.width


@pytest.mark.parametrize("name", NETS)
def test_the_middle_moves_with_the_stride(name):
    """stride·x + offset is the middle of the field; where pixels differ in what they see, it is so on average."""
    upsampling = name in ("transposed", "transposed, dilated", "nearest", "aligned corners", "pixel shuffle", "unet")
    for axis in receptive_field(NETS[name](), (1, 1, 48, 52)):
        x, off = np.arange(axis.first.size), (axis.first + axis.last) / 2 - axis.offset
        off = (off - axis.stride * x)[axis.first <= axis.last]             # a transposed convolution can miss a pixel
        assert abs(off).max() <= (1.5 if upsampling else 0) and abs(off.mean()) < 0.1


# What is known --------------------------------------------------------------------------------------------------------

def test_fcn():
    """Long et al. 2015: the receptive field of fc6 is 404, of pool5 212, its stride 32."""
    rows = layer_rows(vgg16(conv(7)), (1, 1, 224, 224))
    assert rows[-1].receptive_field == (404, 404) and rows[-1].stride == (32, 32)
    assert rows[-2].receptive_field == (212, 212)
    assert rows[-1].offset == (111.5, 111.5) and rows[-2].offset == (15.5, 15.5)        # 3·32 pixels further in


@pytest.mark.slow
def test_fcn_measured():
    box, _ = measured_receptive_field(vgg16(conv(7)), (1, 1, 640, 640), (6, 6), samples=0)
    assert (box.height, box.width) == (404, 404)


def test_deeplab_large_fov():
    """Chen et al. 2015: 3x3 pooling, the last two at stride 1, conv5 at rate 2, fc6 3x3 at rate 12."""
    large_fov = vgg16(conv(3, padding=12, dilation=12), 3, (2, 2, 2, 1, 1), (1, 1, 1, 1, 2))
    field = receptive_field(large_fov, (1, 1, 321, 321))
    assert field.size == (419, 419) and field.stride == (8, 8) and field.rows.first.size == 41


def test_offsets_of_transposed_convolutions():
    """FCN's coordinate map: what comes back up lies where it came from; its crop of 19 does the rest (padding 100)."""
    down, up = nn.MaxPool2d(2), nn.ConvTranspose2d(1, 1, 4, stride=2, padding=1)
    assert receptive_field(down, (1, 1, 8, 8)).offset == (0.5, 0.5)
    assert receptive_field(up, (1, 1, 8, 8)).offset == (-0.25, -0.25)
    assert receptive_field(nn.Sequential(down, up), (1, 1, 8, 8)).offset == (0, 0)
    vgg = vgg16(conv(7))
    vgg[0].padding = (100, 100)
    fcn = nn.Sequential(vgg, nn.ConvTranspose2d(1, 1, 64, stride=32))
    assert receptive_field(fcn, (1, 1, 224, 224)).offset == (-19, -19)


# Holes and pooling ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("rates, seen, field", [((2, 2, 2), 49, 13), ((1, 2, 4), 225, 15), ((2, 4, 8), 225, 29)])
def test_gridding(rates, seen, field):
    """Equal or even rates leave holes: of 13 x 13 pixels 7 x 7 are seen; rates 1, 2, 4 see all."""
    model = nn.Sequential(*(conv(3, dilation=rate) for rate in rates))
    box, mask = measured_receptive_field(model, (1, 1, 40, 40), samples=0)
    assert (box.height, box.width) == (field, field) and mask.sum() == seen


def test_random_images_fill_what_max_pooling_leaves_open():
    model = nn.Sequential(nn.MaxPool2d(4), conv(3), nn.MaxPool2d(2))
    for samples, least, most in [(0, 0.1, 0.4), (250, 0.98, 1)]:
        box, mask = measured_receptive_field(model, (1, 1, 32, 32), samples=samples)
        assert (box.height, box.width) == (16, 16)
        assert least <= mask.sum() / 256 <= most


def test_measuring_leaves_the_model_alone():
    model = UNet(2, width=2, depth=1)
    before = model.state_dict()
    measured_receptive_field(model, (1, 3, 8, 8))
    effective_receptive_field(model, (1, 3, 8, 8), samples=2)
    assert model.training and all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all((model.state_dict()[name] == array).all() for name, array in before.items())


# Effective fields -----------------------------------------------------------------------------------------------------

def test_of_averages_it_is_the_binomial():
    """n averages over 3 pixels: variance 2n/3 along each axis, as of n three-faced dice (Luo et al. 2016, 2.2)."""
    layers = [conv(3, padding=1, bias=False) for _ in range(6)]
    for layer in layers:
        layer.weight.writable()[...] = 1 / 9
    field = effective_receptive_field(nn.Sequential(*layers), (1, 1, 41, 31), samples=1)
    assert field.heat.shape == (41, 31) and field.heat.sum() == pytest.approx(1)
    assert field.centre == pytest.approx((20, 15)) and field.deviation == pytest.approx((2, 2))
    line = [1.0]
    for _ in range(6):
        line = np.convolve(line, [1 / 3] * 3)
    np.testing.assert_allclose(field.heat[14:27, 9:22], np.outer(line, line), atol=1e-12)


def test_area():
    field = EffectiveField(np.array([[0.5, 0.0, 0.1], [0.3, 0.06, 0.04]]))
    assert [field.area(share) for share in (0.5, 0.7, 0.8, 0.95, 0.97)] == [1, 2, 2, 4, 5]


def test_depth_uses_a_smaller_part_of_the_field():
    """Luo et al. 2016: the effective field grows with √n, the theoretical one with n."""
    parts, sides = [], []
    for depth in (4, 16):
        model = nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1) for _ in range(depth)))
        field = effective_receptive_field(model, (1, 4, 51, 51), samples=4)
        sides.append(field.area() ** 0.5)
        parts.append(sides[-1] / (2 * depth + 1))
    assert parts[1] < 0.7 * parts[0] and 1.5 < sides[1] / sides[0] < 2.8


def test_the_pixel_that_is_asked_for():
    field = effective_receptive_field(conv(3, padding=1), (1, 1, 20, 20), pixel=(3, 12), samples=2)
    assert field.centre == pytest.approx((3, 12), abs=1) and np.count_nonzero(field.heat) == 9
    box, _ = measured_receptive_field(conv(3, padding=1), (1, 1, 20, 20), pixel=(0, 19))
    assert box == Box(0, 18, 2, 2)                                                     # what the image has of the field


def test_errors():
    dead = nn.Sequential(conv(3), nn.ReLU())
    dead[0].weight.writable()[...], dead[0].bias.writable()[...] = 0, -1
    with pytest.raises(ValueError, match="gradient is 0 everywhere"):
        effective_receptive_field(dead, (1, 1, 8, 8), samples=2)
    with pytest.raises(ValueError, match=r"output has shape \(1, 36\); expected \(N, C, H, W\)"):
        effective_receptive_field(nn.Sequential(conv(3), nn.Flatten()), (1, 1, 8, 8))
    with pytest.raises(ValueError, match=r"pixel \(3, 6\) is not one of the output's 6x6"):
        effective_receptive_field(conv(3), (1, 1, 8, 8), pixel=(3, 6))
    with pytest.raises(ValueError, match=r"no pixel of an image \(1, 1, 3, 3\) has a gradient from .* \(1, 1\)"):
        measured_receptive_field(nn.ConvTranspose2d(1, 1, 1, stride=2), (1, 1, 3, 3), pixel=(1, 1))
    unknown = receptive_field(nn.Sequential(Function(lambda x: F.max_pool2d(x, 2)), conv(3)), (1, 1, 16, 16))
    assert all(map(math.isnan, (*unknown.size, *unknown.stride, *unknown.offset)))


def test_a_model_that_sees_nothing_of_the_image():
    class Constant(nn.Module):
        def forward(self, x):
            return Tensor(np.zeros((x.shape[0], 1, 4, 4)))

    assert all(map(math.isnan, receptive_field(Constant(), (1, 1, 4, 4)).size))
