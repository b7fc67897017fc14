"""Every layer against its namesake in torch.nn: the same state-dict, the same values, the same gradients."""
import numpy as np
import pytest

import tinyseg.functional as F
from tinyseg import Tensor, nn

# One call makes the layer of either library; then the shape of its input.
LAYERS = {
    "conv": (lambda nn: nn.Conv2d(4, 6, 3), (2, 4, 7, 8)),
    "conv no bias": (lambda nn: nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=(2, 1), bias=False), (2, 4, 7, 8)),
    "conv groups": (lambda nn: nn.Conv2d(4, 6, 3, padding=1, groups=2), (2, 4, 7, 8)),
    "conv same": (lambda nn: nn.Conv2d(4, 6, (3, 5), padding="same", dilation=2), (1, 4, 7, 8)),
    "conv valid": (lambda nn: nn.Conv2d(4, 6, 3, padding="valid"), (1, 4, 7, 8)),
    "conv reflect": (lambda nn: nn.Conv2d(4, 6, 3, padding=(2, 1), padding_mode="reflect"), (1, 4, 7, 8)),
    "conv reflect same": (lambda nn: nn.Conv2d(4, 6, (3, 5), padding="same", padding_mode="reflect"), (1, 4, 7, 8)),
    "conv replicate": (lambda nn: nn.Conv2d(4, 6, 3, padding=(0, 3), padding_mode="replicate"), (1, 4, 7, 8)),
    "conv circular": (lambda nn: nn.Conv2d(4, 6, 3, stride=2, padding=(1, 2), padding_mode="circular"), (1, 4, 7, 8)),
    "conv_transpose": (lambda nn: nn.ConvTranspose2d(4, 6, 2, stride=2), (2, 4, 5, 6)),
    "conv_transpose all": (lambda nn: nn.ConvTranspose2d(4, 6, 3, (2, 3), (1, 0), (1, 2), 2, False, (1, 2)),
                           (1, 4, 5, 6)),
    "batch_norm": (lambda nn: nn.BatchNorm2d(4), (3, 4, 5, 6)),
    "batch_norm cumulative": (lambda nn: nn.BatchNorm2d(4, eps=1e-2, momentum=None), (3, 4, 5, 6)),
    "batch_norm not affine": (lambda nn: nn.BatchNorm2d(4, momentum=0.3, affine=False), (3, 4, 5, 6)),
    "batch_norm not tracked": (lambda nn: nn.BatchNorm2d(4, track_running_stats=False), (3, 4, 5, 6)),
    "group_norm": (lambda nn: nn.GroupNorm(2, 4, eps=1e-3), (2, 4, 5, 6)),
    "group_norm not affine": (lambda nn: nn.GroupNorm(4, 4, affine=False), (2, 4, 5, 6)),
    "linear": (lambda nn: nn.Linear(6, 3), (4, 6)),
    "linear no bias": (lambda nn: nn.Linear(6, 3, bias=False), (2, 4, 6)),
    "relu": (lambda nn: nn.ReLU(), (2, 3, 4)),
    "relu6": (lambda nn: nn.ReLU6(), (2, 3, 4)),
    "leaky_relu": (lambda nn: nn.LeakyReLU(0.2), (2, 3, 4)),
    "sigmoid": (lambda nn: nn.Sigmoid(), (2, 3, 4)),
    "tanh": (lambda nn: nn.Tanh(), (2, 3, 4)),
    "softmax": (lambda nn: nn.Softmax(1), (2, 3, 4)),
    "max_pool": (lambda nn: nn.MaxPool2d(3, 2, 1, ceil_mode=True), (2, 3, 7, 8)),
    "max_pool dilated": (lambda nn: nn.MaxPool2d((2, 3), 1, 0, 2), (2, 3, 7, 8)),
    "avg_pool": (lambda nn: nn.AvgPool2d(2), (2, 3, 6, 8)),
    "avg_pool all": (lambda nn: nn.AvgPool2d((3, 2), 2, 1, True, False, None), (2, 3, 6, 8)),
    "adaptive_avg_pool": (lambda nn: nn.AdaptiveAvgPool2d((3, 1)), (2, 3, 7, 8)),
    "upsample": (lambda nn: nn.Upsample(scale_factor=2), (2, 3, 4, 5)),
    "upsample bilinear": (lambda nn: nn.Upsample((7, 9), mode="bilinear", align_corners=True), (2, 3, 4, 5)),
    "flatten": (lambda nn: nn.Flatten(), (2, 3, 4, 5)),
    "flatten part": (lambda nn: nn.Flatten(-3, -2), (2, 3, 4, 5)),
    "identity": (lambda nn: nn.Identity(), (2, 3)),
    "dropout of nothing": (lambda nn: nn.Dropout(0.0), (2, 3)),
    "dropout2d of all": (lambda nn: nn.Dropout2d(1.0), (2, 3, 4, 5)),
    "sequential": (lambda nn: nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(),
                                            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(48, 5)), (2, 3, 6, 8)),
}


@pytest.fixture(params=LAYERS)
def pair(request):
    """(our layer, torch's) in float64 with the same weights, and the shape of their input."""
    torch = pytest.importorskip("torch")
    make, shape = LAYERS[request.param]
    ours, theirs = make(nn).double(), make(torch.nn).double()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs, shape


def test_state_dict_has_torchs_names_shapes_and_dtypes(pair):
    torch = pytest.importorskip("torch")
    ours, theirs, _ = pair
    expected = [(name, tuple(value.shape), str(value.dtype)) for name, value in theirs.state_dict().items()]
    assert [(name, a.shape, f"torch.{a.dtype}") for name, a in ours.state_dict().items()] == expected
    theirs.load_state_dict({name: torch.as_tensor(array + 1) for name, array in ours.state_dict().items()})
    for name, value in theirs.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), ours.state_dict()[name] + 1)


def test_values_gradients_and_running_statistics_are_torchs(pair, rng):
    torch = pytest.importorskip("torch")
    ours, theirs, shape = pair
    for mode in (True, True, True, False):                              # three steps of training, then evaluation
        ours.train(mode), theirs.train(mode)
        x = rng.standard_normal(shape)
        a, b = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        y, expected = ours(a), theirs(b)
        np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-11, atol=1e-12)
        dy = rng.standard_normal(y.shape)
        y.backward(dy)
        expected.backward(torch.tensor(dy))
        np.testing.assert_allclose(a.grad, b.grad.numpy(), rtol=1e-10, atol=1e-11)
        for (name, p), (_, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
            np.testing.assert_allclose(p.grad, q.grad.numpy(), rtol=1e-10, atol=1e-11, err_msg=name)
        for name, value in theirs.state_dict().items():
            np.testing.assert_allclose(ours.state_dict()[name], value.numpy(), rtol=1e-12, atol=1e-14, err_msg=name)
        theirs.zero_grad(), ours.zero_grad()


@pytest.mark.parametrize("name", [name for name in LAYERS if "conv" in name or "linear" in name])
def test_initial_weights_have_torchs_range(name):
    """Uniform in ±1/√fan_in: the same bound as torch (by its extremes), no mean, and a third of bound² as variance."""
    torch = pytest.importorskip("torch")
    make, _ = LAYERS[name]
    torch.manual_seed(0)
    ours = [make(nn).state_dict() for _ in range(40)]
    theirs = [make(torch.nn).state_dict() for _ in range(40)]
    for key in ours[0]:
        drawn = np.stack([state[key] for state in ours]).ravel()
        bound = max(abs(state[key]).max().item() for state in theirs)
        assert abs(drawn).max() == pytest.approx(bound, rel=0.05)
        assert drawn.mean() == pytest.approx(0, abs=4 * bound / np.sqrt(3 * drawn.size))
        assert drawn.var() == pytest.approx(bound**2 / 3, rel=0.2)


def test_pool_and_unpool_with_indices(rng):
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((1, 2, 5, 7))
    y, indices = nn.MaxPool2d(2, return_indices=True)(Tensor(x))
    back = nn.MaxUnpool2d(2)(y, indices, output_size=(5, 7))
    theirs, places = torch.nn.MaxPool2d(2, return_indices=True)(torch.tensor(x))
    np.testing.assert_array_equal(back.numpy(), torch.nn.MaxUnpool2d(2)(theirs, places, output_size=(5, 7)).numpy())


def test_transposed_convolution_to_a_given_size(rng):
    layer = nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1)
    x = Tensor(rng.standard_normal((1, 2, 4, 5)).astype(np.float32))
    assert layer(x).shape == (1, 3, 7, 9) and layer(x, output_size=(8, 9)).shape == (1, 3, 8, 9)


@pytest.mark.parametrize("settings", [{}, {"reduction": "sum"}, {"label_smoothing": 0.1}, {"ignore_index": 2}])
def test_cross_entropy_loss(settings, rng):
    torch = pytest.importorskip("torch")
    scores, labels = rng.standard_normal((2, 4, 3, 3)), rng.integers(0, 4, (2, 3, 3))
    labels[0, 0, 0] = settings.get("ignore_index", 255)
    weight = rng.uniform(0.5, 2, 4)
    ours = nn.CrossEntropyLoss(weight, **settings)
    theirs = torch.nn.CrossEntropyLoss(torch.tensor(weight), **{"ignore_index": 255, **settings})
    expected = theirs(torch.tensor(scores), torch.tensor(labels)).item()
    assert ours(Tensor(scores), labels).item() == pytest.approx(expected, rel=1e-12)
    assert list(ours.state_dict()) == list(theirs.state_dict()) == ["weight"]


def test_dropout_only_in_training():
    layer, x = nn.Dropout(0.3), Tensor(np.ones((100, 100), np.float32))
    kept = layer(x).numpy()
    assert set(np.unique(kept)) == {np.float32(0), np.float32(1 / 0.7)}
    assert (kept == 0).mean() == pytest.approx(0.3, abs=0.02)
    planes = nn.Dropout2d(0.3)(Tensor(np.ones((20, 50, 2, 2), np.float32))).numpy()
    assert (planes == planes[:, :, :1, :1]).all() and (planes == 0).mean() == pytest.approx(0.3, abs=0.06)
    np.testing.assert_array_equal(layer.eval()(x).numpy(), x.numpy())


def test_batch_norm_of_one_value_changes_nothing():
    layer = nn.BatchNorm2d(3)
    before = layer.state_dict()
    with pytest.raises(ValueError, match="one value a channel"):
        layer(Tensor(np.zeros((1, 3, 1, 1), np.float32)))
    assert all((before[name] == array).all() for name, array in layer.state_dict().items())


@pytest.mark.parametrize("make, message", [
    (lambda: nn.Conv2d(3, 8, 0), "Conv2d: kernel_size=0: expected at least 1"),
    (lambda: nn.Conv2d(3, 8, 3, stride=0), "Conv2d: stride=0"),
    (lambda: nn.Conv2d(3, 8, 3, padding=-1), "Conv2d: padding=-1"),
    (lambda: nn.Conv2d(3, 8, 3, padding="full"), "Conv2d: padding='full'; expected"),
    (lambda: nn.Conv2d(3, 8, 3, padding="same", stride=2), "needs stride 1"),
    (lambda: nn.Conv2d(3, 8, 3, padding_mode="mirror"), "padding_mode='mirror'; expected one of zeros, reflect"),
    (lambda: nn.Conv2d(3, 8, 3, groups=2), "3 to 8 channels cannot be divided into 2 groups"),
    (lambda: nn.Conv2d(0, 8, 3), "0 to 8 channels"),
    (lambda: nn.ConvTranspose2d(4, 6, 2, groups=4), "4 to 6 channels cannot be divided into 4 groups"),
    (lambda: nn.Linear(0, 4), "0 to 4 features"),
    (lambda: nn.BatchNorm2d(0), "num_features=0"),
    (lambda: nn.GroupNorm(3, 4), "4 channels cannot be divided into 3 groups"),
    (lambda: nn.MaxPool2d(2, stride=0), "MaxPool2d: stride=0"),
    (lambda: nn.Dropout2d(1.5), "Dropout2d: p=1.5"),
    (lambda: nn.Upsample(), "give one of the two"),
])
def test_impossible_settings(make, message):
    with pytest.raises(ValueError) as error:
        make()
    assert message in str(error.value) and "\n" not in str(error.value)


def test_representation_is_the_call():
    for text in ["Conv2d(3, 8, (3, 3), padding=(1, 1), bias=False)", "BatchNorm2d(8, momentum=None)", "Dropout(p=0.3)",
                 "MaxPool2d((2, 2), stride=(2, 2))", "Linear(3, 4)", "Upsample(scale_factor=2, mode='bilinear')",
                 "CrossEntropyLoss()", "ReLU()"]:
        assert repr(eval(text, dict(vars(nn)))) == text


@pytest.mark.parametrize("padding_mode", ["zeros", "reflect"])
def test_a_convolution_takes_a_pair_of_images_as_one(padding_mode, rng):
    layer = nn.Sequential(nn.Conv2d(5, 3, 3, padding=1, padding_mode=padding_mode), nn.ReLU())
    pair = Tensor(rng.standard_normal((2, 2, 5, 4), np.float32)), Tensor(rng.standard_normal((2, 3, 5, 4), np.float32))
    np.testing.assert_allclose(layer(pair).numpy(), layer(F.cat(pair, dim=1)).numpy(), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"failed, given \(2, 2, 5, 4\), \(2, 2, 5, 4\)"):
        layer(pair[:1] * 2)
    with pytest.raises(ValueError, match="Conv2d: a tuple of 3 images; expected one image or a pair"):
        layer(pair[:1] * 3)
