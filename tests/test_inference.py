"""Images of any size, models of any size policy, and figures over a whole dataset."""
import numpy as np
import pytest

from tinyseg import Tensor, functional, inference, nn, no_grad
from tinyseg.data import Scenes
from tinyseg.data.transforms import normalize
from tinyseg.graph import grad_enabled
from tinyseg.metrics import ConfusionMatrix
from tinyseg.models import UNet


@pytest.fixture
def model():
    return UNet(3, width=2, depth=2).eval()


def photo(rng, height, width):
    return rng.integers(0, 256, (height, width, 3), np.uint8)


def run(model, image):
    with no_grad():
        return model(Tensor(normalize(image)[None])).numpy()[0]


def test_a_legal_size_goes_in_as_it_is(model, rng):
    image = photo(rng, 8, 12)
    assert np.array_equal(inference.scores(model, image), run(model, image))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (5, 7), (33, 47)])
def test_any_size(model, rng, size):
    image = photo(rng, *size)
    labels, p = inference.predict(model, image), inference.probabilities(model, image)
    assert labels.shape == size and labels.dtype == np.uint8
    assert p.shape == (3, *size) and p.dtype == np.float32
    np.testing.assert_allclose(p.sum(axis=0), 1, rtol=1e-5)
    assert np.array_equal(p.argmax(axis=0), labels)


def test_padding_is_a_mirror_around_the_image(model, rng):
    image = photo(rng, 6, 9)                              # to 8 x 12: rows 1 + 1, columns 1 + 2
    mirrored = np.pad(image, ((1, 1), (1, 2), (0, 0)), mode="reflect")
    assert np.array_equal(inference.scores(model, image), run(model, mirrored)[:, 1:7, 1:10])


def test_a_model_without_padding_gets_its_border_from_the_mirror(rng):
    model = UNet(2, width=1, depth=2, padding="valid", norm=None).eval()
    image = photo(rng, 40, 52)                            # of 80 x 92 pixels it predicts the 40 x 52 in the middle
    assert model.output_size(80, 92) == (40, 52)
    mirrored = np.pad(image, ((20, 20), (20, 20), (0, 0)), mode="reflect")
    assert np.array_equal(inference.scores(model, image), run(model, mirrored))
    assert inference.predict(model, photo(rng, 3, 41)).shape == (3, 41)


def test_a_model_without_a_size_policy(rng):
    image = photo(rng, 3, 5)
    assert inference.predict(nn.Conv2d(3, 2, 1), image).shape == (3, 5)


def test_modes_are_restored_and_no_graph_is_left(model, rng):
    model.train()
    model.max_pool.eval()                                 # a part that was frozen stays so
    before = model.state_dict()
    inference.predict(model, photo(rng, 8, 8))
    assert model.training and model.conv_1x1.training and not model.max_pool.training and grad_enabled()
    after = model.state_dict()
    assert all(np.array_equal(before[name], after[name]) for name in before), "running statistics have moved"


def test_modes_are_restored_after_an_error(rng):
    class Broken(nn.Module):
        def forward(self, x):
            raise ValueError("broken")

    model = Broken()
    with pytest.raises(ValueError, match="broken"):
        inference.predict(model, photo(rng, 2, 2))
    assert model.training and grad_enabled()


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 1), (0, 4, 3), (1, 4, 4, 3)])
def test_wrong_shapes(model, shape):
    with pytest.raises(ValueError, match=r"expected \(H, W, 3\)"):
        inference.predict(model, np.zeros(shape, np.uint8))


def test_wrong_dtype(model):
    with pytest.raises(TypeError, match="float64; expected uint8"):
        inference.predict(model, np.zeros((4, 4, 3)))


def test_evaluate_pools_the_pixels_of_all_images(model):
    scenes = Scenes(3, (9, 11), 3)
    confusion, loss, _ = inference.evaluate(model, scenes)
    expected, losses, pixels = ConfusionMatrix(3), 0.0, 0
    for image, mask in scenes:
        expected.update(inference.predict(model, image), mask)
        p, valid = inference.probabilities(model, image), mask != 255
        losses -= np.log(np.take_along_axis(p, np.where(valid, mask, 0)[None].astype(int), axis=0)[0][valid]).sum()
        pixels += valid.sum()
    assert np.array_equal(confusion.matrix, expected.matrix)
    assert loss == pytest.approx(losses / pixels, rel=1e-5)


def test_evaluate_refuses_nothing_but_void(model):
    class Void(Scenes):
        def read(self, index):
            image, mask = super().read(index)
            return image, np.full_like(mask, 255)

    with pytest.raises(ValueError, match="all pixels of the dataset are void"):
        inference.evaluate(model, Void(2, 8, 3))


# Several views of one image -------------------------------------------------------------------------------------------

@pytest.fixture
def any_size():
    """A model that takes any size, whose scores depend on a pixel's neighbours and are not symmetric."""
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, (1, 4), padding="same"))


def resized(planes, height, width):
    return functional.interpolate(planes, (height, width), mode="bilinear").numpy()


def run_at(model, image, height, width):
    """Scores of an image that was resized after normalisation, resized back."""
    with no_grad():
        return resized(model(Tensor(resized(normalize(image), height, width)[None])).numpy()[0], *image.shape[:2])


@pytest.mark.parametrize("fusion", inference.FUSIONS)
def test_one_view_is_the_plain_prediction(model, rng, fusion):
    image = photo(rng, 9, 14)
    assert np.array_equal(inference.scores(model, image, scales=[1], fusion=fusion), inference.scores(model, image))


@pytest.mark.parametrize("scale, size", [(0.5, (4, 5)), (2, (14, 20)), (0.01, (1, 1))])
def test_a_view_at_another_scale(any_size, rng, scale, size):
    image = photo(rng, 7, 10)
    assert np.array_equal(inference.scores(any_size, image, scales=[scale]), run_at(any_size, image, *size))


def test_a_view_is_fitted_to_the_model(model, rng):
    image = photo(rng, 10, 12)                            # at half the size 5 x 6, mirrored to 8 x 8
    small = np.pad(resized(normalize(image), 5, 6), ((0, 0), (1, 2), (1, 1)), mode="reflect")
    with no_grad():
        expected = model(Tensor(small[None])).numpy()[0, :, 1:6, 1:7]
    assert np.array_equal(inference.scores(model, image, scales=[0.5]), resized(expected, 10, 12))


def test_fusion_by_hand(any_size, rng):
    """"max": the highest score of each class.  "mean": the mean probability, and its logarithm as the score."""
    image = photo(rng, 8, 12)
    views = [run_at(any_size, image, 4, 6), run_at(any_size, image[:, ::-1], 4, 6)[:, :, ::-1],
             run(any_size, image), run(any_size, image[:, ::-1])[:, :, ::-1]]
    settings = {"scales": (0.5, 1.0), "flip": True}
    highest = inference.scores(any_size, image, fusion="max", **settings)
    np.testing.assert_allclose(highest, np.max(views, axis=0), rtol=1e-5, atol=1e-6)
    mean = np.mean([np.exp(view) / np.exp(view).sum(axis=0) for view in views], axis=0)
    np.testing.assert_allclose(inference.probabilities(any_size, image, **settings), mean, rtol=1e-5)
    np.testing.assert_allclose(inference.scores(any_size, image, **settings), np.log(mean), rtol=1e-5, atol=1e-6)
    assert np.array_equal(inference.predict(any_size, image, **settings), mean.argmax(axis=0))
    assert inference.scores(any_size, image, **settings).dtype == np.float32


def test_the_mean_of_extreme_scores_is_finite(any_size, rng):
    for parameter in any_size.parameters():
        parameter.writable()[...] *= 100                  # probabilities of classes underflow to 0 in float32
    image = photo(rng, 8, 12)
    assert inference.probabilities(any_size, image).min() == 0
    assert np.isfinite(inference.scores(any_size, image, flip=True)).all()


@pytest.mark.parametrize("fusion", inference.FUSIONS)
@pytest.mark.parametrize("size", [(8, 12), (9, 13), (5, 6)])
def test_with_flip_a_mirrored_image_gives_the_mirrored_prediction(model, rng, size, fusion):
    image, settings = photo(rng, *size), {"flip": True, "scales": (0.75, 1.0, 1.5), "fusion": fusion}
    there = inference.scores(model, image, **settings)
    back = inference.scores(model, image[:, ::-1], **settings)[:, :, ::-1]
    np.testing.assert_allclose(there, back, rtol=1e-5, atol=1e-6)
    plain, mirrored = inference.scores(model, image), inference.scores(model, image[:, ::-1])[:, :, ::-1]
    assert not np.allclose(plain, mirrored, atol=1e-3)


@pytest.mark.parametrize("settings, message", [
    ({"scales": []}, r"scales=\[\]; expected positive numbers"),
    ({"scales": 0.5}, r"scales=0.5; expected positive numbers"),
    ({"scales": (1.0, 0)}, r"scales=\(1.0, 0\); expected positive numbers"),
    ({"scales": [float("inf")]}, r"scales=\[inf\]; expected positive numbers"),
    ({"scales": [float("nan")]}, r"scales=\[nan\]; expected positive numbers"),
    ({"fusion": "median"}, "fusion='median'; expected one of 'mean', 'max'"),
])
@pytest.mark.parametrize("use", [inference.predict, inference.probabilities, inference.scores])
def test_impossible_views(model, rng, use, settings, message):
    with pytest.raises(ValueError, match=message):
        use(model, photo(rng, 8, 8), **settings)


def test_evaluate_takes_the_same_views(model):
    scenes, settings = Scenes(2, (9, 11), 3), {"scales": (0.5, 1.0), "flip": True, "fusion": "max"}
    expected = ConfusionMatrix(3)
    for image, mask in scenes:
        expected.update(inference.predict(model, image, **settings), mask)
    assert np.array_equal(inference.evaluate(model, scenes, **settings)[0].matrix, expected.matrix)
