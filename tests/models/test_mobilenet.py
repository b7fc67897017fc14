"""MobileNets: the papers' figures, TensorFlow's padding, and weights under other names and in other layouts."""
import numpy as np
import pytest

from tinyseg import Tensor, functional, nn, no_grad
from tinyseg.models.deeplab_mobilenet import DeepLabV3MobileNetV2, from_tflite
from tinyseg.models.mobilenet import (MobileNetV1, MobileNetV2, SameConv2d, for_normalized_images, from_keras_mobilenet,
                                      kernel_from_tensorflow)
from tinyseg.models.summary import layer_rows


def image(*shape, dtype=np.float32):
    return Tensor(np.random.default_rng(0).standard_normal(shape).astype(dtype))


def parameters(model):
    return sum(p.size for p in model.parameters())


# The architectures ----------------------------------------------------------------------------------------------------

TABLE_1 = """
    32x112 32x112 64x112 64x56 128x56 128x56 128x56 128x28 256x28 256x28 256x28 256x14 512x14
    512x14 512x14 512x14 512x14 512x14 512x14 512x14 512x14 512x14 512x14 512x7 1024x7 1024x7 1024x7"""


@pytest.mark.usefixtures("all_zero")
@pytest.mark.parametrize("padding", ["symmetric", "same"])
def test_mobilenet_v1_is_table_1_of_the_paper(padding):
    rows = layer_rows(MobileNetV1(padding=padding), (1, 3, 224, 224))
    convolutions = [row for row in rows if row.kind.endswith("Conv2d")]
    assert [f"{row.output_shape[1]}x{row.output_shape[2]}" for row in convolutions] == TABLE_1.split()
    weighted = [row for row in rows if row.kind.endswith(("Conv2d", "Linear"))]
    assert sum(row.multiply_adds for row in weighted) == 568_740_352                # the paper's 569 million
    assert sum(row.parameters for row in rows) == 4_231_976                         # and 4.2 million


@pytest.mark.usefixtures("all_zero")
@pytest.mark.parametrize("width, millions", [(24, 2.6), (16, 1.3), (8, 0.5)])
def test_width_multipliers_of_the_paper(width, millions):
    """Table 6: 0.75, 0.5 and 0.25 MobileNet-224."""
    assert round(parameters(MobileNetV1(width=width)) / 1e6, 1) == millions


@pytest.mark.usefixtures("all_zero")
def test_mobilenet_v2_is_table_2_of_the_paper():
    """3.5 million parameters, with the last convolution of 1280 channels and the classifier, which are not in ours."""
    model = MobileNetV2()
    rows = layer_rows(model, (1, 3, 224, 224))
    projections = [row.output_shape for row in rows if row.path.endswith("project.conv")]
    assert [f"{c}x{h}" for _, c, h, _ in projections] == [
        "16x112", *["24x56"] * 2, *["32x28"] * 3, *["64x14"] * 4, *["96x14"] * 3, *["160x7"] * 3, "320x7"]
    assert parameters(model) + 320 * 1280 + 2 * 1280 + 1280 * 1000 + 1000 == 3_504_872


@pytest.mark.parametrize("padding", ["symmetric", "same"])
def test_shape_comments_of_mobilenet_v1(padding, check_shape_comments):
    model = MobileNetV1(num_classes=5, width=2, padding=padding).eval()
    assert check_shape_comments(model, image(2, 3, 50, 70), lambda local: {
        "N": 2, "c": 64, "h": 2, "w": 3, "num_classes": 5}) == 4


@pytest.mark.parametrize("output_stride, h, w, p, q", [(16, 4, 6, 49, 81), (32, 3, 4, 65, 97), (8, 7, 10, 49, 73)])
def test_shape_comments_of_deeplab(output_stride, h, w, p, q, check_shape_comments):
    model = DeepLabV3MobileNetV2(5, in_channels=2, width=4, output_stride=output_stride).eval()
    assert check_shape_comments(model, image(2, 2, 48, 70), lambda local: {
        "N": 2, "in_channels": 2, "width": 4, "num_classes": 5, "h": h, "w": w, "p": p, "q": q, "H": 48, "W": 70}) == 7


def test_the_scores_of_deeplab_lie_on_their_pixels():
    """Padding at the bottom and right moves nothing: with a map of scores that is linear in place, so is the output."""
    model = DeepLabV3MobileNetV2(1, width=1).eval()
    with no_grad():
        model.classifier.forward = lambda x: Tensor(np.add.outer(16.0 * np.arange(4), np.arange(6) * 1.6)[None, None])
        out = model(image(1, 3, 45, 70)).numpy()
    np.testing.assert_allclose(out[0, 0], np.add.outer(np.arange(45.0), np.arange(70) / 10), atol=1e-5)


# Convolutions ---------------------------------------------------------------------------------------------------------

def same_by_hand(x, weight, stride, dilation):
    """TensorFlow's documentation of "SAME", one output value at a time; x (H, W), weight (KH, KW)."""
    out = [-(-n // stride) for n in x.shape]
    total = [max((o - 1) * stride + dilation * (k - 1) + 1 - n, 0) for o, k, n in zip(out, weight.shape, x.shape)]
    y = np.zeros(out)
    for i, j in np.ndindex(*out):
        for u, v in np.ndindex(*weight.shape):
            row, column = (a * stride + b * dilation - t // 2 for a, b, t in zip((i, j), (u, v), total))
            if 0 <= row < x.shape[0] and 0 <= column < x.shape[1]:
                y[i, j] += weight[u, v] * x[row, column]
    return y


@pytest.mark.parametrize("size", [(6, 6), (7, 7), (8, 5), (1, 2)])
@pytest.mark.parametrize("kernel, stride, dilation", [(3, 1, 1), (3, 2, 1), (3, 1, 2), (5, 2, 1), (2, 2, 1), (1, 2, 1),
                                                      (3, 3, 2)])
def test_tensorflows_padding(size, kernel, stride, dilation, rng):
    x = rng.standard_normal(size)
    conv = SameConv2d(1, 1, kernel, stride, dilation=dilation, bias=False).double()
    expected = same_by_hand(x, conv.weight.numpy()[0, 0], stride, dilation)
    np.testing.assert_allclose(conv(Tensor(x[None, None])).numpy()[0, 0], expected, atol=1e-12)


def test_the_paddings_agree_on_images_of_32k_plus_1_pixels():
    same, symmetric = (MobileNetV1(num_classes=3, width=4, padding=p).double() for p in ("same", "symmetric"))
    symmetric.load_state_dict(same.state_dict())
    for x, equal in [(image(1, 3, 65, 97, dtype=np.float64), True), (image(1, 3, 64, 96, dtype=np.float64), False)]:
        ours, theirs = symmetric(x).numpy(), same(x).numpy()               # normalised with the statistics of the batch
        assert np.allclose(ours, theirs, rtol=1e-9) == equal and theirs.std() > 0.1


def test_tensorflows_normalisation():
    for model in (MobileNetV1(width=1), MobileNetV2(width=1)):
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        assert norms and {norm.eps for norm in norms} == {1e-3}
    assert not any(isinstance(module, nn.BatchNorm2d) for module in MobileNetV2(width=1, norm=None).modules())


def test_inverted_residuals_add_where_the_shape_stays():
    blocks = list(MobileNetV2(width=8).blocks)
    assert [i for i, block in enumerate(blocks) if block.residual] == [2, 4, 5, 7, 8, 9, 11, 12, 14, 15]
    block = blocks[2].eval()
    block.project.norm.weight.writable()[...] = 0
    x = image(1, 6, 5, 5)
    np.testing.assert_array_equal(block(x).numpy(), x.numpy())


@pytest.mark.parametrize("make, message", [
    (lambda: MobileNetV1(padding="valid"), "MobileNetV1: padding='valid'; expected one of 'symmetric', 'same'"),
    (lambda: MobileNetV2(norm="group"), "MobileNet: norm='group'; expected 'batch' or None"),
    (lambda: DeepLabV3MobileNetV2(2, width=1)(image(1, 1, 8, 8)), "input has shape (1, 1, 8, 8); expected (N, 3"),
])
def test_impossible_arguments(make, message):
    with pytest.raises(ValueError) as error:
        make()
    assert message in str(error.value)


@pytest.mark.slow
def test_deeplab_gradients_of_the_whole_network(rng):
    """Along a random direction in each parameter, and in the image, the loss rises as its gradient says."""
    model = DeepLabV3MobileNetV2(3, in_channels=2, width=4).double()
    x = image(2, 2, 40, 33, dtype=np.float64)
    x.requires_grad = True
    labels = rng.integers(0, 3, (2, 40, 33))

    def loss():
        return functional.cross_entropy(model(x), labels)

    loss().backward()
    for name, tensor in [("image", x), *model.named_parameters()]:
        direction = rng.standard_normal(tensor.shape)
        direction /= np.linalg.norm(direction)
        expected, start = (tensor.grad * direction).sum(), tensor.numpy().copy()
        for step in (1e-6, 1e-7):                  # the smaller, where a kink lies within the larger
            values = []
            with no_grad():
                for sign in (1, -1):
                    tensor.writable()[...] = start + sign * step * direction
                    values.append(loss().item())
                tensor.writable()[...] = start
            slope = (values[0] - values[1]) / (2 * step)
            if expected == pytest.approx(slope, abs=2e-8, rel=1e-7):
                break
        else:
            pytest.fail(f"{name}: backward says {expected}, the slope is {slope}")


# Other people's weights -----------------------------------------------------------------------------------------------

def keras_weights(model):
    """The inverse of from_keras_mobilenet, written from Keras's names."""
    state, theirs = model.state_dict(), {}
    layers = {"conv1": "conv1"} | {f"conv_{k}_{i + 1}": f"blocks.{i}.{s}" for i in range(13)
                                   for k, s in [("dw", "depthwise"), ("pw", "pointwise")]}
    for name, ours in layers.items():
        kernel = state[f"{ours}.conv.weight"]                              # (out, in, KH, KW), depthwise (C, 1, KH, KW)
        if "dw" in name:
            theirs[f"{name}/depthwise_kernel"] = np.moveaxis(kernel, (0, 1), (2, 3))
        else:
            theirs[f"{name}/kernel"] = np.moveaxis(kernel, (0, 1), (3, 2))
        for keras, own in [("gamma", "weight"), ("beta", "bias"), ("moving_mean", "running_mean"),
                           ("moving_variance", "running_var")]:
            theirs[f"{name}_bn/{keras}"] = state[f"{ours}.norm.{own}"]
    theirs["conv_preds/kernel"] = state["fc.weight"].T[None, None]
    theirs["conv_preds/bias"] = state["fc.bias"]
    return theirs


def test_keras_weights_there_and_back():
    model = MobileNetV1(num_classes=7, width=2)
    back = from_keras_mobilenet(keras_weights(model))
    assert MobileNetV1(num_classes=7, width=2).load_state_dict(back) == ([], [])
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(back[name], array, err_msg=name)


@pytest.mark.parametrize("lacking", ["conv_pw_13/kernel", "conv_pw_13_bn/moving_mean"])
def test_a_layer_that_lacks_something_is_left_as_it_was_drawn(lacking):
    theirs = keras_weights(MobileNetV1(num_classes=2, width=1))
    del theirs[lacking]
    model = MobileNetV1(num_classes=2, width=1)
    missing, unexpected = model.load_state_dict(from_keras_mobilenet(theirs), strict=False)
    assert not unexpected and len(missing) == 6
    assert all(name.startswith("blocks.12.pointwise.") for name in missing)


def test_layouts_of_kernels():
    """What reads input channel i at (u, v) for output channel o stands at [u, v, i, o] there, [o, i, u, v] here."""
    kernel = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    assert kernel_from_tensorflow(kernel)[4, 3, 1, 2] == kernel[1, 2, 3, 4]
    depthwise = np.arange(2 * 3 * 4).reshape(2, 3, 4, 1)
    ours = kernel_from_tensorflow(depthwise, depthwise=True)
    assert ours.shape == (4, 1, 2, 3) and ours[3, 0, 1, 2] == depthwise[1, 2, 3, 0]


def test_weights_for_normalised_images(rng):
    """The features of the first convolution are the same, but at the border, where the padding is another grey."""
    from tinyseg.data.transforms import normalize
    pixels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    half = Tensor((pixels.transpose(2, 0, 1)[None] / 127.5 - 1).astype(np.float32))
    model = MobileNetV1(num_classes=2, width=4).eval()
    model.conv1.norm.running_mean.writable()[...] = rng.standard_normal(4)
    converted = MobileNetV1(num_classes=2, width=4).eval()
    converted.load_state_dict(for_normalized_images(model.state_dict(), "conv1", half_range=127.5))
    expected, got = model.conv1(half).numpy(), converted.conv1(Tensor(normalize(pixels)[None])).numpy()
    np.testing.assert_allclose(got[:, :, 1:, 1:], expected[:, :, 1:, 1:], atol=1e-5)
    assert got.dtype == np.float32 and got.std() > 0.1

    biased = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1))
    state = for_normalized_images({f"0.conv.{name}": array for name, array in biased[0].state_dict().items()}, "0", 128)
    with no_grad():
        expected = biased(Tensor((pixels.transpose(2, 0, 1)[None] / 128 - 1).astype(np.float32))).numpy()
        weight, bias = state["0.conv.weight"], state["0.conv.bias"]
        got = functional.conv2d(normalize(pixels)[None], weight, bias, padding=1).numpy()
    np.testing.assert_allclose(got[:, :, 1:-1, 1:-1], expected[:, :, 1:-1, 1:-1], atol=1e-5)


@pytest.mark.parametrize("arrays", [{}, {"000/weight": np.zeros(1)},
                                    {"000/weight": np.zeros(1), "000/bias": np.zeros(1)}])
def test_arrays_of_another_network_are_refused(arrays):
    with pytest.raises(ValueError, match="from_tflite: .* expected 000/weight, 000/bias and so on, of 55 convolutions"):
        from_tflite(arrays)
    with pytest.raises(ValueError, match="there is no conv1/kernel"):
        from_keras_mobilenet(arrays)
