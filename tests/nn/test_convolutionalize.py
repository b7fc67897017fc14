"""A classifier run on every window, and its convolutional twin run once: the same scores."""
import numpy as np
import pytest

from tinyseg import Tensor, no_grad, nn
from tinyseg.models import VGG
from tinyseg.models.patch_classifier import sliding_window


def lenet():
    """LeCun et al. 1998 as it is usually drawn: average pooling, three fully connected layers."""
    return nn.Sequential(nn.Conv2d(3, 6, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 8, 5), nn.Tanh(), nn.AvgPool2d(2),
                         nn.Flatten(), nn.Linear(8 * 4 * 3, 12), nn.Tanh(), nn.Linear(12, 9), nn.Tanh(),
                         nn.Linear(9, 4))


CLASSIFIERS = {       # (layers, window, stride)
    "no stride": (lambda: nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 4 * 6, 4)),
                  (6, 8), (1, 1)),
    "lenet": (lenet, (28, 24), (4, 4)),
    "strides and dilation": (lambda: nn.Sequential(
        nn.Conv2d(3, 4, (3, 5), stride=(2, 3)), nn.BatchNorm2d(4), nn.LeakyReLU(),
        nn.Conv2d(4, 6, 2, dilation=2, groups=2), nn.MaxPool2d(3, 2, dilation=(1, 2)),
        nn.Flatten(), nn.Dropout(), nn.Linear(6 * 3 * 2, 4), nn.Softmax(1)),
        (19, 29), (4, 6)),
    "global average": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                                             nn.Flatten(), nn.Linear(4, 4)), (11, 9), (2, 2)),
    "rest of a division": (lambda: nn.Sequential(nn.MaxPool2d(2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3 * 4, 4)),
                           (11, 10), (4, 4)),
    "nested, like VGG": (lambda: nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.MaxPool2d(2)),
        nn.AdaptiveAvgPool2d((3, 3)), nn.Flatten(),
        nn.Sequential(nn.Linear(36, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 4))),
        (18, 18), (4, 4)),
    "no flattening": (lambda: nn.Sequential(nn.Conv2d(3, 5, 3, stride=2), nn.ReLU(), nn.Conv2d(5, 4, 3)),
                      (7, 7), (2, 2)),
}


@pytest.fixture(params=CLASSIFIERS)
def case(request, rng):
    make, window, stride = CLASSIFIERS[request.param]
    classifier = make().eval()
    for module in classifier.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.writable()[...] = rng.standard_normal(module.num_features)
            module.running_var.writable()[...] = rng.uniform(0.5, 2, module.num_features)
    images = Tensor(rng.standard_normal((2, 3, window[0] + 9, window[1] + 7)).astype(np.float32))
    with no_grad():
        scores = np.empty((2, 4, 10, 8), np.float32)
        for i, j in np.ndindex(10, 8):
            patches = images[:, :, i:i + window[0], j:j + window[1]]
            scores[:, :, i, j] = classifier(patches).numpy().reshape(2, 4)
    return classifier, window, stride, images, scores


def test_dense_gives_the_scores_of_every_window(case):
    classifier, window, _, images, scores = case
    dense = nn.convolutionalize(classifier, (3, *window), dense=True)
    np.testing.assert_allclose(dense(images).numpy()[:, :, :10, :8], scores, atol=1e-5)
    assert not any(isinstance(layer, (nn.Linear, nn.Flatten)) for layer in dense)


def test_coarse_gives_those_at_the_strides(case):
    classifier, window, (down, across), images, scores = case
    coarse = nn.convolutionalize(classifier, (3, *window))(images).numpy()
    there = scores[:, :, ::down, ::across]
    np.testing.assert_allclose(coarse[:, :, :there.shape[2], :there.shape[3]], there, atol=1e-5)
    assert coarse.shape == there.shape or window == (11, 10)


def test_pixels_that_no_layer_looks_at_make_the_window_smaller():
    classifier = nn.Sequential(nn.MaxPool2d(2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3 * 4, 4))     # 11 -> 5 -> 2
    image = Tensor(np.zeros((1, 3, 20, 20), np.float32))
    assert nn.convolutionalize(classifier, (3, 11, 11), dense=True)(image).shape == (1, 4, 20 - 8 + 1, 20 - 8 + 1)


def test_fully_connected_weights_are_reshaped(rng):
    classifier = lenet()
    net = nn.convolutionalize(classifier, (3, 28, 24))
    assert [type(layer).__name__ for layer in net][-5:] == ["Conv2d", "Tanh", "Conv2d", "Tanh", "Conv2d"]
    assert net[6].weight.shape == (12, 8, 4, 3) and net[8].weight.shape == (9, 12, 1, 1)
    np.testing.assert_array_equal(net[6].weight.numpy(), classifier[7].weight.numpy().reshape(12, 8, 4, 3))
    assert sum(p.size for p in net.parameters()) == sum(p.size for p in classifier.parameters())


def test_the_result_is_a_network_of_its_own():
    classifier = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AvgPool2d(2), nn.AvgPool2d(2, 1), nn.Flatten(),
                               nn.Linear(4, 4))
    calls = []
    classifier[0].register_forward_hook(lambda *_: calls.append(1))
    before = classifier.state_dict()
    with no_grad():
        net = nn.convolutionalize(classifier, (3, 6, 6), dense=True)
    trainable = [p for p in net.parameters() if p.requires_grad]
    assert len(trainable) == len(list(classifier.parameters())) == 6            # the mean's weights stay equal
    net(Tensor(np.ones((1, 3, 7, 7), np.float32))).sum().backward()
    assert all(p.grad is not None for p in trainable) and all(p.grad is None for p in classifier.parameters())
    for tensor in (*net.parameters(), *net.buffers()):
        tensor.writable()[...] = 7
    assert all((classifier.state_dict()[name] == array).all() for name, array in before.items()) and not calls
    twin = nn.convolutionalize(classifier, (3, 6, 6), dense=True)
    twin.load_state_dict(net.state_dict())


def test_double_precision(rng):
    classifier = lenet().double()
    image = Tensor(rng.standard_normal((1, 3, 30, 26)))
    dense = nn.convolutionalize(classifier, (3, 28, 24), dense=True)(image)
    with no_grad():
        last = classifier(image[:, :, 2:, 2:]).numpy()
    assert dense.dtype == np.float64
    np.testing.assert_allclose(dense.numpy()[:, :, -1, -1], last, rtol=1e-12)


def test_a_padding_classifier_agrees_where_the_image_is_its_window(rng):
    """As VGG does: the zeros around a window are not around the same window within an image."""
    vgg = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding="same"),
                        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 16, 5))
    net = nn.convolutionalize(vgg, (3, 16, 16))
    images = Tensor(rng.standard_normal((2, 3, 16, 16)).astype(np.float32))
    np.testing.assert_allclose(net(images).numpy()[..., 0, 0], vgg(images).numpy(), atol=1e-5)
    assert net(Tensor(np.zeros((1, 3, 64, 32), np.float32))).shape == (1, 5, 13, 5)
    with pytest.raises(ValueError, match=r"layer 0, Conv2d\(3, 4, .*\): pads, so its scores .* use padding=0"):
        nn.convolutionalize(vgg, (3, 16, 16), dense=True)
    with pytest.raises(ValueError, match=r"layer 0, Conv2d\(3, 4, .*padding='same'\): pads"):
        nn.convolutionalize(nn.Sequential(nn.Conv2d(3, 4, 3, padding="same")), (3, 16, 16), dense=True)


def test_vgg(rng):
    """FCN's first step: fc6 becomes a 7x7 convolution, and there are scores for every 32nd window."""
    vgg = VGG(num_classes=5, depth=11, width=1).eval()
    net = nn.convolutionalize(nn.Sequential(vgg.features, vgg.avgpool, vgg.flatten, vgg.classifier), (3, 224, 224))
    image = Tensor(rng.standard_normal((1, 3, 224, 224)).astype(np.float32))
    with no_grad():
        np.testing.assert_allclose(net(image).numpy()[..., 0, 0], vgg(image).numpy(), rtol=1e-4)
        assert net(Tensor(np.zeros((1, 3, 256, 320), np.float32))).shape == (1, 5, 2, 4)
    assert net[21].kernel_size == (7, 7)


class Residual(nn.Module):
    def __init__(self):
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return x + self.conv(x)


@pytest.mark.parametrize("layers, why", [
    ([nn.Linear(48, 4)], r"layer 0, Linear\(48, 4\): .*put nn.Flatten\(\) in front"),
    ([nn.Flatten(), nn.Linear(40, 4)], r"layer 1, Linear\(40, 4\): the window comes .*\(3, 4, 4\), .* 48 features"),
    ([nn.Flatten(), nn.Conv2d(3, 3, 1)], r"layer 1, .*stands behind Flatten"),
    ([nn.Flatten(2)], r"layer 0, Flatten\(start_dim=2\): only nn.Flatten\(\)"),
    ([nn.Softmax(-1)], r"classes of an image are dimension 1"),
    ([nn.GroupNorm(1, 3)], r"layer 0, GroupNorm\(1, 3\): does not slide"),
    ([nn.ConvTranspose2d(3, 3, 2)], "does not slide"),
    ([nn.AdaptiveAvgPool2d(2)], r"only the mean of the whole map can slide, not \(2, 2\) means of \(4, 4\)"),
    ([nn.MaxPool2d(2, return_indices=True)], "indices"),
    ([nn.Sequential(nn.ReLU(), nn.Upsample(8))], r"layer 0\.1, Upsample\(size=8\)"),
    ([nn.Conv2d(3, 4, 5)], r"layer 0, .*kernel height 5 .*exceeds"),
    ([nn.Conv2d(2, 4, 3)], r"layer 0, .*3 channels but weight"),
    ([nn.ReLU(), Residual()], r"1 is a Residual, whose layers may be called in any order"),
    ([nn.Conv2d(3, 4, 3)], r"leaves the model as \(4, 2, 2\)"),
])
def test_what_cannot_slide_is_named(layers, why):
    with pytest.raises(ValueError, match=why):
        nn.convolutionalize(nn.Sequential(*layers), (3, 4, 4))


def test_not_a_sequential_and_not_a_shape():
    with pytest.raises(ValueError, match=r"the model is a Residual.*nn.Sequential\(model.features, nn.Flatten\(\), "):
        nn.convolutionalize(Residual(), (3, 4, 4))
    with pytest.raises(ValueError, match=r"input_shape=\(1, 3, 4, 4\); expected \(channels, height, width\)"):
        nn.convolutionalize(nn.Sequential(), (1, 3, 4, 4))
    with pytest.raises(ValueError, match="ceil_mode"):
        nn.convolutionalize(nn.Sequential(nn.MaxPool2d(2, ceil_mode=True)), (3, 2, 2), dense=True)


def test_sliding_window_refuses_too_small_an_image():
    with pytest.raises(ValueError, match=r"\(1, 3, 4, 9\); expected .* at least 5x5"):
        sliding_window(nn.Flatten(), Tensor(np.zeros((1, 3, 4, 9))), 5)
