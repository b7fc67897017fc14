"""Overlap-tile prediction: no seams, and memory that the tile bounds."""
import tracemalloc

import numpy as np
import pytest

import tinyseg.functional as F
from tinyseg import Tensor, inference, nn, no_grad
from tinyseg.data.transforms import normalize
from tinyseg.models import FCN, DeepLab, PatchClassifier, SegNet, UNet
from tinyseg.tiling import common_stride, tiled_predict, tiled_scores, tiles


class Local(nn.Module):
    """Any size goes in and comes out, by strides of 3 and 2: no multiple of 2^n."""

    def __init__(self):
        self.down = nn.Sequential(nn.Conv2d(3, 4, 5, stride=3, padding=2), nn.BatchNorm2d(4), nn.ReLU(),
                                  nn.MaxPool2d(2, ceil_mode=True))
        self.up = nn.Sequential(nn.ConvTranspose2d(4, 4, 6, stride=6), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1))

    def forward(self, x):
        return self.up(self.down(x))[:, :, :x.shape[2], :x.shape[3]]


class Stretched(nn.Module):
    """Coarse scores, stretched to the size of the image, as common code for DeepLab does."""

    def __init__(self, up):
        self.down, self.up = nn.Sequential(nn.Conv2d(3, 3, 3, stride=4, padding=1)), up

    def forward(self, x):
        return self.up(self.down(x), x.shape[2:])


MODELS = {
    "unet": (lambda: UNet(3, width=2, depth=2), 4),
    "unet, paper": (lambda: UNet(3, width=2, depth=2, padding="valid", norm=None), 4),
    "unet, deep": (lambda: UNet(3, width=1, depth=4, padding="valid", norm=None), 16),
    "sliding window": (lambda: PatchClassifier(3, width=2, window=22), 1),
    "strides of 3 and 2": (Local, 6),
}


def photo(rng, *size):
    return rng.integers(0, 256, (*size, 3), np.uint8)


def trained(model, rng):
    """Statistics and scores that a fresh model does not have."""
    for name, buffer in model.named_buffers():
        if name.endswith("mean"):
            buffer.writable()[...] = rng.normal(0, 0.1, buffer.shape)
        if name.endswith("var"):
            buffer.writable()[...] = rng.uniform(0.5, 2, buffer.shape)
    for name, parameter in model.named_parameters():
        if "score" in name:                                # FCN starts with scores of 0
            parameter.writable()[...] = rng.standard_normal(parameter.shape)
    return model


def seam(model, image, tile):
    """The largest difference to the whole image's scores, relative to their range."""
    whole = inference.scores(model, image)
    assert np.ptp(whole) > 1e-3
    return abs(tiled_scores(model, image, tile) - whole).max() / np.ptp(whole)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("size, tile", [((97, 130), 33), ((64, 96), 32), ((60, 31), 7), ((61, 100), 1000)])
def test_no_seam(rng, name, size, tile):
    model = trained(MODELS[name][0](), rng)
    assert seam(model, photo(rng, *size), tile) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("make", [
    lambda: FCN(3, variant="8s", width=1), lambda: SegNet(3, width=1), lambda: DeepLab(3, version="v1", width=1),
    lambda: DeepLab(3, version="v2", width=1, encoder="resnet18"), lambda: UNet(3, width=1, depth=4),
], ids=["fcn", "segnet", "deeplab v1", "deeplab v2", "unet"])
def test_no_seam_in_the_papers_models(rng, make):
    """Along a strip that is longer than what a pixel sees."""
    assert seam(trained(make(), rng), photo(rng, 1203, 34), 96) < 1e-5


def test_the_papers_figure_2(rng):
    """572 pixels for 388, those at the image's edge mirrored; cut at multiples of 16, so 384 of the 388 are kept."""
    model = UNet(2, width=1, depth=4, padding="valid", norm=None)
    seen = []
    model.contracting[0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[2:]))
    image = photo(rng, 384, 768)
    blocks = list(tiles(model, image, 384))
    assert seen[-2:] == [(572, 572), (572, 572)] and [block[1] for block in blocks] == [slice(0, 384), slice(384, 768)]
    mirrored = np.pad(image, ((94, 94), (94, 94), (0, 0)), mode="reflect")
    with no_grad():
        second = model.eval()(Tensor(normalize(mirrored[:, 384:])[None])).numpy()[0]
    assert second.shape == (2, 388, 388)
    np.testing.assert_allclose(blocks[1][2], second[:, 2:386, 2:386], atol=1e-5)


def test_labels(rng):
    model, image = trained(UNet(3, width=4, depth=2), rng), photo(rng, 45, 70)
    labels = tiled_predict(model, image, 16)
    assert labels.dtype == np.uint8 and len(np.unique(labels)) > 1
    np.testing.assert_array_equal(labels, inference.predict(model, image))


def test_tiles_cover_each_pixel_once(rng):
    count = np.zeros((50, 61), int)
    for rows, columns, scores in tiles(UNet(3, width=1, depth=1), photo(rng, 50, 61), 16):
        count[rows, columns] += 1
        assert scores.shape == (3, rows.stop - rows.start, columns.stop - columns.start)
    assert (count == 1).all()


@pytest.mark.parametrize("name", MODELS)
def test_stride(name):
    make, stride = MODELS[name]
    assert common_stride(make()) == stride


def test_scores_that_are_stretched(rng):
    """Of a size that the stride does not divide, the whole image's scores are out of step; mirrored, they fit."""
    model = Stretched(lambda x, size: F.interpolate(x, tuple(size), mode="bilinear"))
    assert seam(model, photo(rng, 48, 64), 16) < 1e-5
    image = photo(rng, 46, 61)
    mirrored = np.pad(image, ((1, 1), (1, 2), (0, 0)), mode="reflect")
    whole = inference.scores(model, mirrored)[:, 1:47, 1:62]
    np.testing.assert_allclose(tiled_scores(model, image, 16), whole, atol=1e-5)


def test_in_no_grad_and_in_training(rng):
    model, image = UNet(3, width=2, depth=1), photo(rng, 20, 20)
    expected = inference.predict(model, image)
    with no_grad():
        np.testing.assert_array_equal(tiled_predict(model.train(), image, 8), expected)
    assert model.training


@pytest.mark.slow
def test_memory_is_the_tiles(rng):
    """4096 x 4096 pixels, whose scores alone would take 512 MiB, in less than 128; 64 are image and labels."""
    model, image = UNet(8, width=2, depth=1, norm=None), np.tile(photo(rng, 256, 256), (16, 16, 1))
    tiled_predict(model, image[:300, :300], 256)                               # compiles the kernels
    tracemalloc.start()
    try:
        labels = tiled_predict(model, image, 256)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 128 * 2**20
    assert len(np.unique(labels)) > 1
    part = slice(1000, 1040)
    around = image[1000 - 40:1040 + 40, 1000 - 40:1040 + 40]
    np.testing.assert_array_equal(labels[part, part], inference.predict(model, around)[40:-40, 40:-40])


class Function(nn.Module):
    def __init__(self, function):
        self.conv, self.function = nn.Conv2d(3, 3, 3, padding=1), function

    def forward(self, x):
        return self.function(self.conv(x))


@pytest.mark.parametrize("model, why", [
    (lambda: DeepLab(3, version="v3", width=1), "DeepLab looks at the whole image .*predict the whole image"),
    (lambda: Function(lambda x: x + F.adaptive_avg_pool2d(x, 1)), "Function looks at the whole image"),
    (lambda: UNet(3, width=16, depth=1, norm="group"), "UNet has GroupNorm, whose statistics are the whole image's"),
    (lambda: Function(lambda x: F.max_pool2d(x, 3, 1, 1)), "what Function sees of the image is not known"),
    (lambda: nn.Conv2d(3, 2, 3, stride=2, padding=1), r"Conv2d makes scores \(2.0, 2.0\) pixels apart"),
    (lambda: nn.Conv2d(3, 2, 3), "Conv2d makes scores for 28x38 pixels of 30x40; it needs a legal_size"),
])
def test_where_tiles_would_differ(rng, model, why):
    with pytest.raises(ValueError, match=why):
        tiled_predict(model(), photo(rng, 30, 40), 16)


@pytest.mark.parametrize("image", [np.zeros((4, 4)), np.zeros((4, 4, 3)), np.zeros((4, 0, 3), np.uint8)])
def test_wrong_images(image):
    with pytest.raises(ValueError, match=r"expected \(H, W, 3\) uint8"):
        tiled_scores(UNet(2, width=1, depth=1), image)


def test_wrong_tile(rng):
    with pytest.raises(ValueError, match="tile=0"):
        tiled_scores(UNet(2, width=1, depth=1), photo(rng, 4, 4), 0)
