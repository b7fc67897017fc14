import math

import numpy as np
import pytest

from tinyseg import Tensor, functional, nn, no_grad, optim
from tinyseg.models.aspp import ASPP, ImagePooling, LargeFOV
from tinyseg.models.blocks import he_initialise
from tinyseg.models.deeplab import METHODS, Bilinear, DeepLab
from tinyseg.models.encoders import ENCODERS
from tinyseg.models.summary import layer_rows

VERSIONS = ("v1", "v2", "v3")


def image(*shape, dtype=np.float32):
    return Tensor(np.random.default_rng(0).standard_normal(shape).astype(dtype))


def small(version, **arguments):
    return DeepLab(5, **{"version": version, "width": 2, "encoder": None if version == "v3" else "vgg11", **arguments})


def rates(model):
    return [layer.dilation[0] for head in (model.branches, model.classifiers) for layer in head.modules()
            if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3)]


# The architecture -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("encoder", ["vgg11", "resnet18"])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("stride", [8, 16])
def test_shape_comments(version, stride, encoder, check_shape_comments):
    model = small(version, output_stride=stride, encoder=encoder)
    h, w = math.ceil(45 / stride), math.ceil(70 / stride)
    symbols = {"N": 2, "H": 45, "W": 70, "num_classes": 5, "c": 16, "h": h, "w": w}
    assert check_shape_comments(model, image(2, 3, 45, 70), lambda local: symbols) == 3


@pytest.mark.parametrize("head, lines, branches", [(LargeFOV(6, 8, 12), 2, 1), (ImagePooling(6, 8), 3, 1),
                                                   (ASPP(6, 8, (6, 12)), 2, 4), (ASPP(6, 8, (6, 12, 18)), 2, 5)])
def test_shape_comments_of_the_heads(head, lines, branches, check_shape_comments):
    symbols = {"N": 2, "in_channels": 6, "channels": 8, "branches": branches, "h": 5, "w": 7}
    assert check_shape_comments(head, image(2, 6, 5, 7), lambda local: symbols) == lines


def test_the_papers_large_field_of_view():
    """An image of 321x321 pixels becomes scores of 41x41 (section 5), each of which sees 419x419 pixels."""
    rows = {row.path: row for row in layer_rows(DeepLab(21, version="v1", width=1), (1, 3, 321, 321))}
    assert rows["classifiers.0"].output_shape == (1, 21, 41, 41) and rows["classifiers.0"].stride == (8, 8)
    assert rows["encoder.features.28"].receptive_field == (211, 211)           # conv5_3
    assert rows["branches.0.fc6"].receptive_field == (419, 419)


def test_the_papers_vgg():
    """Section 3.1: pool4 and pool5 keep the size, conv5 has holes; pooling is 3x3."""
    layers = list(DeepLab(21, version="v1", width=1).encoder.features)
    poolings = [layer for layer in layers if isinstance(layer, nn.MaxPool2d)]
    assert [pool.stride[0] for pool in poolings] == [2, 2, 2, 1, 1]
    assert {(pool.kernel_size, pool.padding, pool.dilation) for pool in poolings} == {((3, 3), (1, 1), (1, 1))}
    assert [layer.dilation[0] for layer in layers if isinstance(layer, nn.Conv2d)] == [1] * 10 + [2] * 3


@pytest.mark.parametrize("encoder", ["vgg11", "resnet18"])
@pytest.mark.parametrize("version, at_8, at_16, at_32", [("v1", [12], [6], [3]),
                                                         ("v2", [6, 12, 18, 24], [3, 6, 9, 12], [1, 3, 4, 6]),
                                                         ("v3", [12, 24, 36], [6, 12, 18], [3, 6, 9])])
def test_the_papers_rates(version, encoder, at_8, at_16, at_32):
    for stride, expected in [(8, at_8), (16, at_16), (32, at_32)]:
        assert rates(small(version, encoder=encoder, output_stride=stride)) == expected
    assert rates(small(version, encoder=encoder, rates=[2, 3])) == [2, 3]


def vgg16(w):
    channels = [3, w, w, 2 * w, 2 * w, *[4 * w] * 3, *[8 * w] * 6]
    return sum(9 * a * b + b for a, b in zip(channels, channels[1:]))


def resnet18(w):
    def block(a, b):
        return 9 * a * b + 9 * b * b + 4 * b + (a * b + 2 * b) * (a != b)

    channels = [w, w, 2 * w, 4 * w, 8 * w]
    return 49 * 3 * w + 2 * w + sum(block(a, b) + block(b, b) for a, b in zip(channels, channels[1:]))


def large_fov(w):
    c = 16 * w
    return 9 * 8 * w * c + c + c * c + c + c * 21 + 21                         # fc6, fc7, fc8


def aspp(w):
    c_in, c = 8 * w, 4 * w
    return (c_in * c + 2 * c) + 3 * (9 * c_in * c + 2 * c) + (c_in * c + c) + (5 * c * c + 2 * c) + 21 * c + 21


@pytest.mark.parametrize("width", [2, pytest.param(64, marks=pytest.mark.slow)])
@pytest.mark.parametrize("version, encoder, expected, paper", [
    ("v1", None, lambda w: vgg16(w) + large_fov(w), 20_505_429),               # the paper's table 2: 20.5 million
    ("v2", None, lambda w: vgg16(w) + 4 * large_fov(w), 37_877_652),
    ("v2", "resnet18", lambda w: resnet18(w) + 4 * (9 * 8 * w * 21 + 21), 11_563_668),
    ("v3", None, lambda w: resnet18(w) + aspp(w), 15_313_493),
])
def test_parameter_counts_and_the_full_size_runs(version, encoder, expected, paper, width):
    """Worked out from the papers' layers; ResNet's 3x3 branches and everything in v3 but image pooling as there."""
    model = DeepLab(21, version=version, encoder=encoder, width=width).eval()
    assert sum(p.size for p in model.parameters()) == expected(width)
    assert expected(64) == paper
    with no_grad():
        scores = model(image(1, 3, 65, 41)).numpy()
    assert scores.shape == (1, 21, 65, 41) and np.isfinite(scores).all() and scores.std() > 0


def test_v2_is_the_sum_of_four_of_v1():
    v2 = small("v2").eval()
    x, total = image(1, 3, 33, 40), 0
    for i, rate in enumerate((6, 12, 18, 24)):
        v1 = small("v1", rates=[rate]).eval()
        v1.encoder.load_state_dict(v2.encoder.state_dict())
        v1.branches[0].load_state_dict(v2.branches[i].state_dict())
        v1.classifiers[0].load_state_dict(v2.classifiers[i].state_dict())
        total += v1(x).numpy()
    np.testing.assert_allclose(v2(x).numpy(), total, rtol=1e-4, atol=1e-6)


def test_image_pooling_tells_every_pixel_the_mean():
    layer, x = ImagePooling(6, 8), image(2, 6, 5, 7)
    weight, bias = (p.numpy() for p in layer.parameters())
    expected = np.maximum(x.numpy().mean(axis=(2, 3)) @ weight[:, :, 0, 0].T + bias, 0)[..., None, None]
    np.testing.assert_allclose(layer(x).numpy(), expected.repeat(5, axis=2).repeat(7, axis=3), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("version", VERSIONS)
def test_initial_weights(version):
    """Classifiers normal with standard deviation 0.01, as the papers' last layer; branches √(2 / fan-in); biases 0."""
    model = small(version, width=16)
    for name, p in model.named_parameters():
        if name.startswith("encoder"):
            continue
        if name.endswith("bias"):
            assert (p.numpy() == 0).all(), name
        elif p.ndim == 4:
            std = 0.01 if name.startswith("classifiers") else (2 / p[0].size)**0.5
            assert p.numpy().std() == pytest.approx(std, rel=0.1), name


@pytest.mark.parametrize("version", VERSIONS)
def test_names_that_training_and_checkpoints_rely_on(version):
    arguments = dict(num_classes=7, in_channels=2, version=version, width=3, output_stride=16, encoder="resnet18",
                     upsampling="transposed_bilinear", rates=[1, 2], norm="group" if version == "v3" else "batch")
    model = DeepLab(**arguments)
    assert {name: getattr(model, "encoder_name" if name == "encoder" else name) for name in arguments} == arguments
    parts = {name.partition(".")[0] for name in model.state_dict()}
    assert parts == {"encoder", "classifiers", "upsample"} | ({"branches"} if version != "v2" else set())
    own = model.encoder.state_dict()
    classifier = ENCODERS["resnet18"](in_channels=2, width=3).state_dict()
    assert set(classifier) - set(own) == {"fc.weight", "fc.bias"} and not set(own) - set(classifier)


# Places and sizes -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("encoder", ["vgg11", "vgg11_bn", "resnet18", "resnet20", "mobilenet_v1"])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("stride", [8, 16, 32])
def test_a_mirrored_image_gives_mirrored_scores(version, stride, encoder):
    """With kernels that are their own mirror images: no layer shifts anything, poolings and upsampling included."""
    model = small(version, encoder=encoder, output_stride=stride).double().eval()
    he_initialise(model)
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.writable()[...] += parameter.numpy()[..., ::-1]
    x = image(1, 3, 20, 3 * stride + 1, dtype=np.float64)
    with no_grad():
        scores, mirrored = model(x).numpy(), model(Tensor(x.numpy()[..., ::-1])).numpy()
    assert scores.std(axis=3).max() > 1e-3 * abs(scores).max() > 0
    np.testing.assert_allclose(mirrored[..., ::-1], scores, rtol=1e-9, atol=1e-9 * abs(scores).max())


def test_mobilenet_has_symmetric_padding_at_even_sizes_too():
    assert small("v3", encoder="mobilenet_v1").encoder.padding == "symmetric"


@pytest.mark.parametrize("stride, size", [(8, (17, 24)), (8, (18, 17)), (16, (48, 33)), (4, (12, 9))])
def test_bilinear_upsampling_puts_features_on_their_pixels(stride, size, rng):
    features = rng.standard_normal((2, 3, math.ceil(size[0] / stride), math.ceil(size[1] / stride)))
    scores = Bilinear(stride)(Tensor(features), size).numpy()
    places = [np.minimum(np.arange(n) / stride, m - 1) for n, m in zip(size, features.shape[2:])]
    expected = features
    for axis, place in zip((2, 3), places):
        expected = np.apply_along_axis(lambda f: np.interp(place, np.arange(f.size), f), axis, expected)
    np.testing.assert_allclose(scores, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("stride", [8, 16, 32])
def test_any_size(version, stride):
    model = small(version, output_stride=stride).eval()
    with no_grad():
        for height, width in [(1, 1), (stride, stride), (stride + 1, 3 * stride - 1), (45, 70), (64, 33)]:
            assert model(image(1, 3, height, width)).shape == (1, 5, height, width)
            assert model(image(0, 3, height, width)).shape == (0, 5, height, width)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stride", [8, 16, 32])
def test_every_upsampling(method, stride):
    model = small("v3", upsampling=method, output_stride=stride).eval()
    x = image(1, 3, 37, 48)
    scores = model(x)
    assert scores.shape == (1, 5, 37, 48)
    features = model.classifiers[0](model.branches[0](model.encoder.pyramid(x)[-1])).numpy()
    if method in ("nearest", "bed_of_nails", "bilinear"):
        np.testing.assert_array_equal(scores.numpy()[:, :, ::stride, ::stride], features)


@pytest.mark.parametrize("arguments, message", [
    ({"version": "v4"}, "DeepLab: version='v4'; expected one of 'v1', 'v2', 'v3'"),
    ({"output_stride": 4}, "DeepLab: output_stride=4; expected one of 8, 16, 32"),
    ({"version": "v2", "norm": "group"}, "DeepLab: version='v2' with norm='group'; expected one of 'batch'"),
    ({"encoder": "vgg"}, "DeepLab: encoder='vgg'; expected one of None, 'vgg11'"),
    ({"upsampling": "max_unpool"}, "DeepLab: upsampling='max_unpool'; expected one of"),
    ({"rates": [6, 0]}, "dilation=0: expected at least 1"),
    ({"rates": []}, "DeepLab: rates=[]; expected at least one"),
    ({"width": 0}, "width=0"),
    ({"num_classes": 0}, "to 0 channels"),
])
def test_impossible_arguments(arguments, message):
    with pytest.raises(ValueError) as error:
        DeepLab(**{"num_classes": 5, "width": 2, **arguments})
    assert message in str(error.value)


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 1, 16, 16)])
def test_wrong_inputs(shape):
    with pytest.raises(ValueError, match=r"input has shape .*; expected \(N, 3, H, W\)"):
        small("v3")(image(*shape))


# Training -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("version, encoder", [("v1", "vgg11"), ("v2", "vgg11"), ("v2", "resnet18"), ("v3", "resnet18"),
                                              ("v3", "vgg11_bn")])
@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize("batch", [1, 2])
def test_gradients_of_the_whole_network(version, encoder, stride, batch, rng):
    """Along a random direction in each parameter, and in the image, the loss rises as its gradient says."""
    model = DeepLab(3, in_channels=2, version=version, width=2, output_stride=stride, encoder=encoder).double()
    he_initialise(model)                                                 # classifiers too: near zero they hide the rest
    model.train()
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    x = image(batch, 2, 2 * stride + 1, 3 * stride, dtype=np.float64)
    x.requires_grad = True
    labels = rng.integers(0, 3, (batch, *x.shape[2:]))
    labels[0, 0, 0] = 255

    def loss():
        return functional.cross_entropy(model(x), labels)

    loss().backward()
    for name, tensor in [("image", x), *model.named_parameters()]:
        direction = rng.standard_normal(tensor.shape)
        direction /= np.sqrt((direction**2).sum())
        start, values, step = tensor.numpy().copy(), [], 1e-6
        with no_grad():
            for sign in (1, -1):
                tensor.writable()[...] = start + sign * step * direction
                values.append(loss().item())
            tensor.writable()[...] = start
        slope = (values[0] - values[1]) / (2 * step)
        assert (tensor.grad * direction).sum() == pytest.approx(slope, abs=1e-8, rel=1e-7), name


@pytest.mark.parametrize("norm, batch, learns", [("batch", 2, True), ("batch", 1, False), ("group", 1, True)])
def test_what_image_pooling_learns_from(norm, batch, learns):
    """Batch normalisation of one image takes away what all its pixels have in common; group normalisation does not."""
    model = small("v3", norm=norm, width=8).double()
    labels = np.arange(batch * 33 * 33).reshape(batch, 33, 33) % 5
    functional.cross_entropy(model(image(batch, 3, 33, 33, dtype=np.float64)), labels).backward()
    *convolutions, pooling = model.branches[0].branches
    assert all(abs(p.grad).max() > 1e-8 for convolution in convolutions for p in convolution.parameters())
    assert (abs(pooling.convolve.conv.weight.grad).max() > 1e-8) == learns


@pytest.mark.parametrize("version", VERSIONS)
def test_it_overfits_one_example(version):
    """A batch of one image, of two halves: v3's image pooling then has a single value a channel to work with."""
    labels = np.zeros((1, 32, 48), np.uint8)
    labels[:, :, 20:] = 1
    x = Tensor((np.eye(3)[labels].transpose(0, 3, 1, 2)
                + np.random.default_rng(3).standard_normal((1, 3, 32, 48))).astype(np.float32))
    model = DeepLab(2, version=version, width=8, encoder="resnet18" if version == "v3" else "vgg11_bn", rates=[2, 4])
    optimizer = optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(30):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2
    assert (model(x).numpy().argmax(1) == labels).mean() > 0.95
