"""FCN: weights from a classifier, and from one stage of training to the next."""
import numpy as np
import pytest

from tinyseg import Tensor, no_grad
from tinyseg.models import FCN
from tinyseg.models.fcn import VARIANTS
from tinyseg.models.resnet import ResNet
from tinyseg.models.upsampling import SKIPS, UPSAMPLING
from tinyseg.models.vgg import VGG


def image(*shape, dtype=np.float32):
    return Tensor(np.random.default_rng(0).standard_normal(shape).astype(dtype))


def small(variant="8s", encoder="vgg11", **arguments):
    return FCN(3, variant=variant, width=2, encoder=encoder, **arguments).eval()


def scatter(model, rng):
    """Move all parameters, so that no score is zero."""
    for parameter in model.parameters():
        parameter.writable()[...] += 0.1 * rng.standard_normal(parameter.shape)
    return model


# From a classifier ----------------------------------------------------------------------------------------------------

def test_the_classifiers_weights_compute_the_same_as_a_convolution():
    """On an image of the classifier's size, the pixel in the middle of fc7 is what its fully connected layers give."""
    vgg = VGG(num_classes=4, width=1, depth=11).eval()
    model = FCN(3, width=1, encoder="vgg11").eval()
    model.load_classifier(vgg.state_dict())
    x = image(1, 3, 224, 224)
    with no_grad():
        expected = vgg.flatten(vgg.avgpool(vgg.pyramid(x)[-1]))
        for layer in list(vgg.classifier)[:-1]:
            expected = layer(expected)
        fc7 = model.fc7(model.fc6(model.encoder.pyramid(x)[-1]))
    assert fc7.shape == (1, 64, 7, 7) and expected.numpy().any()
    np.testing.assert_allclose(fc7.numpy()[:, :, 3, 3], expected.numpy(), rtol=1e-4, atol=1e-5)


def test_a_classifier_without_fully_connected_layers_gives_its_features():
    resnet, model = ResNet(num_classes=4, width=2), FCN(3, width=2, encoder="resnet18")
    model.load_classifier(resnet.state_dict())
    for name, value in model.encoder.state_dict().items():
        np.testing.assert_array_equal(value, resnet.state_dict()[name])


def test_weights_that_do_not_fit():
    model = FCN(3, width=1, encoder="vgg11")
    with pytest.raises(ValueError, match="features.0.weight is float32"):
        model.load_classifier(VGG(num_classes=4, width=2, depth=11).state_dict())
    with pytest.raises(ValueError, match="VGG: load_state_dict: missing: features.3.weight"):
        model.load_classifier(VGG(num_classes=4, width=1, depth=16).state_dict())
    state = VGG(num_classes=4, width=1, depth=11).state_dict()
    del state["classifier.0.weight"]
    with pytest.raises(ValueError, match="FullyConnected: load_state_dict: missing: weight"):
        model.load_classifier(state)


# From stage to stage --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("encoder", ["vgg11", "resnet18"])
@pytest.mark.parametrize("skip", SKIPS)
@pytest.mark.parametrize("upsampling", UPSAMPLING)
def test_each_stage_starts_where_the_last_one_stood(encoder, skip, upsampling, rng):
    """Whatever has been learned, upsampling included, at any size; and once the new score layer learns, it matters."""
    if upsampling == "max_unpool" and encoder == "resnet18":
        return
    x, coarser = image(2, 3, 45, 70), None
    for variant in VARIANTS:
        model = small(variant, encoder, upsampling=upsampling, skip=skip, staged=True)
        scores = [layer for name, layer in model.named_children() if name.startswith("score_pool")]
        with no_grad():
            if coarser is not None:
                model.start_from(coarser)
                np.testing.assert_array_equal(model(x).numpy(), coarser(x).numpy())
                for layer in scores[-1:]:
                    layer.weight.writable()[...] = rng.standard_normal(layer.weight.shape)
                    assert (model(x).numpy() != coarser(x).numpy()).any()
            coarser = scatter(model, rng)


def test_the_papers_own_stages_do_not_interpolate_alike(rng):
    """Two interpolations, by 2 and by 16, are one by 32 only where the coarse points are fine points too."""
    x = image(1, 3, 70, 99)
    for encoder, equal in [("vgg11", False), ("resnet18", True)]:
        coarser, finer = small("32s", encoder), small("16s", encoder)
        coarser.score_fr.weight.writable()[...] = rng.standard_normal(coarser.score_fr.weight.shape)
        finer.load_state_dict({k: v for k, v in coarser.state_dict().items() if "upscore" not in k}, strict=False)
        with no_grad():
            a, b = coarser(x).numpy(), finer(x).numpy()
        assert np.allclose(a, b, rtol=1e-4, atol=1e-4 * abs(a).max()) == equal
        with pytest.raises(ValueError, match="steps='32s' cannot go on as steps='16s'; .* with staged=True"):
            finer.start_from(coarser)


@pytest.mark.parametrize("variant, other, message", [
    ("16s", {"variant": "8s"}, "FCN: start_from: a 16s does not go on from a 8s; expected a coarser one"),
    ("32s", {"variant": "32s"}, "a 32s does not go on from a 32s"),
    ("16s", {"variant": "32s", "encoder": "resnet18"}, "encoder_name='resnet18' cannot go on as encoder_name='vgg11'"),
    ("16s", {"variant": "32s", "upsampling": "bilinear"}, "upsampling='bilinear' cannot go on"),
    ("8s", {"variant": "16s", "at_once": True}, "at_once=True cannot go on as at_once=False"),
])
def test_what_a_stage_cannot_start_from(variant, other, message):
    with pytest.raises(ValueError) as error:
        small(variant, staged=True).start_from(small(staged=True, **other))
    assert message in str(error.value)
