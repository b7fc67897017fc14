import numpy as np
import pytest

from tinyseg import Tensor, nn
from tinyseg.models.blocks import ConvNormReLU, he_initialise, norm_layer


@pytest.mark.parametrize("channels, groups", [(16, 1), (64, 4), (512, 32), (24, 1), (3, 1)])
def test_groups_of_sixteen_channels(channels, groups):
    assert norm_layer("group", channels).num_groups == groups


@pytest.mark.parametrize("norm, names", [
    ("batch", ["conv.weight", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var",
               "norm.num_batches_tracked"]),
    ("group", ["conv.weight", "norm.weight", "norm.bias"]),
    (None, ["conv.weight", "conv.bias"]),
])
def test_a_bias_only_without_normalisation(norm, names, rng):
    block = ConvNormReLU(3, 4, 3, stride=2, padding=1, norm=norm)
    assert list(block.state_dict()) == names
    x = Tensor(rng.standard_normal((2, 3, 7, 7)).astype(np.float32))
    y = block(x).numpy()
    assert y.shape == (2, 4, 4, 4) and y.min() == 0
    np.testing.assert_array_equal(y, np.maximum(block.eval().train().norm(block.conv(x)).numpy(), 0))


def test_dilation_keeps_the_size():
    assert ConvNormReLU(3, 4, (3, 5), dilation=(2, 1))(Tensor(np.zeros((2, 3, 7, 9), np.float32))).shape == (2, 4, 7, 9)


def test_variance_is_kept_from_layer_to_layer(rng):
    """Behind ten convolutions with ReLU, or two transposed ones of stride 2, values are as large as before."""
    deep = nn.Sequential(*(ConvNormReLU(64, 64, norm=None) for _ in range(10)))
    up = nn.Sequential(nn.ConvTranspose2d(64, 64, 4, stride=2, padding=1), nn.ReLU(),
                       nn.ConvTranspose2d(64, 64, 4, stride=2, padding=1), nn.ReLU())
    x = Tensor(rng.standard_normal((1, 64, 16, 16)).astype(np.float32))
    for model, size in [(deep, 16), (up, 64)]:
        he_initialise(model)
        y = model(x).numpy()[:, :, size // 4:-size // 4, size // 4:-size // 4]
        assert 0.4 < (y**2).mean() < 2


def test_he_initialisation_of_groups():
    layer = nn.ConvTranspose2d(64, 64, 4, stride=2, groups=4)
    he_initialise(layer)
    assert layer.weight.numpy().std() == pytest.approx(np.sqrt(2 / (16 * 16 / 4)), rel=0.03)
    assert (layer.bias.numpy() == 0).all()
