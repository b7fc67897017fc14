"""Published weights, loaded into our models, give the published results.  Skipped where the weights are not there."""
import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from tinyseg import Tensor, functional, no_grad
from tinyseg.data import CIFAR10, VOCSegmentation
from tinyseg.data.transforms import normalize
from tinyseg.inference import evaluate
from tinyseg.metrics import ConfusionMatrix
from tinyseg.models.deeplab_mobilenet import DeepLabV3MobileNetV2, from_tflite
from tinyseg.models.mobilenet import MobileNetV1, for_normalized_images, from_keras_mobilenet
from tinyseg.models.resnet import ResNet
from tinyseg.nn.module import watch
from tinyseg.weights import read_weights

FOLDER = pathlib.Path(__file__).parents[2] / "shared" / "weights"


@pytest.fixture
def weights():
    """Path of a file of published weights."""
    def find(name):
        if not (FOLDER / name).is_file():
            pytest.skip(f"no published weights here: {name} is not beside the checkout")
        return FOLDER / name
    return find


def picture(path, size):
    """(3, size, size) uint8"""
    image = Image.open(path).convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)


# A plain NumPy evaluation, on TensorFlow's layouts --------------------------------------------------------------------

def convolve(x, kernel, stride=1, dilation=1, depthwise=False):
    """x (H, W, C); kernel (KH, KW, in, out), or (KH, KW, C, 1) if depthwise; TensorFlow's padding "SAME"."""
    out = [-(-n // stride) for n in x.shape[:2]]
    total = [max((o - 1) * stride + dilation * (k - 1) + 1 - n, 0) for o, k, n in zip(out, kernel.shape, x.shape)]
    x, y = np.pad(x, [(t // 2, t - t // 2) for t in total] + [(0, 0)]), 0
    for u, v in np.ndindex(*kernel.shape[:2]):
        rows, columns = (slice(k * dilation, k * dilation + (o - 1) * stride + 1, stride) for k, o in zip((u, v), out))
        tap = x[rows, columns]
        y = y + (tap * kernel[u, v, :, 0] if depthwise else tap @ kernel[u, v])
    return y


# MobileNetV1 ----------------------------------------------------------------------------------------------------------

@pytest.fixture
def mobilenet(weights):
    """(Keras's arrays, our model with them)"""
    arrays = read_weights(weights("mobilenet_v1_1.0_224_tfjs_float32_partial.npz"))
    model = MobileNetV1(padding="same").eval()
    missing, unexpected = model.load_state_dict(from_keras_mobilenet(arrays), strict=False)
    assert not unexpected and missing == [f"blocks.12.pointwise.{name}" for name in (
        "conv.weight", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var", "norm.num_batches_tracked")]
    return arrays, model


@pytest.mark.slow
@pytest.mark.parametrize("size", [224, 129])
def test_mobilenet_v1_is_what_numpy_computes(size, mobilenet, weights):
    """Up to conv_pw_12, the last layer whose weights the file has."""
    arrays, model = mobilenet
    x = picture(weights("verify/cat.bmp"), size) / 127.5 - 1

    def layer(x, name, stride=1):
        depthwise = "dw" in name
        x = convolve(x, arrays[f"{name}/{'depthwise_' * depthwise}kernel"].astype(float), stride, 1, depthwise)
        gamma, beta, mean, variance = (arrays[f"{name}_bn/{part}"].astype(float)
                                       for part in ("gamma", "beta", "moving_mean", "moving_variance"))
        return np.clip(gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta, 0, 6)

    expected = layer(x.transpose(1, 2, 0), "conv1", stride=2)
    with no_grad():
        ours = model.conv1(Tensor(x[None].astype(np.float32)))
        for i, block in enumerate(list(model.blocks)[:12], start=1):
            expected = layer(expected, f"conv_dw_{i}", stride=2 if i in (2, 4, 6, 12) else 1)
            expected = layer(expected, f"conv_pw_{i}")
            ours = block(ours)
            np.testing.assert_allclose(ours.numpy()[0].transpose(1, 2, 0), expected, atol=2e-4, err_msg=f"block {i}")
    assert ours.shape == (1, 1024, -(-size // 32), -(-size // 32))


@pytest.mark.slow
def test_mobilenet_v1_sees_what_it_was_trained_on(mobilenet, weights, shared_data):
    """Photographs give every layer the statistics that ImageNet gave it: so nothing is mixed up on the way there.

    The means of the channels that arrive at a batch normalisation are about those that it keeps, even for 11 images,
    and so are the variances.  Those of the first are far off with red and blue exchanged, or images from 0 to 1.
    """
    _, model = mobilenet
    voc = VOCSegmentation(shared_data("voc-sample"), "all")
    images = [picture(weights(f"verify/{name}"), 224) for name in ("cat.bmp", "parrot.jpg", "sunflower.bmp")]
    images += [picture(path, 224) for path in voc.image_paths]

    def deviations(x):
        """For each normalisation: correlation of the means with its own; ratio of the variances to its own."""
        rows = []

        def note(path, module, inputs, output):
            if path.endswith("norm") and not path.startswith("blocks.12.pointwise"):
                values, mean = inputs[0].numpy(), module.running_mean.numpy()
                scaled = values.var(axis=(0, 2, 3)) / module.running_var.numpy()
                rows.append((np.corrcoef(values.mean(axis=(0, 2, 3)), mean)[0, 1], np.median(scaled)))
        with no_grad(), watch(model, note):
            maps = model.pyramid(Tensor(x.astype(np.float32)))
        return np.array(rows).T, maps

    (correlation, variance), maps = deviations(np.stack(images) / 127.5 - 1)
    assert len(correlation) == 26 and correlation[0] > 0.8 and correlation[1:].min() > 0.975
    assert 0.7 < variance.min() and variance.max() < 1.4
    for features in maps[:4]:
        alive = features.numpy().max(axis=(0, 2, 3)) > 0
        assert alive.mean() > 0.95 and features.numpy().std() > 0.5
    for wrong in (np.stack(images)[:, ::-1] / 127.5 - 1, np.stack(images) / 255):
        assert deviations(wrong)[0][0, 0] < 0


# DeepLab v3 on MobileNetV2 --------------------------------------------------------------------------------------------

@pytest.fixture
def deeplab(weights):
    state = from_tflite(read_weights(weights("deeplabv3_mnv2_pascal_dequant.npz")))
    model = DeepLabV3MobileNetV2(num_classes=21, norm=None).eval()
    model.load_state_dict(state)
    return model, state


def run_operators(operators, arrays, x):
    """The list of operators that comes with the weights, one after the other, in NumPy; x (H, W, 3)."""
    values = {operators[0]["inputs"][0]: x}
    activations = {0: lambda y: y, 1: lambda y: np.maximum(y, 0), 3: lambda y: np.clip(y, 0, 6)}
    for number, op in enumerate(operators):
        inputs = [values.get(i) for i in op["inputs"]]
        if op["op"].endswith("CONV_2D"):
            y = convolve(inputs[0], arrays[f"{number:03}/weight"], op["StrideH"], op["DilationHFactor"],
                         op["op"].startswith("DEPTHWISE")) + arrays[f"{number:03}/bias"]
        elif op["op"] == "ADD":
            y = inputs[0] + inputs[1]
        elif op["op"] == "AVERAGE_POOL_2D":
            y = inputs[0].mean(axis=(0, 1), keepdims=True)
        elif op["op"] == "CONCATENATION":
            y = np.concatenate(inputs, axis=2)
        elif op["op"] == "RESIZE_BILINEAR":                              # align_corners
            y = inputs[0]
            for axis, size in enumerate(op["output_shape"][1:3]):
                place = np.linspace(0, y.shape[axis] - 1, size)
                low = np.floor(place).astype(int)
                high, share = np.minimum(low + 1, y.shape[axis] - 1), np.expand_dims(place - low, 1 - axis)[..., None]
                y = y.take(low, axis) * (1 - share) + y.take(high, axis) * share
        else:
            assert op["op"] in ("QUANTIZE", "ARG_MAX"), op["op"]
            y = inputs[0]
        assert y.shape == tuple(op["output_shape"][1:])[:3] or op["op"] == "ARG_MAX"
        values[op["outputs"][0]] = activations[op.get("FusedActivationFunction", 0)](y)
    return y


@pytest.mark.slow
def test_deeplab_is_what_its_list_of_operators_computes(deeplab, weights):
    model, _ = deeplab
    path = weights("deeplabv3_mnv2_pascal_dequant.npz")
    operators = json.loads(path.with_suffix(".json").read_text())["ops"]
    x = ((picture(weights("verify/parrot.jpg"), 513) - 128.0) / 128).astype(np.float32)
    expected = run_operators(operators, read_weights(path), x.transpose(1, 2, 0))
    with no_grad():
        ours = model(Tensor(x[None])).numpy()[0].transpose(1, 2, 0)
    np.testing.assert_allclose(ours, expected, atol=2e-3)
    assert (ours.argmax(2) == expected.argmax(2)).mean() > 0.9999
    counts = np.bincount(ours.argmax(2).ravel(), minlength=21)
    assert set(counts.argsort()[-2:]) == {0, 3}, "a bird on a background"


def present(confusion):
    """Mean IoU over the classes that occur in the masks."""
    return np.nanmean(confusion.iou[confusion.matrix.sum(axis=1) > 0])


@pytest.mark.slow
def test_deeplab_segments_voc(deeplab, shared_data):
    """Each image stretched to 513 x 513, as the network was made for, and the scores brought back to its size."""
    (model, _), voc, confusion = deeplab, VOCSegmentation(shared_data("voc-sample"), "all"), ConfusionMatrix(21)
    for index in range(len(voc)):
        _, mask = voc.read(index)
        x = (picture(voc.image_paths[index], 513)[None].astype(np.float32) - 128) / 128
        with no_grad():
            scores = functional.interpolate(model(Tensor(x)), mask.shape, mode="bilinear").numpy()
        confusion.update(scores.argmax(axis=1)[0], mask)
    assert len(voc) == 8 and present(confusion) >= 0.60 and confusion.pixel_accuracy >= 0.9


@pytest.mark.slow
def test_deeplab_segments_voc_in_its_own_size(deeplab, shared_data):
    """With the first convolution rewritten for images as the rest of the library normalises them."""
    model, state = deeplab
    model.load_state_dict(for_normalized_images(state, "encoder.conv", half_range=128))
    confusion = evaluate(model, VOCSegmentation(shared_data("voc-sample"), "all")).confusion
    assert present(confusion) >= 0.60 and confusion.pixel_accuracy >= 0.9


# ResNet-20 ------------------------------------------------------------------------------------------------------------

@pytest.mark.slow
def test_resnet_20_classifies_cifar_10(weights, shared_data):
    """1,000 test images, 100 of each class.  It has 91.78 % of the original images right; these are JPEGs."""
    data = CIFAR10(shared_data("cifar10"), "test")
    model = ResNet(num_classes=10, depth=20).eval()
    missing, unexpected = model.load_state_dict(read_weights(weights("cifar10_resnet20.npz")), strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing)
    right = 0
    with no_grad():
        for start in range(0, 1000, 100):
            images = np.stack([normalize(data[index][0]) for index in range(start, start + 100)])
            right += (model(Tensor(images)).numpy().argmax(axis=1) == data.labels[start:start + 100]).sum()
    assert right >= 780
