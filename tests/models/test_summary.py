import math

import numpy as np
import pytest

from tinyseg import Tensor, nn, no_grad
from tinyseg import functional as F
from tinyseg.models import UNet
from tinyseg.models.summary import layer_rows, summary


def conv(*arguments, **settings):
    return nn.Conv2d(1, 1, *arguments, **settings)


class Skip(nn.Module):
    """Two ways from input to output, of different reach and place."""

    def __init__(self, long, short, join=lambda a, b: a + b):
        self.long, self.short, self.join = long, short, join

    def forward(self, x):
        return self.join(self.long(x), self.short(x))


class Function(nn.Module):
    def __init__(self, function):
        self.function = function

    def forward(self, x):
        return self.function(x)


def crop_to(a, b):
    return F.cat([a, b[:, :, 2:2 + a.shape[2], 1:1 + a.shape[3]]], dim=1).sum(dim=1, keepdim=True)


class PoolUnpool(nn.Module):
    def __init__(self):
        self.pool, self.unpool, self.conv = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2), conv(3, padding=1)

    def forward(self, x):
        y, indices = self.pool(x)
        return self.conv(self.unpool(y, indices))


def vgg16():
    layers, c_in = [], 3
    for c, count in [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]:
        for _ in range(count):
            layers += [nn.Conv2d(c_in, c, 3, padding=1), nn.ReLU()]
            c_in = c
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Conv2d(512, 8, 7))


# What is known --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("layers, field, stride", [
    ([conv(3)], 3, 1),
    ([conv(3), conv(3)], 5, 1),
    ([conv(3), nn.ReLU(), conv(3), nn.ReLU(), conv(3)], 7, 1),
    ([conv(3), conv(3, dilation=2), conv(3, dilation=4)], 15, 1),        # Yu & Koltun 2016: 2^(i+2) - 1
    ([conv(3, stride=2), conv(3, stride=2)], 7, 4),
    ([nn.MaxPool2d(2), nn.MaxPool2d(2), conv(1)], 4, 4),
    ([nn.ConvTranspose2d(1, 1, 2, stride=2)], 1, 0.5),
    ([nn.ConvTranspose2d(1, 1, 4, stride=2, padding=1)], 2, 0.5),
    ([nn.Upsample(scale_factor=4), conv(3, padding=1)], 2, 0.25),
    ([nn.AdaptiveAvgPool2d(1)], 40, 40),
    ([conv(3, padding=1), nn.Flatten(), nn.Linear(1600, 2)], 42, 0),
])
def test_sequences(layers, field, stride):
    row = layer_rows(nn.Sequential(*layers), (1, 1, 40, 40))[-1]
    assert row.receptive_field == (field, field) and row.stride == (stride, stride)


def test_vgg16_sees_212_pixels_and_fc6_404():
    rows = layer_rows(vgg16(), (1, 3, 224, 224))
    assert rows[-2].receptive_field == (212, 212) and rows[-1].receptive_field == (404, 404)
    assert rows[-1].stride == (32, 32) and rows[-1].output_shape == (1, 8, 1, 1)
    assert sum(row.parameters for row in rows[:-1]) == 14_714_688
    assert sum(row.multiply_adds for row in rows[:-1]) == 15_346_630_656


def test_unet():
    """At the bottom 140 pixels; on the way up more, where a pixel's neighbours come from different coarse pixels."""
    model = UNet(2, in_channels=1, width=1, padding="valid", norm=None)
    rows = {row.path: row for row in layer_rows(model, (1, 1, 572, 572))}
    assert rows["contracting.0.1.relu"].receptive_field == (5, 5)
    assert rows["contracting.4.1.conv"].receptive_field == (140, 140)
    assert rows["contracting.4.1.conv"].stride == (16, 16)
    assert rows["conv_1x1"].receptive_field == (204, 204) and rows["conv_1x1"].stride == (1, 1)


# What can be measured -------------------------------------------------------------------------------------------------

def measured(model, length, axis):
    """The longest stretch of pixels along one axis that reach one output pixel: light one pixel after the other.

    With weights of 1 nothing cancels, so a pixel that can reach an output does.
    """
    for name, parameter in model.double().named_parameters():
        parameter.writable()[...] = name.endswith("weight")
    images = np.full((length, 1, length, length), 1e-3)
    for i in range(length):
        images[(i, 0, i) if axis == 0 else (i, 0, slice(None), i)] = 1.0
    with no_grad():
        reached = model.eval()(Tensor(images)).numpy()
        reached = reached != model(Tensor(np.full((1, 1, length, length), 1e-3))).numpy()
    reached = reached.any(axis=(1, 3 - axis))                                     # (lit pixel, output pixel)
    lit = [np.flatnonzero(column) for column in reached.T]
    return max(pixels.max() - pixels.min() + 1 for pixels in lit if pixels.size)


NETS = {
    "strides": lambda: nn.Sequential(conv((3, 5), stride=(2, 1), padding=1), conv(2, dilation=(2, 3)),
                                     nn.AvgPool2d(3, 2, 1)),
    "up 3": lambda: nn.Sequential(conv(3), nn.ConvTranspose2d(1, 1, 5, stride=3, padding=1), conv((2, 4))),
    "up with holes": lambda: nn.Sequential(conv(3), nn.ConvTranspose2d(1, 1, (3, 5), stride=2, dilation=2), conv(3)),
    "nearest": lambda: nn.Sequential(conv(3, stride=2), nn.Upsample(scale_factor=(2, 3)), conv(3, padding=1)),
    "nearest-exact": lambda: nn.Sequential(conv(3, stride=3), nn.Upsample((20, 31), mode="nearest-exact"), conv(2)),
    "same, even": lambda: nn.Sequential(conv(4, padding="same"), conv(2, padding="same", dilation=3)),
    "reflect": lambda: nn.Sequential(conv(3), conv(3, padding=1, padding_mode="reflect")),
    "residual": lambda: nn.Sequential(Skip(nn.Sequential(conv(3, padding=1), conv(5, padding=2)), nn.Identity())),
    "two branches": lambda: Skip(conv(3, padding=6, dilation=6), conv(3, padding=1)),
    "crop": lambda: Skip(conv(5), conv((1, 3)), crop_to),
    "down and up": lambda: Skip(nn.Sequential(nn.AvgPool2d(4), conv(3, padding=1), nn.Upsample(scale_factor=4)),
                                conv(1)),
    "unpool": PoolUnpool,
    "padded": lambda: nn.Sequential(Function(lambda x: F.pad(x, (2, 0, 1, 3), mode="reflect")), conv(3, stride=2),
                                    Function(lambda x: F.pad(x, (-1, 1, -2, -2))), conv(2)),
    "pixel shuffle": lambda: nn.Sequential(nn.Conv2d(1, 18, 3), nn.PixelShuffle(3), nn.Conv2d(2, 1, 2)),
    "nails": lambda: nn.Sequential(conv(3), Function(lambda x: F.bed_of_nails(x, (2, 3))), conv(4)),
    "unet": lambda: UNet(1, in_channels=1, width=1, depth=2, padding="valid", norm=None),
    "unet same": lambda: UNet(1, in_channels=1, width=2, depth=2, norm="batch"),
}


@pytest.mark.parametrize("name", NETS)
def test_fields_are_those_measured(name):
    model, length = nn.Sequential(NETS[name](), conv(1)), 76 if name.startswith("unet") else 36
    field = layer_rows(model, (1, 1, length, length))[-1].receptive_field
    assert field == (measured(model, length, 0), measured(model, length, 1))


def test_bilinear_field():
    """Two pixels, or one where every output's centre falls on an input's."""
    for size, field in [(20, 2), (30, 2), (7, 2), (10, 1), (2, 1), (5, 2)]:
        row = layer_rows(nn.Upsample(size, mode="bilinear"), (1, 1, 10, 10))[-1]
        assert row.receptive_field == (field, field) and row.stride == (10 / size,) * 2


# The other columns, and the table -------------------------------------------------------------------------------------

def test_rows():
    model = nn.Sequential(nn.Conv2d(4, 6, (3, 2), groups=2, bias=False), nn.BatchNorm2d(6), nn.Identity(),
                          nn.ConvTranspose2d(6, 2, 2, stride=2, groups=2), nn.Flatten(), nn.Linear(2 * 12 * 16, 5))
    rows = layer_rows(model, (3, 4, 8, 9))
    assert [(row.path, row.kind, row.output_shape) for row in rows] == [
        ("0", "Conv2d", (3, 6, 6, 8)), ("1", "BatchNorm2d", (3, 6, 6, 8)), ("3", "ConvTranspose2d", (3, 2, 12, 16)),
        ("4", "Flatten", (3, 384)), ("5", "Linear", (3, 5))]
    assert [row.parameters for row in rows] == [6 * 2 * 6, 12, 6 * 4 + 2, 0, 384 * 5 + 5]
    assert [row.multiply_adds for row in rows] == [3 * 6 * 48 * 12, 0, 3 * 6 * 48 * 4, 0, 3 * 384 * 5]
    assert [row.memory for row in rows] == [4 * math.prod(row.output_shape) for row in rows]
    assert [row.memory for row in layer_rows(model.double(), (1, 4, 8, 9))] == [8 * n for n in (288, 288, 384, 384, 5)]


def test_a_layer_called_twice_has_two_rows_and_is_counted_once():
    shared = nn.Conv2d(2, 2, 3, padding=1)
    rows = layer_rows(nn.Sequential(shared, nn.ReLU(), shared), (1, 2, 8, 8))
    assert [row.parameters for row in rows] == [38, 0, 0] and rows[2].receptive_field == (5, 5)


@pytest.mark.parametrize("function", [lambda x: F.max_pool2d(x, 2), lambda x: F.avg_pool2d(x, 3, 1, 1),
                                      lambda x: x.reshape(*x.shape[:2], 5, 2, 10).sum(dim=3)])
def test_what_a_function_sees_is_unknown_rather_than_wrong(function):
    model = nn.Sequential(conv(3), Function(function), nn.ReLU())
    rows = layer_rows(model, (1, 1, 12, 12))
    assert rows[0].receptive_field == (3, 3) and all(map(math.isnan, (*rows[2].receptive_field, *rows[2].stride)))
    assert summary(model, (1, 1, 12, 12)).splitlines()[3].split()[-4:-2] == ["?", "?"]


def test_no_graph_no_field():
    with no_grad():
        assert all(map(math.isnan, layer_rows(conv(3), (1, 1, 8, 8))[0].receptive_field))


def test_the_model_stays_as_it_is():
    model = UNet(2, width=2, depth=1)
    model.contracting.eval()
    modes, state = [module.training for module in model.modules()], model.state_dict()
    summary(model, (2, 3, 8, 8))
    assert [module.training for module in model.modules()] == modes
    assert not any(module._hooks for module in model.modules())
    assert all((model.state_dict()[name] == array).all() for name, array in state.items())
    with pytest.raises(ValueError, match="does not fit"):
        summary(model, (2, 3, 9, 8))
    assert [module.training for module in model.modules()] == modes


def test_table():
    lines = summary(UNet(2, width=8), (8, 3, 128, 128)).splitlines()
    assert lines[0].split() == ["layer", "type", "output", "parameters", "multiply-adds", "receptive", "field", "stride",
                                "memory"]
    assert lines[1].split() == ["contracting.0.0.conv", "Conv2d", "(8,", "8,", "128,", "128)", "216", "28,311,552", "3",
                                "1", "4.0", "MiB"]
    assert lines[-1].split()[:2] == ["total", f"{sum(p.size for p in UNet(2, width=8).parameters()):,}"]
    assert len({len(line.rstrip()) for line in lines}) == 1
