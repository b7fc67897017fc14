import numpy as np
import pytest

from tinyseg import Tensor, functional, nn, no_grad, optim
from tinyseg.models import MODELS, SegNet
from tinyseg.models.blocks import ConvNormReLU
from tinyseg.models.summary import layer_rows
from tinyseg.models.upsampling import SKIPS, UPSAMPLING
from tinyseg.models.vgg import VGG


def image(*shape, dtype=np.float32):
    return Tensor(np.random.default_rng(0).standard_normal(shape).astype(dtype))


# The architecture -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("size", [(32, 64), (45, 60), (7, 1)])
@pytest.mark.parametrize("norm", ["group", None])
def test_shape_comments(size, norm, check_shape_comments):
    channels = [3, 6, 12, 24, 24]

    def symbols(local):
        stage = local.get("stage", 0)
        h, w = (-(-n // 2**stage) for n in size)
        return {"N": 2, "H": size[0], "W": size[1], "num_classes": 5, "c": channels[stage],
                "b": channels[max(stage - 1, 0)], "h": h, "w": w, "h2": -(-h // 2), "w2": -(-w // 2)}

    assert check_shape_comments(SegNet(5, width=3, norm=norm), image(2, 3, *size), symbols) == 2 * 5 + 3 * 5 + 1


ENCODER = "3>64 64>64  64>128 128>128  128>256 256>256 256>256  256>512 512>512 512>512  512>512 512>512 512>512"
DECODER = "512>512 512>512 512>512  512>512 512>512 512>256  256>256 256>256 256>128  128>128 128>64  64>64 64>11"


@pytest.mark.slow
def test_parameter_counts():
    """The 26 convolutions of the released network; all have a scale and shift instead of a bias, but the last one."""
    model = SegNet(11)
    kernels = [parameter.shape for parameter in model.parameters() if parameter.ndim == 4]
    pairs = [tuple(map(int, arrow.split(">"))) for arrow in ENCODER.split()]
    encoder = sum(9 * a * b for a, b in pairs)
    assert encoder == 14_710_464 and sum(p.size for p in model.encoder.parameters() if p.ndim == 4) == encoder
    pairs += [tuple(map(int, arrow.split(">"))) for arrow in DECODER.split()]
    assert sorted(kernels) == sorted((b, a, 3, 3) for a, b in pairs)
    counted = sum(9 * a * b + 2 * b for a, b in pairs) - 11                # the scores have a bias alone
    assert sum(p.size for p in model.parameters()) == counted == 29_441_419


def test_the_decoder_mirrors_the_encoder_layer_by_layer():
    rows = [row for row in layer_rows(SegNet(11, width=8), (1, 3, 360, 480)) if row.kind == "Conv2d"]
    assert ["x".join(map(str, row.output_shape[1:])) for row in rows] == """
        8x360x480 8x360x480  16x180x240 16x180x240  32x90x120 32x90x120 32x90x120
        64x45x60 64x45x60 64x45x60  64x23x30 64x23x30 64x23x30
        64x23x30 64x23x30 64x23x30  64x45x60 64x45x60 32x45x60
        32x90x120 32x90x120 16x90x120  16x180x240 8x180x240  8x360x480 11x360x480""".split()


def test_the_last_convolution_has_neither_norm_nor_relu():
    model = SegNet(3, width=2)
    y = model(image(2, 3, 32, 32)).numpy()
    assert y.min() < 0 < y.max() and isinstance(model.score, nn.Conv2d)
    assert model.score.bias is not None


def test_indices_travel_and_no_maps():
    """A maximum that moves within its window moves in the decoder; with other indices, other scores."""
    model = SegNet(2, in_channels=1, width=1, norm=None).eval()
    seen = []
    model.upsample[4].register_forward_hook(lambda module, inputs, output: seen.append((inputs, output)))
    with no_grad():
        model(image(1, 1, 33, 50))
    (x, size, ((indices, pooled_size),)), y = seen[0]
    assert size == pooled_size == (3, 4) and x.shape == indices.shape == (1, 8, 2, 2) and y.shape == (1, 8, 3, 4)
    np.testing.assert_array_equal(np.take_along_axis(y.numpy().reshape(1, 8, 12), indices.numpy().reshape(1, 8, 4), 2),
                                  x.numpy().reshape(1, 8, 4))
    assert np.count_nonzero(y.numpy()) <= 8 * 4


@pytest.mark.parametrize("size", [(360, 480), (1, 1), (2, 3), (31, 33), (97, 50)])
@pytest.mark.parametrize("upsampling", UPSAMPLING)
def test_every_size_comes_back_exactly(size, upsampling):
    with no_grad():
        model = SegNet(2, width=1, norm=None, upsampling=upsampling, skip="sum")
        assert model(Tensor(np.zeros((0, 3, *size), np.float32))).shape == (0, 2, *size)


def test_arguments_are_attributes_and_the_name_is_known():
    arguments = {"num_classes": 7, "in_channels": 2, "width": 3, "norm": "group", "upsampling": "bilinear",
                 "skip": "sum"}
    model = SegNet(**arguments)
    assert {name: getattr(model, name) for name in arguments} == arguments
    assert MODELS["segnet"](**arguments).state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("arguments, message", [
    ({"upsampling": "cubic"}, "SegNet: upsampling='cubic'; expected one of 'nearest'"),
    ({"skip": "product"}, "SegNet: skip='product'; expected one of 'none', 'sum', 'concat'"),
    ({"norm": "layer"}, "norm='layer'"),
    ({"width": 0}, "width=0"),
])
def test_impossible_arguments(arguments, message):
    with pytest.raises(ValueError) as error:
        SegNet(2, **arguments)
    assert message in str(error.value)


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 1, 16, 16)])
def test_wrong_inputs(shape):
    with pytest.raises(ValueError, match=r"SegNet: input has shape .*; expected \(N, 3, H, W\)"):
        SegNet(2, width=1)(image(*shape))


# Weights of VGG -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("batch_norm, norm", [(True, "batch"), (False, None)])
def test_the_encoder_of_vgg_computes_what_vgg_does(batch_norm, norm, rng):
    vgg = VGG(num_classes=2, width=2, depth=16, batch_norm=batch_norm, ceil_mode=True).eval()
    for name, tensor in [*vgg.named_parameters(), *vgg.named_buffers()]:
        if name.endswith(("bias", "running_mean")):
            tensor.writable()[...] = rng.uniform(0.1, 0.3, tensor.shape)
        if name.endswith("running_var"):
            tensor.writable()[...] = rng.uniform(1, 3, tensor.shape)
    model = SegNet(2, width=2, norm=norm).eval()
    model.load_encoder(vgg.state_dict())
    x = y = image(2, 3, 40, 33)
    with no_grad():
        maps = vgg.pyramid(x)
        for stage, expected in zip(model.encoder, maps):
            y, _ = model.max_pool(stage(y))
            np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)
    assert maps[-1].numpy().max() > 0


def test_a_bias_before_a_normalisation_is_left_out():
    vgg, model = VGG(num_classes=2, width=1), SegNet(2, width=1)
    model.load_encoder(vgg.state_dict())
    blocks = [block for block in model.encoder.modules() if isinstance(block, ConvNormReLU)]
    np.testing.assert_array_equal(blocks[-1].conv.weight.numpy(), vgg.state_dict()["features.28.weight"])


def test_weights_that_do_not_fit():
    model = SegNet(2, width=1, norm=None)
    with pytest.raises(ValueError, match="8 convolutions named features.N.weight, expected the 13 of VGG-16"):
        model.load_encoder(VGG(num_classes=2, width=1, depth=11).state_dict())
    with pytest.raises(ValueError, match="need batch normalisation, but norm=None; use norm='batch'"):
        model.load_encoder(VGG(num_classes=2, width=1, batch_norm=True).state_dict())
    with pytest.raises(ValueError, match=r"0.0.conv.weight is float32 \(2, 3, 3, 3\), expected float32 \(1, 3, 3, 3\)"):
        model.load_encoder(VGG(num_classes=2, width=2).state_dict())


# Gradients ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("upsampling", UPSAMPLING)
@pytest.mark.parametrize("skip", SKIPS)
def test_gradients_of_the_whole_network(upsampling, skip, check_gradients):
    model = SegNet(3, in_channels=2, width=2, norm="group", upsampling=upsampling, skip=skip)
    check_gradients(model, (2, 2, 19, 34))


def test_gradients_with_batch_normalisation(check_gradients):
    check_gradients(SegNet(3, in_channels=2, width=2), (2, 2, 35, 34))


def test_it_overfits_one_example():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, (1, 4, 4)).repeat(8, axis=1).repeat(8, axis=2)
    x = Tensor((np.eye(3)[labels].transpose(0, 3, 1, 2) + rng.standard_normal((1, 3, 32, 32))).astype(np.float32))
    model = SegNet(3, width=8)
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), labels).backward()
        optimizer.step()
    assert (model(x).numpy().argmax(1) == labels).mean() > 0.95
