"""The sliding window: one window after the other, and all at once."""
import numpy as np
import pytest

import tinyseg.functional as F
from tinyseg import Tensor, nn, no_grad
from tinyseg.models.patch_classifier import PatchClassifier, sliding_window
from tinyseg.models.receptive_field import receptive_field
from tinyseg.models.summary import layer_rows


def trained(rng, **settings):
    """With running statistics that are not those of a fresh net."""
    model = PatchClassifier(4, width=3, window=22, **settings).eval()
    for name, buffer in model.named_buffers():
        if name.endswith(("mean", "var")):
            buffer.writable()[...] = rng.uniform(0.5, 2, buffer.shape)
    return model


@pytest.mark.parametrize("norm", ["batch", None])
def test_all_at_once_gives_the_scores_of_every_window(rng, norm):
    model = trained(rng, norm=norm)
    images = Tensor(rng.standard_normal((2, 3, 9, 13)).astype(np.float32))
    at_once, windows = model(images).numpy(), model.sliding_window(images).numpy()
    assert at_once.shape == windows.shape == (2, 4, 9, 13)
    np.testing.assert_allclose(at_once, windows, atol=1e-5)
    assert np.ptp(windows, axis=(2, 3)).min() > 0.01


def test_a_score_is_of_the_window_around_its_pixel(rng):
    model = trained(rng)
    image = rng.standard_normal((1, 3, 40, 40)).astype(np.float32)
    with no_grad():
        scores = model.classify(Tensor(image[:, :, 5:27, 9:31])).numpy()[0]           # its centre: pixel (15, 19)
        np.testing.assert_allclose(model(Tensor(image)).numpy()[0, :, 15, 19], scores, atol=1e-5)
    field = receptive_field(model, (1, 3, 40, 40))
    assert field.size == (22, 22) and field.stride == (1, 1) and field.offset == (0.5, 0.5)
    assert field.box(15, 19) == (5, 9, 22, 22)


@pytest.mark.parametrize("window", [22, 30, 38, 102])
def test_windows(window):
    model = PatchClassifier(2, width=1, window=window)
    with no_grad():
        assert model.eval()(Tensor(np.zeros((1, 3, 1, 2), np.float32))).shape == (1, 2, 1, 2)
        assert model.classify(Tensor(np.zeros((3, 3, window, window), np.float32))).shape == (3, 2)
    assert receptive_field(model, (1, 3, 5, 5)).size == (window, window)


def test_gradients_go_to_the_same_weights(rng):
    """Of the loss on all pixels at once, and of its sum over windows."""
    model = trained(rng)
    image, mask = rng.standard_normal((1, 3, 4, 5)).astype(np.float32), rng.integers(0, 4, (1, 4, 5))
    F.cross_entropy(model(Tensor(image)), mask, reduction="sum").backward()
    at_once = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad()
    padded = np.pad(image, ((0, 0), (0, 0), (10, 11), (10, 11)))
    patches = np.concatenate([padded[:, :, i:i + 22, j:j + 22] for i in range(4) for j in range(5)])
    F.cross_entropy(model.classify(Tensor(patches)), mask.reshape(-1), reduction="sum").backward()
    assert set(at_once) == {name for name, _ in model.named_parameters()}
    for name, p in model.named_parameters():
        np.testing.assert_allclose(at_once[name], p.grad, atol=2e-4 * abs(p.grad).max(), err_msg=name)


def test_training_moves_statistics_and_loss(rng):
    from tinyseg.optim import Adam
    model = PatchClassifier(2, width=2, window=22)
    image = rng.standard_normal((1, 3, 16, 16)).astype(np.float32)
    mask = (image[:, 0] > 0).astype(np.uint8)
    optimizer = Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(Tensor(image)), mask)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    assert model.features[1].num_batches_tracked.item() == 30


def test_whole_network_gradients(rng):
    model = PatchClassifier(3, width=2, window=22).double().eval()
    image, direction = rng.standard_normal((1, 3, 6, 7)), rng.standard_normal((1, 3, 6, 7))

    def loss(x):
        return (model(x) * upstream).sum()

    upstream = Tensor(rng.standard_normal((1, 3, 6, 7)))
    x = Tensor(image, requires_grad=True)
    loss(x).backward()
    h = 1e-6
    with no_grad():
        numeric = (loss(Tensor(image + h * direction)).item() - loss(Tensor(image - h * direction)).item()) / (2 * h)
    assert (x.grad * direction).sum() == pytest.approx(numeric, rel=1e-7)


def test_summary_knows_the_dense_layers():
    model = PatchClassifier(5, width=4, window=30)
    rows = {row.path: row for row in layer_rows(model, (1, 3, 20, 24))}
    assert rows["features.3"].stride == (1, 1) and rows["features.8"].receptive_field == (18, 18)
    assert rows["classifier.1"].kind == "Conv2d" and rows["classifier.3"].receptive_field == (30, 30)
    assert rows["classifier.1"].multiply_adds == 20 * 24 * 32 * 16 * 2 * 2
    assert sum(row.parameters for row in rows.values()) == sum(p.size for p in model.parameters())


def test_how_much_work_windows_repeat():
    model = PatchClassifier(5, width=4, window=30, norm=None)
    once = sum(row.multiply_adds for row in layer_rows(model, (1, 3, 64, 64)))
    classifier = model.features[0], model.features[4], model.features[8], model.classifier[1], model.classifier[3]
    sides = 28, 12, 4, 1, 1
    window = sum(side**2 * layer.weight.size for side, layer in zip(sides, classifier))
    assert 64 * 64 * window > 30 * once


def test_state_dict():
    model = PatchClassifier(2, width=1, window=30, norm=None)
    for name in ("num_classes", "in_channels", "width", "window", "norm"):
        assert hasattr(model, name)
    twin = PatchClassifier(2, width=1, window=30, norm=None)
    twin.load_state_dict(model.state_dict())
    assert list(model.state_dict()) == [f"features.{i}.{part}" for i in (0, 4, 8) for part in ("weight", "bias")] + \
        [f"classifier.{i}.{part}" for i in (1, 3) for part in ("weight", "bias")]


@pytest.mark.parametrize("settings, why", [
    ({"window": 33}, "window=33 .* nearest legal sizes: 30 and 38"),
    ({"window": 3}, "nearest legal sizes: 22 and 30"),
    ({"norm": "group"}, "norm='group'; expected 'batch' or None"),
    ({"width": 0}, "width=0"),
])
def test_settings(settings, why):
    with pytest.raises(ValueError, match=why):
        PatchClassifier(2, **settings)


def test_inputs():
    model = PatchClassifier(2, width=1, window=22)
    with pytest.raises(ValueError, match=r"input has shape \(1, 4, 8, 8\); expected \(N, 3, H, W\)"):
        model(Tensor(np.zeros((1, 4, 8, 8), np.float32)))
    with pytest.raises(ValueError, match=r"patches have shape \(1, 3, 22, 23\); expected \(N, 3, 22, 22\)"):
        model.classify(Tensor(np.zeros((1, 3, 22, 23), np.float32)))


def test_a_classifier_that_does_not_flatten_is_told_to():
    without = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    images = Tensor(np.zeros((1, 3, 8, 9), np.float32))
    message = (r"of patches \(5, 3, 5, 5\) classify made scores of shape \(5, 2, 1, 1\); expected \(5, num_classes\), "
               r"so end the network with nn\.Flatten\(\) and nn\.Linear")
    with pytest.raises(ValueError, match=message):
        sliding_window(without, images, 5)
    assert sliding_window(nn.Sequential(without, nn.Flatten()), images, 5).shape == (1, 2, 4, 5)
    with pytest.raises(ValueError, match=r"scores of shape \(1, 2\); expected \(5, num_classes\)"):
        sliding_window(lambda patches: nn.Flatten()(without(patches))[:1], images, 5)


def test_shape_comments(check_shape_comments):
    model = PatchClassifier(5, width=2, window=30)
    assert check_shape_comments(model, Tensor(np.zeros((2, 3, 8, 9), np.float32)), lambda names: {
        "N": 2, "in_channels": 3, "num_classes": 5, "H": 8, "W": 9, "p": 29}) == 2
