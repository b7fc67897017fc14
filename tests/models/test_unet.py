import numpy as np
import pytest

from tinyseg import Tensor, functional, nn, no_grad, optim
from tinyseg.models import MODELS, UNet
from tinyseg.models.summary import layer_rows
from tinyseg.models.unet import copy_and_crop
from tinyseg.models.upsampling import SKIPS, UPSAMPLING


def image(*shape, dtype=np.float32):
    return Tensor(np.random.default_rng(0).standard_normal(shape).astype(dtype))


def paper(width=64):
    return UNet(2, in_channels=1, width=width, padding="valid", norm=None)


# The architecture -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("norm", ["batch", "group", None])
def test_shape_comments(depth, norm, check_shape_comments):
    n, height, width = 2, 16, 48

    def symbols(local):
        level = local.get("level", 0)
        return {"N": n, "H": height, "W": width, "num_classes": 5,
                "c": 3 * 2**level, "h": height / 2**level, "w": width / 2**level}

    model = UNet(5, width=3, depth=depth, norm=norm)
    assert check_shape_comments(model, image(n, 3, height, width), symbols) == 5 * depth + 2


def test_a_wrong_shape_comment_is_noticed(check_shape_comments):
    with pytest.raises(AssertionError, match=r"says \(N, c, h, w\)"):
        check_shape_comments(UNet(5, width=3, depth=1), image(1, 3, 4, 4),
                             lambda local: {"N": 1, "H": 4, "W": 4, "num_classes": 5, "c": 3, "h": 4, "w": 5})


FIGURE = """
    64x570 64x568 64x284  128x282 128x280 128x140  256x138 256x136 256x68  512x66 512x64 512x32  1024x30 1024x28
    512x56 512x54 512x52  256x104 256x102 256x100  128x200 128x198 128x196  64x392 64x390 64x388  2x388"""


@pytest.mark.usefixtures("all_zero")
def test_the_papers_figure():
    """Channels and size at every arrow of figure 1, and 23 convolutional layers."""
    rows = [row for row in layer_rows(paper(), (1, 1, 572, 572)) if row.kind not in ("ReLU", "Dropout")]
    assert [f"{row.output_shape[1]}x{row.output_shape[2]}" for row in rows] == FIGURE.split()
    assert all(row.output_shape[2] == row.output_shape[3] for row in rows)
    assert sum(row.kind.startswith("Conv") for row in rows) == 23


CONVOLUTIONS = """
    1>64 64>64  64>128 128>128  128>256 256>256  256>512 512>512  512>1024 1024>1024
    1024>512 512>512  512>256 256>256  256>128 128>128  128>64 64>64"""


@pytest.mark.usefixtures("all_zero")
def test_parameter_counts():
    """Worked out from the figure: 3x3 convolutions, 2x2 up-convolutions, the last 1x1."""
    pairs = [tuple(map(int, arrow.split(">"))) for arrow in CONVOLUTIONS.split()]
    ups = [(1024, 512), (512, 256), (256, 128), (128, 64)]
    up_and_last = sum(4 * a * b + b for a, b in ups) + 64 * 2 + 2
    with_bias = sum(9 * a * b + b for a, b in pairs) + up_and_last
    with_norm = sum(9 * a * b + 2 * b for a, b in pairs) + up_and_last       # scale and shift instead of a bias
    assert with_bias == 31_030_658
    assert sum(p.size for p in paper().parameters()) == with_bias
    assert sum(p.size for p in UNet(2, in_channels=1).parameters()) == with_norm


def test_copy_and_crop():
    copy = Tensor(np.arange(2 * 36.0).reshape(1, 2, 6, 6))
    x = Tensor(np.zeros((1, 3, 2, 4)))
    cropped, same = copy_and_crop(copy, x)
    np.testing.assert_array_equal(cropped.numpy(), copy.numpy()[:, :, 2:4, 1:5])
    assert same is x and copy_and_crop(x, x) == (x, x)
    np.testing.assert_array_equal(copy_and_crop(copy, x[:, :2], "sum").numpy(), cropped.numpy())


def test_the_valid_output_is_the_middle_of_the_image():
    """A pixel's score depends on the image around its own place, 92 pixels further in than the output's border."""
    model = UNet(1, in_channels=1, width=1, depth=4, padding="valid", norm=None).eval()
    for _, parameter in model.named_parameters():
        parameter.writable()[...] = 1 if parameter.ndim == 4 else 0
    with no_grad():
        x = np.zeros((1, 1, 204, 204), np.float32)
        x[0, 0, 92 + 7, 92 + 12] = 1e-9
        out = model(Tensor(x)).numpy()[0, 0]
    assert out.shape == (20, 20) and out[7, 12] == out.max() > 0


@pytest.mark.parametrize("upsampling", UPSAMPLING)
@pytest.mark.parametrize("skip", SKIPS)
def test_every_upsampling_and_skip(upsampling, skip):
    model = UNet(2, width=2, depth=2, upsampling=upsampling, skip=skip)
    assert model(image(1, 3, 12, 16)).shape == (1, 2, 12, 16)
    channels = [row.output_shape[1] for row in layer_rows(model, (1, 3, 12, 16)) if row.path == "conv_1x1"]
    assert channels == [2] and model.expansive[1][0].conv.in_channels == (8 if skip == "concat" else 4)
    if upsampling == "max_unpool":
        with pytest.raises(ValueError, match="upsampling='max_unpool' puts values back .* use padding='same'"):
            UNet(2, padding="valid", upsampling=upsampling)
    else:
        valid = UNet(2, in_channels=1, width=1, depth=2, padding="valid", norm=None, upsampling=upsampling, skip=skip)
        assert valid(image(1, 1, 48, 52)).shape == (1, 2, *valid.output_size(48, 52))


def test_max_unpooling_gets_the_places_of_its_own_level():
    model, seen = UNet(2, width=2, depth=2, upsampling="max_unpool").eval(), []
    for layer in model.up_convolution:
        layer.unpool[0].register_forward_hook(lambda module, inputs, output: seen.append(output.numpy() != 0))
    for stage in model.contracting:
        stage.register_forward_hook(lambda module, inputs, output: seen.append(output))
    model(image(1, 3, 8, 8))
    fine, coarse, _, coarse_places, fine_places = seen
    for copy, places in [(coarse, coarse_places), (fine, fine_places)]:
        pooled, indices = functional.max_pool2d(copy, 2, return_indices=True)
        back = functional.max_unpool2d(Tensor(np.ones(pooled.shape, np.float32)), indices, 2).numpy() != 0
        assert places.shape == back.shape and (places <= back).all() and places.any()


@pytest.mark.parametrize("norm, count", [(None, 2), ("batch", 0), ("group", 0)])
def test_dropout_at_the_end_of_the_contracting_path(norm, count):
    model = UNet(2, width=4, depth=3, norm=norm)
    dropouts = [path for path, module in model.named_modules() if isinstance(module, nn.Dropout)]
    assert dropouts == ["contracting.2.2", "contracting.3.2"][:count]
    if norm is None:
        x = image(1, 3, 16, 16)
        assert (model(x).numpy() != model(x).numpy()).any()
        np.testing.assert_array_equal(model.eval()(x).numpy(), model(x).numpy())


@pytest.mark.parametrize("norm", ["batch", None])
def test_he_initialisation(norm):
    """Standard deviation √(2/N), N the numbers that meet in one output; scales 1, biases and shifts 0."""
    model = UNet(2, width=32, depth=2, norm=norm)
    checked = 0
    for name, p in model.named_parameters():
        if p.ndim == 1:
            assert (p.numpy() == (1 if name.endswith("norm.weight") else 0)).all(), name
        elif p.size > 8000:
            meeting = p.shape[0] if name.startswith("up") else p[0].size
            assert p.numpy().std() == pytest.approx(np.sqrt(2 / meeting), rel=0.04), name
            assert abs(p.numpy().mean()) < 4 * np.sqrt(2 / meeting / p.size), name
            checked += 1
    assert checked == 11


def test_arguments_are_attributes_and_the_name_is_known():
    arguments = {"num_classes": 7, "in_channels": 2, "width": 3, "depth": 2, "padding": "valid", "norm": "group",
                 "upsampling": "bilinear", "skip": "sum"}
    model = UNet(**arguments)
    assert {name: getattr(model, name) for name in arguments} == arguments
    assert MODELS["unet"](**arguments).state_dict().keys() == model.state_dict().keys()


# Sizes ----------------------------------------------------------------------------------------------------------------

def test_legal_sizes_of_the_papers_network():
    model = paper(width=1)
    legal = []
    for n in range(1, 700):
        try:
            model.output_size(n, n)
        except ValueError:
            continue
        legal.append(n)
    assert legal == list(range(188, 700, 16))                 # 188 + 16k
    assert model.output_size(572, 188) == (388, 4)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_every_size_runs_as_promised_or_is_refused(padding, depth):
    model = UNet(2, in_channels=1, width=1, depth=depth, padding=padding, norm="group").eval()
    legal = []
    with no_grad():
        for n in range(1, 110):
            x = Tensor(np.zeros((0, 1, n, model.legal_size(50, 50)[0]), np.float32))
            try:
                size = model.output_size(*x.shape[2:])
            except ValueError:
                with pytest.raises(ValueError, match="does not fit"):
                    model(x)
            else:
                assert model(x).shape == (0, 2, *size)
                legal.append(n)
    steps = {b - a for a, b in zip(legal, legal[1:])}
    assert steps == {2**depth} and model.legal_size(1, 1) == (legal[0],) * 2
    for n in range(1, legal[-1]):
        assert model.legal_size(n, legal[0]) == (min(m for m in legal if m >= n), legal[0])


@pytest.mark.parametrize("padding, size, message", [
    ("same", (100, 96), "UNet: an image of 100x96 does not fit: the skip at level 2 copies 25x24 but what comes up "
                        "from below is 24x24; nearest legal sizes: 96x96 and 112x96"),
    ("same", (96, 7), "UNet: an image of 96x7 does not fit: its convolutions leave nothing of it; "
                      "nearest legal sizes: 96x16"),
    ("valid", (572, 570), "UNet: an image of 572x570 does not fit: the skip at level 1 copies 280x279 but what comes "
                          "up from below is 200x192; nearest legal sizes: 572x556 and 572x572"),
    ("valid", (10, 10), "UNet: an image of 10x10 does not fit: its convolutions leave nothing of it; "
                        "nearest legal sizes: 188x188"),
])
def test_a_misfit_is_explained(padding, size, message):
    with pytest.raises(ValueError) as error:
        UNet(2, width=1, padding=padding)(image(1, 3, *size))
    assert str(error.value) == message


@pytest.mark.parametrize("arguments, message", [
    ({"padding": "full"}, "padding='full'; expected 'same' or 'valid'"),
    ({"norm": "layer"}, "norm='layer'; expected one of 'batch', 'group', None"),
    ({"width": 0}, "width=0"),
    ({"depth": 0}, "depth=0"),
    ({"in_channels": 0}, "in_channels=0"),
    ({"upsampling": "cubic"}, "UNet: upsampling='cubic'; expected one of 'nearest', 'bed_of_nails', 'max_unpool'"),
    ({"skip": "product"}, "UNet: skip='product'; expected one of 'none', 'sum', 'concat'"),
])
def test_impossible_arguments(arguments, message):
    with pytest.raises(ValueError) as error:
        UNet(2, **arguments)
    assert message in str(error.value)


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 1, 16, 16)])
def test_wrong_inputs(shape):
    with pytest.raises(ValueError, match=r"UNet: input has shape .*; expected \(N, 3, H, W\)"):
        UNet(2, width=1)(image(*shape))


# Gradients ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("arguments, size", [({"norm": "batch"}, 8), ({"norm": "group"}, 8),
                                             ({"norm": None, "padding": "valid"}, 44)])
def test_gradients_of_the_whole_network(arguments, size, rng):
    """Along a random direction in each parameter, and in the image, the loss rises as its gradient says."""
    model = UNet(3, in_channels=2, width=4, depth=2, **arguments).double()
    model.train(arguments["norm"] is not None)                           # no dropout, which would draw anew
    x = image(2, 2, size, size, dtype=np.float64)
    x.requires_grad = True
    labels = rng.integers(0, 3, (2, *model.output_size(size, size)))
    labels[0, 0, 0] = 255

    def loss():
        return functional.cross_entropy(model(x), labels)

    loss().backward()
    for name, tensor in [("image", x), *model.named_parameters()]:
        direction = rng.standard_normal(tensor.shape)
        direction /= np.linalg.norm(direction)
        start, values, step = tensor.numpy().copy(), [], 1e-6
        with no_grad():
            for sign in (1, -1):
                tensor.writable()[...] = start + sign * step * direction
                values.append(loss().item())
            tensor.writable()[...] = start
        slope = (values[0] - values[1]) / (2 * step)
        assert (tensor.grad * direction).sum() == pytest.approx(slope, abs=1e-8, rel=1e-7), name


@pytest.mark.parametrize("upsampling", UPSAMPLING)
@pytest.mark.parametrize("skip", SKIPS)
def test_gradients_with_every_upsampling_and_skip(upsampling, skip, check_gradients):
    model = UNet(3, in_channels=2, width=2, depth=2, norm="group", upsampling=upsampling, skip=skip)
    check_gradients(model, (2, 2, 12, 16))


def test_it_overfits_one_example():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, (1, 4, 4)).repeat(4, axis=1).repeat(4, axis=2)
    x = Tensor((np.eye(3)[labels].transpose(0, 3, 1, 2) + rng.standard_normal((1, 3, 16, 16))).astype(np.float32))
    model = UNet(3, width=8, depth=2)
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(20):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), labels).backward()
        optimizer.step()
    assert (model(x).numpy().argmax(1) == labels).mean() > 0.95
