"""What holds for every encoder: the pyramid, dilation instead of stride, gradients."""
import numpy as np
import pytest

from tinyseg import Tensor, functional, nn, no_grad
from tinyseg.models.encoder import plan_stages
from tinyseg.models.encoders import ENCODERS, OUTPUT_STRIDES, Encoder
from tinyseg.models.summary import layer_rows, summary

SYMMETRIC = {"padding": "symmetric"}
DILATED = [(name, SYMMETRIC if name == "mobilenet_v1" else {}) for name in ENCODERS
           if name != "resnet20"]                                        # its stride is 4, less than any output stride


def image(*shape, dtype=np.float32):
    return Tensor(np.random.default_rng(0).standard_normal(shape).astype(dtype))


def lively(model):
    """Batch norm with statistics and scales of its own, so that evaluation mode has something to compute."""
    rng = np.random.default_rng(1)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.ndim == 1 and tensor.dtype.kind == "f":
            values = rng.standard_normal(tensor.shape) / 10
            tensor.writable()[...] = values if name.endswith(("bias", "mean")) else 1 + values
    return model


# The interface --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("output_stride", OUTPUT_STRIDES)
def test_the_pyramid_is_what_it_says(name, output_stride):
    model = ENCODERS[name](num_classes=7, in_channels=2, width=3, output_stride=output_stride).eval()
    assert isinstance(model, Encoder) and model(image(2, 2, 64, 96)).shape == (2, 7)
    maps = model.pyramid(image(2, 2, 64, 96))
    assert [m.shape for m in maps] == [(2, c, 64 // s, 96 // s) for c, s in zip(model.channels, model.strides)]
    assert len(maps) == len(model.channels) == len(model.strides)
    if name != "resnet20":
        assert model.strides == tuple(min(s, output_stride) for s in (2, 4, 8, 16, 32))
        assert model.dilation == 32 // output_stride


@pytest.mark.parametrize("name", ENCODERS)
def test_output_stride_changes_no_name_and_no_shape(name):
    shapes = [{key: array.shape for key, array in ENCODERS[name](width=1, output_stride=s).state_dict().items()}
              for s in OUTPUT_STRIDES]
    assert shapes[0] == shapes[1] == shapes[2]


@pytest.mark.parametrize("name", ENCODERS)
def test_arguments_are_attributes(name):
    arguments = {"num_classes": 5, "in_channels": 2, "width": 3, "output_stride": 16}
    model = ENCODERS[name](**arguments)
    assert {argument: getattr(model, argument) for argument in arguments} == arguments


@pytest.mark.parametrize("name", ENCODERS)
def test_without_classes_it_has_no_head_and_returns_features(name):
    model, whole = (ENCODERS[name](num_classes=n, width=2) for n in (0, 10))
    heads = {key for key in whole.state_dict() if key.startswith(("classifier.", "fc.", "linear."))}
    assert heads and set(model.state_dict()) == set(whole.state_dict()) - heads
    features = model.eval()(image(2, 3, 64, 64))
    assert features.shape[0] == 2 and features.shape[1] % model.channels[-1] == 0


@pytest.mark.parametrize("name", ENCODERS)
def test_no_images_and_odd_sizes(name):
    model = ENCODERS[name](num_classes=4, width=2).eval()
    assert model(image(0, 3, 32, 32)).shape == (0, 4)
    assert [m.shape[0] for m in model.pyramid(image(0, 3, 45, 61))] == [0] * len(model.strides)
    assert np.isfinite(model(image(1, 3, 45, 61)).numpy()).all()


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("arguments, message", [
    ({"output_stride": 4}, "output_stride=4; expected 8, 16 or 32"),
    ({"width": 0}, "width=0; expected at least 1 of each"),
    ({"num_classes": -1}, "num_classes=-1"),
    ({"in_channels": 0}, "in_channels=0"),
])
def test_impossible_arguments(name, arguments, message):
    with pytest.raises(ValueError) as error:
        ENCODERS[name](**{"width": 2, **arguments})
    assert message in str(error.value)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 32, 32)])
def test_wrong_inputs(name, shape):
    with pytest.raises(ValueError, match=r"\w+: input has shape .*; expected \(N, 3, H, W\)"):
        ENCODERS[name](width=2)(image(*shape))


@pytest.mark.parametrize("name", ENCODERS)
def test_weights_start_as_he_says(name):
    """Standard deviation √(2/N), N the numbers that meet in one output; scales 1, biases and shifts 0."""
    checked = 0
    for key, p in ENCODERS[name](num_classes=10, width=8).named_parameters():
        if p.ndim == 1:
            assert (p.numpy() == (0 if key.endswith("bias") else 1)).all(), key
        elif p.size > 8000:
            assert p.numpy().std() == pytest.approx((2 / p[0].size)**0.5, rel=0.04), key
            checked += 1
    assert checked >= 4


# Dilation instead of stride -------------------------------------------------------------------------------------------

def test_stages():
    """(step, rate, stride, dilation), worked out by hand; a stage of stride 1 stays as it is."""
    assert plan_stages([2, 2], 8) == [(2, 1, 2, 1), (2, 1, 4, 1)]
    assert plan_stages([1, 4, 2, 1, 2, 2], 8) == [
        (1, 1, 1, 1), (4, 1, 4, 1), (2, 1, 8, 1), (1, 1, 8, 1), (1, 1, 8, 2), (1, 2, 8, 4)]


def shared_points(name, size, output_stride, **arguments):
    """For each map of the pyramid, what the strided and the dilated net compute at the points that they share."""
    strided, dense = (lively(ENCODERS[name](num_classes=2, width=2, output_stride=s, **arguments).double().eval())
                      for s in (32, output_stride))
    dense.load_state_dict(strided.state_dict())
    x = image(1, 3, *size, dtype=np.float64)
    with no_grad():
        for sparse, full, s, d in zip(strided.pyramid(x), dense.pyramid(x), strided.strides, dense.strides):
            yield sparse.numpy(), full.numpy()[:, :, ::s // d, ::s // d]


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("name, arguments", DILATED)
def test_the_dilated_net_computes_the_strided_nets_features(name, arguments, output_stride):
    """At the points that they share, borders included, to the last digits of float64."""
    count = 0
    for sparse, full in shared_points(name, (128, 192), output_stride, **arguments):
        np.testing.assert_allclose(full, sparse, rtol=1e-12, atol=1e-12)
        assert sparse.std() > 0.01
        count += 1
    assert count == 5


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("name, arguments, size", [
    *[(name, arguments, size) for size in [(97, 131), (100, 120), (1, 33)]
      for name, arguments in [("vgg16_bn", {"ceil_mode": True}), ("resnet18", {}), ("mobilenet_v1", SYMMETRIC)]],
    ("mobilenet_v1", {"padding": "same"}, (97, 129)),                    # TensorFlow's needs 32n + 1 pixels
])
def test_the_same_for_sizes_that_no_stride_divides(name, arguments, size, output_stride):
    """Where a map of odd size keeps its last row, there is nothing that one net sees and the other does not."""
    for sparse, full in shared_points(name, size, output_stride, **arguments):
        np.testing.assert_allclose(full, sparse, rtol=1e-12, atol=1e-12)


def test_a_pooling_that_drops_the_last_row_differs_at_that_border_alone():
    """VGG without ceil_mode: of 264 rows 33 come to pool4; the strided net drops the last, the dilated net keeps it.

    So where the one pads with zeros, the other has features: below row 15, the last of pool4.  Three convolutions carry
    the difference up to row 13, and pool5 makes one of 12 and 13.  The 256 columns are never odd: there all is equal.
    """
    *_, (pool3, pool3_dense), (pool4, pool4_dense), (pool5, pool5_dense) = shared_points("vgg16", (264, 256), 8)
    np.testing.assert_allclose(pool3_dense, pool3, atol=1e-12)
    assert pool4.shape[2:] == (16, 16) and pool4_dense.shape[2:] == (17, 16)
    np.testing.assert_allclose(pool4_dense[:, :, :16], pool4, atol=1e-12)
    assert pool5.shape[2:] == (8, 8) and pool5_dense.shape[2:] == (9, 8)
    different = (abs(pool5_dense[:, :, :8] - pool5) > 1e-9).any(axis=(0, 1, 3))
    assert different.tolist() == [False] * 6 + [True] * 2


# Numbers --------------------------------------------------------------------------------------------------------------

@pytest.mark.slow
@pytest.mark.parametrize("output_stride", [32, 8])
@pytest.mark.parametrize("name", ENCODERS)
def test_gradients_of_the_whole_network(name, output_stride, rng):
    """Along a random direction in each parameter, and in the image, the loss rises as its gradient says."""
    model = lively(ENCODERS[name](num_classes=3, in_channels=2, width=2, output_stride=output_stride).double())
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.eval()                                                # it would draw anew at each call
    x = image(3, 2, 64, 64, dtype=np.float64)
    x.requires_grad = True

    def loss():
        return functional.cross_entropy(model(x)[:, :, None, None], np.array([[[0]], [[2]], [[1]]]))

    loss().backward()
    for key, tensor in [("image", x), *model.named_parameters()]:
        direction = rng.standard_normal(tensor.shape)
        direction /= np.linalg.norm(direction)
        expected, start = (tensor.grad * direction).sum(), tensor.numpy().copy()
        for step in (1e-6, 1e-7):                  # the smaller, where a maximum changes its place within the larger
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
            pytest.fail(f"{key}: backward says {expected}, the slope is {slope}")


FIELDS = {"vgg11": 150, "vgg11_bn": 150, "vgg16": 212, "vgg16_bn": 212, "resnet18": 435, "resnet34": 899,
          "resnet20": 81, "mobilenet_v1": 315}


@pytest.mark.parametrize("output_stride", [32, 8])
@pytest.mark.parametrize("name", ENCODERS)
def test_summary(name, output_stride):
    """Every layer's receptive field is known, and dilation leaves that of the last map as it was."""
    model = ENCODERS[name](num_classes=3, width=2, output_stride=output_stride)
    rows = layer_rows(model, (1, 3, 1024, 1024))
    assert sum(row.parameters for row in rows) == sum(p.size for p in model.parameters())
    assert "?" not in summary(model, (1, 3, 1024, 1024))
    size = 1024 // model.strides[-1]
    last = [row for row in rows if row.output_shape == (1, model.channels[-1], size, size)][-1]
    assert last.stride == (model.strides[-1],) * 2 and last.receptive_field == (FIELDS[name],) * 2
