from functools import cache

import numpy as np
import pytest

from tinyseg import Tensor, functional, nn, no_grad, optim
from tinyseg.models import MODELS, FCN
from tinyseg.models.fcn import VARIANTS, coordinate_map, crop
from tinyseg.models.resnet import ResNet
from tinyseg.models.summary import layer_rows
from tinyseg.models.upsampling import SKIPS, UPSAMPLING
from tinyseg.models.vgg import VGG


def image(*shape, dtype=np.float32):
    return Tensor(np.random.default_rng(0).standard_normal(shape).astype(dtype))


def small(variant="8s", encoder="vgg11", **arguments):
    return FCN(3, variant=variant, width=2, encoder=encoder, **arguments).eval()


def scatter(model, rng):
    """Move all parameters, so that no score is zero."""
    for parameter in model.parameters():
        parameter.writable()[...] += 0.1 * rng.standard_normal(parameter.shape)
    return model


# The architecture -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("padding", [None, 100])
@pytest.mark.parametrize("size", [(64, 96), (45, 70)])
def test_shape_comments(padding, size, check_shape_comments):
    def symbols(local):
        maps = {f"{axis}{level}": n for level in (3, 4) for axis, n in zip("hw", local[f"pool{level}"].shape[2:])}
        h, w = local["fc6"].shape[2:] if "fc6" in local else (0, 0)
        return {"N": 1, "C": 3, "H": size[0], "W": size[1], "f": 128, "h": h, "w": w, **maps}

    models = [small(variant, padding=padding) for variant in VARIANTS]
    assert check_shape_comments(models, image(1, 3, *size), symbols) == 3 * 3 + 2 + 6 + 10


@pytest.mark.parametrize("variant, crops, kernels", [
    ("32s", {"score": 19}, {"upscore32": 64}),
    ("16s", {"score_pool4c": 5, "score": 27}, {"upscore2": 4, "upscore16": 32}),
    ("8s", {"score_pool4c": 5, "score_pool3c": 9, "score": 31}, {"upscore2": 4, "upscore_pool4": 4, "upscore8": 16}),
])
@pytest.mark.parametrize("encoder", ["vgg11", "vgg16"])
def test_crops_and_kernels_of_the_papers_networks(variant, crops, kernels, encoder):
    model = FCN(21, variant=variant, width=1, encoder=encoder, padding=100)
    assert model.crops == crops
    layers = {name: layer for name, layer in model.named_children() if name.startswith("upscore")}
    assert {name: layer.kernel_size[0] for name, layer in layers.items()} == kernels
    for layer in layers.values():
        assert layer.bias is None and layer.padding == (0, 0) and layer.weight.shape[:2] == (21, 21)
        assert np.count_nonzero(layer.weight.numpy().any(axis=(2, 3))) == 21


VGG_CONVOLUTIONS = "3>64 64>64 64>128 128>128 128>256 256>256 256>256 256>512 512>512 512>512 512>512 512>512 512>512"


@pytest.mark.slow
def test_the_papers_size():
    """134 million parameters: the 13 convolutions, fc6 and fc7, and little else.  fc6 sees 404 pixels, 32 apart."""
    model = FCN(21, padding=100).eval()
    pairs = [tuple(map(int, arrow.split(">"))) for arrow in VGG_CONVOLUTIONS.split()]
    classifier = sum(9 * a * b + b for a, b in pairs) + (49 * 512 * 4096 + 4096) + (4096 * 4096 + 4096)
    scores = (4096 * 21 + 21) + (512 * 21 + 21) + (256 * 21 + 21) + 21**2 * (4**2 + 4**2 + 16**2)
    assert classifier == 134_260_544 and sum(p.size for p in model.parameters()) == classifier + scores == 134_489_759
    rows = {row.path: row for row in layer_rows(model, (1, 3, 32, 32))}
    assert rows["fc6"].receptive_field == (404, 404) and rows["fc6"].stride == (32, 32)
    with no_grad():
        assert model(Tensor(np.zeros((1, 3, 20, 33), np.float32))).shape == (1, 21, 20, 33)


@pytest.mark.parametrize("variant, upsampling, skips", [("32s", 64**2, 0), ("16s", 4**2 + 32**2, 8 * 21 + 21),
                                                        ("8s", 4**2 + 4**2 + 16**2, 12 * 21 + 2 * 21)])
def test_what_the_variants_add(variant, upsampling, skips):
    model = FCN(21, variant=variant, width=1)
    counts = {name: sum(p.size for p in layer.parameters()) for name, layer in model.named_children()}
    assert sum(n for name, n in counts.items() if name.startswith("upscore")) == 21**2 * upsampling
    assert sum(n for name, n in counts.items() if name.startswith("score_pool")) == skips
    assert counts["fc6"] == 49 * 8 * 64 + 64 and counts["fc7"] == 64 * 64 + 64 and counts["score_fr"] == 64 * 21 + 21


def test_every_class_has_the_same_score_at_the_start(rng):
    model = small()
    scores = model(image(1, 3, 40, 50))
    assert not scores.numpy().any()
    loss = functional.cross_entropy(scores, rng.integers(0, 3, (1, 40, 50)))
    assert loss.item() == pytest.approx(np.log(3))


@pytest.mark.parametrize("encoder", ["vgg11", "vgg16_bn", "resnet18", "mobilenet_v1"])
def test_other_encoders(encoder):
    model = FCN(5, in_channels=2, width=2, encoder=encoder).eval()
    with no_grad():
        assert model(image(1, 2, 50, 71)).shape == (1, 5, 50, 71)
    rows = [row.path for row in layer_rows(model, (1, 2, 64, 64))]
    assert ("fc6" in rows) == encoder.startswith("vgg")
    assert not any(name.split(".")[1] in ("classifier", "fc") for name in model.encoder.state_dict() if "." in name)
    model.encoder.load_state_dict(model.encoder.state_dict())


used_again = cache(small)            # for what changes no model: building one takes longer than running it


@pytest.mark.parametrize("size", [(1, 1), (2, 65), (33, 31), (64, 97)])
@pytest.mark.parametrize("encoder, padding", [("vgg11", None), ("vgg11", 100), ("resnet18", None)])
@pytest.mark.parametrize("upsampling", UPSAMPLING)
def test_scores_are_as_large_as_the_image(size, encoder, padding, upsampling):
    for variant in VARIANTS:
        if upsampling == "max_unpool" and (encoder, padding) != ("vgg11", None):
            with pytest.raises(ValueError, match="FCN: upsampling='max_unpool' "):
                small(variant, encoder, upsampling=upsampling, padding=padding)
        else:
            with no_grad():
                model = used_again(variant, encoder, upsampling=upsampling, padding=padding)
                assert model(Tensor(np.zeros((0, 3, *size), np.float32))).shape == (0, 3, *size)


def test_with_concat_both_are_summed_at_first_and_weighed_later(rng):
    x, model = image(1, 3, 50, 71), scatter(small(), rng)
    other = small(skip="concat")
    other.load_state_dict(model.state_dict(), strict=False)
    with no_grad():
        np.testing.assert_allclose(other(x).numpy(), model(x).numpy(), rtol=1e-4, atol=1e-5)
        other.fuse_pool4.conv.weight.writable()[:, :3] = 0
        assert abs(other(x).numpy() - model(x).numpy()).max() > 1e-3


def test_at_once_scales_the_pools(rng):
    x, model = image(1, 3, 50, 71), scatter(small(), rng)
    other = small(at_once=True)
    other.load_state_dict(model.state_dict())
    model.score_pool4.weight.writable()[...] *= 0.01
    model.score_pool3.weight.writable()[...] *= 0.0001
    with no_grad():
        np.testing.assert_allclose(other(x).numpy(), model(x).numpy(), rtol=1e-4, atol=1e-5)


def test_upsampling_is_learned_or_fixed(rng):
    for learned in (True, False):
        model = scatter(small(learn_upsampling=learned), rng)
        model(image(1, 3, 40, 40)).sum().backward()
        grads = [p.grad is not None for name, p in model.named_parameters() if name.startswith("upscore")]
        assert grads == [learned] * 3


def test_arguments_are_attributes_and_the_name_is_known():
    arguments = {"num_classes": 7, "in_channels": 2, "variant": "16s", "width": 2, "upsampling": "nearest",
                 "skip": "concat", "padding": 100, "learn_upsampling": False, "at_once": True, "staged": True}
    model = FCN(encoder="vgg11", **arguments)
    assert {name: getattr(model, name) for name in arguments} == arguments and model.encoder_name == "vgg11"
    assert MODELS["fcn"](encoder="vgg11", **arguments).state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("arguments, message", [
    ({"variant": "4s"}, "FCN: variant='4s'; expected one of '32s', '16s', '8s'"),
    ({"encoder": "vgg12"}, "FCN: encoder='vgg12'; expected one of 'vgg11'"),
    ({"upsampling": "cubic"}, "FCN: upsampling='cubic'"),
    ({"skip": "product"}, "FCN: skip='product'; expected one of 'none', 'sum', 'concat'"),
    ({"padding": 3}, "FCN: padding=3; expected one of None, 100"),
    ({"encoder": "resnet20"}, "encoder='resnet20' has maps of strides (1, 1, 2, 4); expected 8, 16 and 32 at the end"),
    ({"encoder": "resnet18", "upsampling": "max_unpool"}, "undoes 2x2 max poolings, of which encoder='resnet18' has 0"),
    ({"upsampling": "max_unpool", "padding": 100}, "needs scores as large as pool5, but with padding=100"),
    ({"width": 0}, "width=0"),
])
def test_impossible_arguments(arguments, message):
    with pytest.raises(ValueError) as error:
        FCN(3, **{"width": 1, **arguments})
    assert message in str(error.value)


# Where pixels lie -----------------------------------------------------------------------------------------------------

def test_crop():
    x = image(1, 2, 6, 7)
    like = image(1, 1, 3, 4)
    np.testing.assert_array_equal(crop(x, like, 2).numpy(), x.numpy()[:, :, 2:5, 2:6])
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (1, 0), (1, 0)))
    np.testing.assert_array_equal(crop(x, like, -1).numpy(), padded[..., :3, :4])
    np.testing.assert_array_equal(crop(like, x, -2).numpy(), np.pad(like.numpy(), ((0, 0), (0, 0), (2, 1), (2, 1))))
    np.testing.assert_array_equal(crop(x, like, 5).numpy()[..., 1:, :], 0)


def test_coordinate_maps_of_encoders():
    maps = {name: [str(coordinate_map(encoder, level)) for level in range(5)] for name, encoder in
            [("vgg", VGG(width=1, num_classes=1)), ("resnet", ResNet(width=1, num_classes=1))]}
    assert maps == {"vgg": ["2·x + 1/2", "4·x + 3/2", "8·x + 7/2", "16·x + 15/2", "32·x + 31/2"],
                    "resnet": ["2·x + 0", "4·x + 0", "8·x + 0", "16·x + 0", "32·x + 0"]}
    with no_grad():
        assert str(coordinate_map(VGG(width=1, num_classes=1), 4)) == "32·x + 31/2"


@pytest.mark.parametrize("encoder, padding, size", [("vgg11", None, 128), ("vgg11", 100, 122), ("resnet18", None, 129)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_scores_lie_where_their_features_do(encoder, padding, size, variant):
    """Mirror the image, and the scores are mirrored: no map is off by a pixel to one side.

    For all kernels are symmetric here, and the sizes such that no pooling or stride leaves anything over.
    """
    model = FCN(1, in_channels=1, variant=variant, width=1, encoder=encoder, padding=padding).eval().double()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 4 and not name.startswith("upscore"):
            parameter.writable()[...] = 1 / parameter[0].size
    x = np.random.default_rng(0).uniform(size=(1, 1, size, size))
    with no_grad():
        y, mirrored = (model(Tensor(np.ascontiguousarray(a))).numpy() for a in (x, x[:, :, ::-1, ::-1]))
    np.testing.assert_allclose(mirrored[:, :, ::-1, ::-1], y, rtol=1e-9)
    assert y.std() > 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_papers_networks_in_pytorch(variant, rng):
    """The forward pass of the authors' networks, with their crops written out."""
    torch = pytest.importorskip("torch", reason="torch is not installed: there is no oracle for whole networks")
    model = scatter(FCN(3, variant=variant, width=2, encoder="vgg11", padding=100), rng).eval().double()
    weights = {name: torch.from_numpy(value) for name, value in model.state_dict().items()}
    x = rng.standard_normal((2, 3, 45, 70))

    def conv(x, name, padding=0):
        return torch.nn.functional.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=padding)

    def upscore(x, name, stride):
        return torch.nn.functional.conv_transpose2d(x, weights[f"{name}.weight"], stride=stride)

    def cropped(x, offset, like):
        return x[:, :, offset:offset + like.shape[2], offset:offset + like.shape[3]]

    h, pools = torch.from_numpy(x), []
    for i, layer in enumerate(model.encoder.features):
        if isinstance(layer, nn.Conv2d):
            h = conv(h, f"encoder.features.{i}", padding=100 if i == 0 else 1).relu()
        elif isinstance(layer, nn.MaxPool2d):
            h = torch.nn.functional.max_pool2d(h, 2, ceil_mode=True)
            pools.append(h)
    score_fr = conv(conv(conv(h, "fc6").relu(), "fc7").relu(), "score_fr")
    if variant == "32s":
        expected = cropped(upscore(score_fr, "upscore32", 32), 19, x)
    else:
        upscore2 = upscore(score_fr, "upscore2", 2)
        fuse_pool4 = upscore2 + cropped(conv(pools[3], "score_pool4"), 5, upscore2)
        if variant == "16s":
            expected = cropped(upscore(fuse_pool4, "upscore16", 16), 27, x)
        else:
            upscore_pool4 = upscore(fuse_pool4, "upscore_pool4", 2)
            fuse_pool3 = upscore_pool4 + cropped(conv(pools[2], "score_pool3"), 9, upscore_pool4)
            expected = cropped(upscore(fuse_pool3, "upscore8", 8), 31, x)
    with no_grad():
        np.testing.assert_allclose(model(Tensor(x)).numpy(), expected.numpy(), rtol=1e-9, atol=1e-12)


# Gradients ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("upsampling", UPSAMPLING)
@pytest.mark.parametrize("skip", SKIPS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_of_the_whole_network(variant, skip, upsampling, check_gradients):
    model = FCN(3, in_channels=2, variant=variant, width=2, encoder="vgg11", upsampling=upsampling, skip=skip).eval()
    check_gradients(model, (2, 2, 19, 34))


@pytest.mark.parametrize("encoder, padding", [("vgg16", 100), ("vgg11_bn", None), ("resnet18", None)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_with_other_encoders(variant, encoder, padding, check_gradients):
    model = FCN(3, in_channels=2, variant=variant, width=2, encoder=encoder, padding=padding)
    model.train()
    model.fc6.eval(), model.fc7.eval()                                   # no dropout, which would draw anew
    check_gradients(model, (2, 2, 40, 35))


def test_it_overfits_one_example():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, (1, 4, 4)).repeat(8, axis=1).repeat(8, axis=2)
    x = Tensor((np.eye(3)[labels].transpose(0, 3, 1, 2) + rng.standard_normal((1, 3, 32, 32))).astype(np.float32))
    model = FCN(3, width=4, encoder="vgg11_bn")
    model.fc6.eval(), model.fc7.eval()
    optimizer = optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), labels).backward()
        optimizer.step()
    assert (model(x).numpy().argmax(1) == labels).mean() > 0.9
