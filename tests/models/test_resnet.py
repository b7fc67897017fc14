import numpy as np
import pytest

from tinyseg import Tensor, nn
from tinyseg.models import ResNet


def image(*shape, dtype=np.float32):
    return Tensor(np.random.default_rng(0).standard_normal(shape).astype(dtype))


@pytest.fixture
def twins():
    pytest.importorskip("torch", reason="torch is not installed: there is no oracle for whole networks")
    import torch_twins
    return torch_twins


@pytest.mark.parametrize("depth, c, h, w", [(18, 24, 2, 3), (34, 24, 2, 3), (20, 12, 16, 24)])
def test_shape_comments(depth, c, h, w, check_shape_comments):
    model = ResNet(5, depth=depth, width=3).eval()
    symbols = {"N": 2, "c": c, "h": h, "w": w, "num_classes": 5}
    assert check_shape_comments(model, image(2, 3, 64, 96), lambda local: symbols) == 4


@pytest.mark.usefixtures("all_zero")
@pytest.mark.parametrize("depth, num_classes, count", [(18, 1000, 11_689_512), (34, 1000, 21_797_672),
                                                       (20, 10, 269_722)])
def test_published_parameter_counts(depth, num_classes, count):
    assert sum(p.size for p in ResNet(num_classes, depth=depth).parameters()) == count


@pytest.mark.usefixtures("all_zero")
def test_the_width_of_the_paper():
    assert ResNet(depth=18).width == 64 and ResNet(10, depth=20).width == 16
    assert ResNet(10, depth=20).channels == (16, 16, 32, 64) and ResNet(10, depth=20).strides == (1, 1, 2, 4)


# Against torchvision's architecture -----------------------------------------------------------------------------------

@pytest.mark.parametrize("depth", [18, 34, 20])
def test_weights_go_to_pytorch_and_back(depth, twins):
    def theirs():
        return twins.CifarResNet(10, 6) if depth == 20 else twins.ResNet(10, depth, 6)

    ours, twin = ResNet(10, depth=depth, width=6).eval(), twins.randomised(theirs())
    assert ours.load_state_dict(twins.arrays(twin)) == ([], [])
    for size in [(64, 64), (33, 51), (7, 1)]:
        x = image(2, 3, *size)
        expected = twins.run(twin, x.numpy())
        np.testing.assert_allclose(ours(x).numpy(), expected, atol=1e-4, rtol=1e-4)
        assert expected.std() > 0.05

    fresh = ResNet(10, depth=depth, width=6).eval()
    back = twins.load(theirs(), fresh.state_dict()).eval()
    np.testing.assert_allclose(twins.run(back, x.numpy()), fresh(x).numpy(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("depth", [18, 34, 20])
def test_training_moves_the_same_statistics(depth, twins):
    """In training mode too the two agree, and so do the running means and variances afterwards."""
    ours = ResNet(10, depth=depth, width=4)
    twin = twins.CifarResNet(10, 4) if depth == 20 else twins.ResNet(10, depth, 4)
    twins.load(twin, ours.state_dict()).train()
    x = image(4, 3, 64, 64)
    np.testing.assert_allclose(ours(x).numpy(), twins.run(twin, x.numpy()), atol=1e-3)
    for name, array in twins.arrays(twin).items():
        np.testing.assert_allclose(ours.state_dict()[name], array, atol=1e-4, rtol=1e-4, err_msg=name)


def test_names_without_pytorch():
    block = [f"{layer}.{part}" for layer, parts in [("conv1", ["weight"]), ("bn1", ["weight", "bias"]),
                                                    ("conv2", ["weight"]), ("bn2", ["weight", "bias"])]
             for part in parts]
    projected = [*block, "downsample.0.weight", "downsample.1.weight", "downsample.1.bias"]
    expected = ["conv1.weight", "bn1.weight", "bn1.bias"]
    for stage in (1, 2, 3, 4):
        expected += [f"layer{stage}.0.{name}" for name in (block if stage == 1 else projected)]
        expected += [f"layer{stage}.1.{name}" for name in block]
    names = [name for name, _ in ResNet(depth=18, width=1).named_parameters()]
    assert names == [*expected, "fc.weight", "fc.bias"]


def test_names_and_shapes_of_published_cifar_weights(shared_data):
    path = shared_data("cifar10").parents[1] / "weights" / "cifar10_resnet20.npz"
    if not path.is_file():
        pytest.skip(f"no weights here: {path.name} is not beside the checkout")
    with np.load(path, allow_pickle=False) as file:
        theirs = {name: file[name].shape for name in file.files}
    ours = {name: array.shape for name, array in ResNet(10, depth=20).state_dict().items()}
    assert {name: shape for name, shape in ours.items() if not name.endswith("num_batches_tracked")} == theirs


# Blocks ---------------------------------------------------------------------------------------------------------------

def test_an_option_a_shortcut_has_the_pixels_between_zeros():
    block = ResNet(10, depth=20, width=4).layer2[0]
    x = image(2, 4, 5, 6)
    y = block.downsample(x).numpy()
    np.testing.assert_array_equal(y[:, 2:6], x.numpy()[:, :, ::2, ::2])
    assert y.shape == (2, 8, 3, 3) and (y[:, :2] == 0).all() and (y[:, 6:] == 0).all()


def test_where_dilation_begins():
    """At output stride 8 the first convolution of a stage still has the rate of the stage before."""
    def rates(stage):
        convolutions = [m for m in stage.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
        assert all(m.padding == m.dilation for m in convolutions)
        return [m.dilation[0] for m in convolutions]

    model = ResNet(2, depth=18, width=1, output_stride=8)
    assert rates(model.layer2) == [1, 1, 1, 1] and rates(model.layer3) == [1, 2, 2, 2]
    assert rates(model.layer4) == [2, 4, 4, 4]
    assert all(m.stride == (1, 1) for stage in (model.layer3, model.layer4) for m in stage.modules()
               if isinstance(m, nn.Conv2d))


def test_an_unknown_depth():
    with pytest.raises(ValueError, match="ResNet: depth=50; expected one of 18, 20, 34"):
        ResNet(depth=50)
