import numpy as np
import pytest

from tinyseg import Tensor, functional, nn, no_grad
from tinyseg.models.summary import layer_rows
from tinyseg.models.upsampling import (SKIPS, UPSAMPLING, MaxUnpooling, initialise, join, joined_channels, max_places,
                                       upsampling_layer)


def image(*shape, dtype=np.float64):
    return Tensor(np.random.default_rng(0).standard_normal(shape).astype(dtype))


def places(channels, size):
    return [max_places(image(2, channels, *size))]


# Every method ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("method", UPSAMPLING)
@pytest.mark.parametrize("c_in, c_out", [(4, 4), (6, 3), (2, 5)])
@pytest.mark.parametrize("size", [(6, 8), (5, 7), (5, 8)])
def test_every_method_gives_the_size_that_is_asked_for(method, c_in, c_out, size):
    layer = upsampling_layer(method, c_in, c_out).double()
    y = layer(image(2, c_in, 3, 4), size, places(c_out, size))
    assert y.shape == (2, c_out, *size) and y.dtype == np.float64
    if method != "max_unpool":
        whole = layer(image(2, c_in, 3, 4))
        assert whole.shape == (2, c_out, 6, 8)
        np.testing.assert_array_equal(y.numpy(), whole.numpy()[:, :, :size[0], :size[1]])


@pytest.mark.parametrize("method", [method for method in UPSAMPLING if method != "max_unpool"])
@pytest.mark.parametrize("stride", [2, 3, 8])
def test_other_strides(method, stride):
    assert upsampling_layer(method, 2, 2, stride).double()(image(1, 2, 3, 4)).shape == (1, 2, 3 * stride, 4 * stride)


@pytest.mark.parametrize("method", [method for method in UPSAMPLING if method != "max_unpool"])
def test_more_than_there_is_cannot_be_asked_for(method):
    with pytest.raises(ValueError, match=r"output_size=\(7, 8\) is larger than what comes out, \(6, 8\)"):
        upsampling_layer(method, 2, 2).double()(image(1, 2, 3, 4), (7, 8))


def test_the_rules():
    x = Tensor(np.array([[[[1.0, 2.0], [3.0, 4.0]]]]))
    nearest, nails = (upsampling_layer(method, 1, 1)(x).numpy()[0, 0] for method in ("nearest", "bed_of_nails"))
    np.testing.assert_array_equal(nearest, [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]])
    np.testing.assert_array_equal(nails, [[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]])
    bilinear = upsampling_layer("bilinear", 1, 1)(x).numpy()[0, 0]
    np.testing.assert_allclose(bilinear[1], [1.5, 1.75, 2.25, 2.5])


@pytest.mark.parametrize("stride", [2, 3, 4, 8])
def test_transposed_convolution_starts_as_bilinear_interpolation(stride):
    """Equal to the last bit of rounding where no zeros from beyond the border come in."""
    x, b = image(2, 3, 6, 7), stride
    up, bilinear = (upsampling_layer(method, 3, 3, stride).double()
                    for method in ("transposed_bilinear", "bilinear"))
    np.testing.assert_allclose(up(x).numpy()[:, :, b:-b, b:-b], bilinear(x).numpy()[:, :, b:-b, b:-b], atol=1e-12)
    summed = upsampling_layer("transposed_bilinear", 6, 3, stride).double()(Tensor(np.concatenate([x.data, x.data], 1)))
    np.testing.assert_allclose(summed.numpy(), 2 * up(x).numpy(), atol=1e-12)


def test_initialise_leaves_bilinear_kernels_alone_and_draws_the_others():
    model = nn.Sequential(upsampling_layer("transposed_bilinear", 3, 3), upsampling_layer("transposed", 3, 3))
    before = model.state_dict()
    initialise(model)
    after = model.state_dict()
    np.testing.assert_array_equal(after["0.weight"], before["0.weight"])
    assert (after["1.weight"] != before["1.weight"]).all() and not after["0.bias"].any() and not after["1.bias"].any()


def test_kernels_of_transposed_convolutions():
    kernels = {method: [upsampling_layer(method, 1, 1, stride).kernel_size[0] for stride in (2, 3, 8)]
               for method in ("transposed", "transposed_bilinear")}
    assert kernels == {"transposed": [2, 3, 8], "transposed_bilinear": [4, 5, 16]}
    layer = upsampling_layer("transposed_bilinear", 2, 2, 8, padding=0, bias=False)
    assert layer.double()(image(1, 2, 3, 3)).shape == (1, 2, 32, 32) and layer.bias is None


# Max-unpooling --------------------------------------------------------------------------------------------------------

def test_max_unpooling_puts_maxima_back():
    x = image(2, 3, 5, 7)
    pooled = functional.max_pool2d(x, 2, ceil_mode=True)
    y = MaxUnpooling(3, 3, [3])(pooled, (5, 7), [max_places(x)]).numpy()
    assert np.count_nonzero(y) == pooled.size
    np.testing.assert_array_equal(y[y != 0], x.numpy()[y != 0])


def test_several_poolings_are_undone_the_last_one_first():
    """2 scores go through the 3 and 4 channels that were pooled, by 1x1 convolutions, to 5."""
    fine = image(1, 4, 7, 9)
    coarse = image(1, 3, 4, 5)
    layer = MaxUnpooling(2, 5, pooled=[3, 4]).double()
    assert [tuple(conv.weight.shape[:2]) for conv in layer.conv] == [(3, 2), (4, 3), (5, 4)]
    x = image(1, 2, 2, 3)
    y = layer(x, (7, 9), [max_places(coarse), max_places(fine)])
    a = functional.max_unpool2d(layer.conv[0](x), max_places(coarse)[0], 2, output_size=(4, 5))
    b = functional.max_unpool2d(layer.conv[1](a), max_places(fine)[0], 2, output_size=(7, 9))
    np.testing.assert_array_equal(y.numpy(), layer.conv[2](b).numpy())


def test_without_places_there_is_nothing_to_undo():
    with pytest.raises(ValueError, match="max_unpool: 0 max poolings given to undo, expected 1; an encoder without"):
        upsampling_layer("max_unpool", 2, 2).double()(image(1, 2, 3, 3))


# Skips ----------------------------------------------------------------------------------------------------------------

def test_joins():
    x, copy = image(2, 3, 4, 5), Tensor(np.ones((2, 3, 4, 5)))
    assert join("none", x, copy) is x
    np.testing.assert_array_equal(join("sum", x, copy).numpy(), x.numpy() + 1)
    both = join("concat", x, copy).numpy()
    np.testing.assert_array_equal(both, np.concatenate([copy.numpy(), x.numpy()], axis=1))
    assert [joined_channels(skip, 3) for skip in SKIPS] == [3, 3, 6]


@pytest.mark.parametrize("skip, shape", [("sum", (2, 3, 4, 4)), ("sum", (2, 1, 4, 5)), ("concat", (2, 3, 5, 5))])
def test_what_does_not_fit_is_not_joined(skip, shape):
    with pytest.raises(ValueError) as error:
        join(skip, image(2, 3, 4, 5), image(*shape))
    assert f"skip={skip!r}: the copy is {shape} but what comes up from below is (2, 3, 4, 5)" in str(error.value)


# The rest -------------------------------------------------------------------------------------------------------------

def test_an_unknown_method():
    with pytest.raises(ValueError, match="upsampling='cubic'; expected one of 'nearest', 'bed_of_nails'"):
        upsampling_layer("cubic", 1, 1)


@pytest.mark.parametrize("method, averages", [("nearest", 2), ("bed_of_nails", 1), ("bilinear", 3), ("transposed", 2),
                                              ("transposed_bilinear", 3), ("sub_pixel", 4)])
def test_how_much_they_see(method, averages):
    """Two neighbouring pixels of the upsampled image see so many of the 2x2 averages, one beside the other."""
    model = nn.Sequential(nn.AvgPool2d(2), upsampling_layer(method, 1, 1), nn.Conv2d(1, 1, 2))
    row = layer_rows(model, (1, 1, 16, 16))[-1]
    assert row.receptive_field == (2 * averages, 2 * averages) and row.stride == (1, 1)


def test_pixel_shuffle(rng):
    x = rng.standard_normal((2, 12, 3, 4))
    y = functional.pixel_shuffle(x, 2).numpy()
    assert y.shape == (2, 3, 6, 8)
    for n, c, h, w, i, j in np.ndindex(2, 3, 3, 4, 2, 2):
        assert y[n, c, 2 * h + i, 2 * w + j] == x[n, 4 * c + 2 * i + j, h, w]
    np.testing.assert_array_equal(functional.pixel_shuffle(x[0], 2).numpy(), y[0])
    with no_grad():
        assert nn.PixelShuffle(1)(x).shape == x.shape and functional.pixel_shuffle(x[:0], 2).shape == (0, 3, 6, 8)


def test_pixel_shuffle_in_pytorch(rng):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x = rng.standard_normal((2, 18, 3, 4))
    np.testing.assert_array_equal(functional.pixel_shuffle(x, 3).numpy(),
                                  torch.nn.functional.pixel_shuffle(torch.from_numpy(x), 3).numpy())


@pytest.mark.parametrize("channels, factor, message", [
    (6, 2, "has 6 channels; expected a multiple of upscale_factor² = 4"),
    (4, 0, "upscale_factor=0; expected an integer, at least 1"),
    (4, (2, 2), "expected an integer"),
])
def test_pixel_shuffle_refuses(channels, factor, message):
    with pytest.raises(ValueError) as error:
        functional.pixel_shuffle(np.zeros((1, channels, 2, 2)), factor)
    assert message in str(error.value)
