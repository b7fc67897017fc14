import numpy as np
import pytest

from tinyseg import Tensor, checkpoint, functional, models, nn, no_grad


def randomised(model, rng):
    """Every number of the model drawn anew: fresh layers have statistics of 0 and 1, and some weights are all zero."""
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.dtype.kind == "f":
            drawn = rng.uniform(0.5, 2, tensor.shape) if name.endswith("running_var") else rng.normal(0, 0.3, tensor.shape)
            tensor.writable()[...] = drawn
    return model


def images(rng, *shape):
    return Tensor(rng.standard_normal(shape).astype(np.float32))


# chain ----------------------------------------------------------------------------------------------------------------

def run(layers, x, dy, watched):
    leaf = Tensor(x, requires_grad=True)
    seen = []
    handles = [layer.register_forward_hook(lambda *call: seen.append(call[0])) for layer in layers if watched]
    out = nn.chain(leaf, *layers)
    out.backward(dy)
    for handle in handles:
        handle.remove()
    return [out.data, leaf.grad, layers[0].weight.grad, layers[0].bias.grad, *(b.data for b in layers[0].buffers())], seen


@pytest.mark.parametrize("activation", [nn.ReLU, nn.ReLU6])
@pytest.mark.parametrize("training", [True, False])
def test_chain_in_one_pass_is_bit_for_bit_what_two_passes_give(rng, activation, training):
    x, dy = (rng.normal(0, 4, (3, 5, 7, 6)).astype(np.float32) for _ in range(2))
    results = []
    for watched in (False, True):
        norm = randomised(nn.BatchNorm2d(5), np.random.default_rng(1)).train(training)
        layers = [norm, activation().train(training)]
        values, seen = run(layers, x, dy, watched)
        assert seen == (layers if watched else [])               # nobody who looks at a layer is passed over
        results.append(values)
    for one_pass, two_passes in zip(*results):
        np.testing.assert_array_equal(one_pass, two_passes)


def test_chain_leaves_all_other_neighbours_alone(rng):
    layers = [nn.BatchNorm2d(4), nn.LeakyReLU(), nn.GroupNorm(2, 4), nn.ReLU(), nn.BatchNorm2d(4)]
    x = images(rng, 2, 4, 3, 3)
    wanted = x
    for layer in layers:
        wanted = layer(wanted)
    np.testing.assert_array_equal(nn.Sequential(*layers)(x).data, wanted.data)


def test_an_unknown_activation():
    with pytest.raises(ValueError, match="'gelu'.*relu6"):
        functional.batch_norm(np.zeros((2, 1, 2, 2)), None, None, training=True, activation="gelu")


# fuse -----------------------------------------------------------------------------------------------------------------

MODELS = {
    "unet": lambda: models.UNet(3, width=2, depth=2),
    "segnet": lambda: models.SegNet(3, width=2),
    "fcn on vgg": lambda: models.FCN(3, width=1, encoder="vgg11_bn"),
    "deeplab v3 on resnet": lambda: models.DeepLab(3, version="v3", width=2),
    "deeplab v2 on mobilenet": lambda: models.DeepLab(3, version="v2", width=2, encoder="mobilenet_v1"),
    "fcn on cifar's resnet's blocks": lambda: models.ResNet(3, depth=20, width=2),
    "mobilenet v2": lambda: models.DeepLabV3MobileNetV2(3, width=4),
    "patch classifier": lambda: models.PatchClassifier(3, width=2, norm="batch"),
}


def norms(model):
    return [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]


@pytest.mark.parametrize("name", MODELS)
def test_a_fused_model_gives_the_same_scores(rng, name):
    model = randomised(MODELS[name](), rng).eval()
    before, x = model.state_dict(), images(rng, 2, 3, 32, 32)
    fused = model.fuse()
    assert norms(model) and not norms(fused)
    with no_grad():
        wanted, scores = model(x).data, fused(x).data
    assert np.ptp(wanted) > 0
    np.testing.assert_allclose(scores, wanted, atol=1e-5 * np.max(abs(wanted)), rtol=0)
    after = model.state_dict()
    assert after.keys() == before.keys() and all(np.array_equal(after[key], before[key]) for key in before)


def test_the_state_dict_of_a_fused_model_has_a_bias_for_every_norm(rng):
    block = randomised(models.blocks.ConvNormReLU(2, 3), rng)
    assert list(block.fuse().state_dict()) == ["conv.weight", "conv.bias"]
    other = randomised(models.blocks.ConvNormReLU(2, 3), rng).fuse()
    other.load_state_dict(block.fuse().state_dict())
    x = images(rng, 1, 2, 5, 5)
    np.testing.assert_allclose(other(x).data, block.eval()(x).data, atol=1e-5)


def test_a_bias_in_front_of_the_norm_is_folded_too(rng):
    model = randomised(nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6, eps=0.1)), rng).eval()
    x = images(rng, 2, 4, 6, 5)
    np.testing.assert_allclose(model.fuse()(x).data, model(x).data, atol=1e-5)


def test_fuse_copies_and_evaluates(rng):
    model = models.blocks.ConvNormReLU(2, 3)
    fused = model.fuse()
    assert model.training and not fused.training and not any(layer.training for layer in fused.modules())
    fused.conv.weight.writable()[...] = 0
    assert np.any(model.conv.weight.data)


@pytest.mark.parametrize("train", [lambda fused: fused.train(), lambda fused: fused.conv.train(),
                                   lambda fused: nn.Sequential(nn.ReLU(), fused).train()])
def test_a_fused_model_refuses_to_train(train):
    fused = models.blocks.ConvNormReLU(2, 3).fuse()
    with pytest.raises(RuntimeError, match="fused for inference.*train the model that it was fused from"):
        train(fused)
    assert not fused.training


def test_a_fused_model_is_not_saved_as_if_it_could_be_built():
    with pytest.raises(ValueError, match="fused for inference; save the model"):
        checkpoint.describe(models.UNet(2, width=1, depth=1).fuse())


@pytest.mark.parametrize("layers", [
    lambda: [nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2, track_running_stats=False)], lambda: [nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1)],
    lambda: [nn.Conv2d(2, 2, 1), nn.ReLU(), nn.BatchNorm2d(2)], lambda: 2 * [nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)],
    lambda: [nn.Conv2d(2, 2, 1), nn.GroupNorm(1, 2)],
])
def test_what_cannot_be_folded_stays(rng, layers):
    model = randomised(nn.Sequential(*layers()), rng).eval()
    fused, x = model.fuse(), images(rng, 2, 2, 3, 3)
    assert list(fused.state_dict()) == list(model.state_dict())
    np.testing.assert_array_equal(fused(x).data, model(x).data)
