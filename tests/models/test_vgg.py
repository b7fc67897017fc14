import numpy as np
import pytest

from tinyseg import Tensor, nn
from tinyseg.models import VGG
from tinyseg.models.vgg import DenseMaxPool2d


def image(*shape, dtype=np.float32):
    return Tensor(np.random.default_rng(0).standard_normal(shape).astype(dtype))


@pytest.fixture
def twins():
    pytest.importorskip("torch", reason="torch is not installed: there is no oracle for whole networks")
    import torch_twins
    return torch_twins


@pytest.mark.parametrize("depth", [11, 16])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_shape_comments(depth, batch_norm, check_shape_comments):
    model = VGG(5, depth=depth, batch_norm=batch_norm, width=3).eval()
    symbols = {"N": 2, "c": 24, "h": 2, "w": 3, "num_classes": 5}
    assert check_shape_comments(model, image(2, 3, 64, 96), lambda local: symbols) == 4


# Published parameter counts -------------------------------------------------------------------------------------------

TABLE = {                                              # channels of the convolutions, in units of the width; M: pooling
    11: "1 M 2 M 4 4 M 8 8 M 8 8 M", 13: "1 1 M 2 2 M 4 4 M 8 8 M 8 8 M", 16: "1 1 M 2 2 M 4 4 4 M 8 8 8 M 8 8 8 M",
    19: "1 1 M 2 2 M 4 4 4 4 M 8 8 8 8 M 8 8 8 8 M"}
PUBLISHED = {(11, False): 132_863_336, (11, True): 132_868_840, (13, False): 133_047_848, (16, False): 138_357_544,
             (16, True): 138_365_992, (19, False): 143_667_240}


def parameters(depth, batch_norm, width, num_classes=1000):
    """Worked out from the paper's table 1."""
    total, c_in = 0, 3
    for c in (int(entry) * width for entry in TABLE[depth].split() if entry != "M"):
        total += 9 * c_in * c + c + 2 * c * batch_norm
        c_in = c
    fc = 64 * width
    return total + sum(a * b + b for a, b in [(49 * 8 * width, fc), (fc, fc), (fc, num_classes)])


@pytest.mark.parametrize("depth, batch_norm", PUBLISHED)
def test_parameter_counts(depth, batch_norm):
    assert parameters(depth, batch_norm, width=64) == PUBLISHED[depth, batch_norm]
    model = VGG(7, depth=depth, batch_norm=batch_norm, width=2)
    assert sum(p.size for p in model.parameters()) == parameters(depth, batch_norm, width=2, num_classes=7)


@pytest.mark.slow
def test_the_papers_size():
    """138 million weights are there, and compute."""
    model = VGG().eval()
    assert sum(p.size for p in model.parameters()) == PUBLISHED[16, False]
    scores = model(image(1, 3, 224, 224)).numpy()
    assert scores.shape == (1, 1000) and 0.1 < scores.std() < 10          # He's initial weights keep the scale


# Against torchvision's architecture -----------------------------------------------------------------------------------

@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("depth", [11, 13, 16, 19])
def test_weights_go_to_pytorch_and_back(depth, batch_norm, twins):
    ours = VGG(10, depth=depth, batch_norm=batch_norm, width=4).eval()
    theirs = twins.randomised(twins.VGG(10, depth, batch_norm, width=4))
    assert ours.load_state_dict(twins.arrays(theirs)) == ([], [])
    for size in [(224, 224), (97, 131)]:
        x = image(2, 3, *size)
        expected = twins.run(theirs, x.numpy())
        np.testing.assert_allclose(ours(x).numpy(), expected, atol=1e-4, rtol=1e-4)
        assert expected.std() > 0.05

    fresh = VGG(10, depth=depth, batch_norm=batch_norm, width=4).eval()
    back = twins.load(twins.VGG(10, depth, batch_norm, width=4), fresh.state_dict()).eval()
    np.testing.assert_allclose(twins.run(back, x.numpy()), fresh(x).numpy(), atol=1e-4, rtol=1e-4)


def test_names_without_pytorch():
    assert list(VGG(depth=11, width=1).state_dict()) == [
        f"{layer}.{part}" for layer in [*(f"features.{i}" for i in (0, 3, 6, 8, 11, 13, 16, 18)),
                                        *(f"classifier.{i}" for i in (0, 3, 6))] for part in ("weight", "bias")]
    names = [name for name in VGG(depth=16, batch_norm=True, width=1).state_dict() if name.endswith("running_mean")]
    assert names == [f"features.{i}.running_mean" for i in (1, 4, 8, 11, 15, 18, 21, 25, 28, 31, 35, 38, 41)]


# Pooling and sizes ----------------------------------------------------------------------------------------------------

def test_dropout_works_in_training_alone():
    model = VGG(3, depth=11, width=2)
    x = image(1, 3, 32, 32)
    assert (model(x).numpy() != model(x).numpy()).any()
    np.testing.assert_array_equal(model.eval()(x).numpy(), model(x).numpy())


def test_poolings_that_become_dense():
    def pools(output_stride):
        layers = VGG(2, depth=11, width=1, output_stride=output_stride).features
        return [(type(layer) is DenseMaxPool2d, layer.stride[0], layer.dilation[0]) for layer in layers
                if isinstance(layer, nn.MaxPool2d)]

    strided = (False, 2, 1)
    assert pools(32) == [strided] * 5
    assert pools(16) == [strided] * 4 + [(True, 1, 1)]
    assert pools(8) == [strided] * 3 + [(True, 1, 1), (True, 1, 2)]
    layers = VGG(2, depth=16, width=1, output_stride=8).features
    rates = [layer.dilation[0] for layer in layers if isinstance(layer, nn.Conv2d)]
    assert rates == [1] * 10 + [2] * 3                                                 # DeepLab: conv5 with rate 2


@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("size", [(1, 1), (6, 9), (7, 2)])
def test_the_dense_pooling(dilation, size):
    """Of the pixels a dilation apart it makes what ordinary pooling makes of neighbours, at every offset."""
    x = image(2, 3, *size, dtype=np.float64)
    x.requires_grad = True
    y = DenseMaxPool2d(dilation)(x)
    assert y.shape == x.shape
    values = x.numpy()
    for i, j in np.ndindex(*size):
        window = values[:, :, i:i + dilation + 1:dilation, j:j + dilation + 1:dilation]
        np.testing.assert_array_equal(y.numpy()[:, :, i, j], window.max(axis=(2, 3)))
    y.sum().backward()
    assert x.grad.sum() == y.size                          # every output hands its gradient to one pixel inside


@pytest.mark.parametrize("ceil_mode, sizes", [(False, [50, 25, 12, 6, 3]), (True, [50, 25, 13, 7, 4])])
def test_odd_sizes(ceil_mode, sizes):
    maps = VGG(2, depth=11, width=1, ceil_mode=ceil_mode).pyramid(image(1, 3, 100, 100))
    assert [m.shape[2] for m in maps] == sizes


def test_too_small_an_image():
    with pytest.raises(ValueError, match="VGG: an image of 31x64 is too small; expected at least 32x32: enlarge it"):
        VGG(2, depth=11, width=1)(image(1, 3, 31, 64))
    assert VGG(2, depth=11, width=1, ceil_mode=True)(image(1, 3, 1, 1)).shape == (1, 2)
    assert VGG(2, depth=11, width=1, output_stride=8)(image(1, 3, 8, 8)).shape == (1, 2)


def test_an_unknown_depth():
    with pytest.raises(ValueError, match="VGG: depth=12; expected one of 11, 13, 16, 19"):
        VGG(depth=12)
