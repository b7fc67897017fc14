import copy

import numpy as np
import pytest

from tinyseg import Tensor, nn, optim
from tinyseg.graph import grad_enabled


class Block(nn.Module):
    def __init__(self, channels=3):
        super().__init__()
        self.scale = nn.Parameter(np.ones(channels, np.float32))
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.register_buffer("steps", Tensor(np.array(0)))

    def forward(self, x):
        return self.norm(self.conv(x)) * self.scale.reshape(-1, 1, 1)


class Net(nn.Module):
    def __init__(self):                                    # without super().__init__(): it is not needed
        self.down = nn.ModuleList([Block(), Block()])
        self.head = nn.Sequential(nn.ReLU(), nn.Conv2d(3, 2, 1))
        self.note = "not a parameter"

    def forward(self, x):
        for block in self.down:
            x = block(x)
        return self.head(x)


def images(*shape):
    return Tensor(np.random.default_rng(1).standard_normal(shape).astype(np.float32))


def test_everything_inside_is_found_by_its_path():
    net = Net()
    block = ["scale", "conv.weight", "conv.bias", "norm.weight", "norm.bias"]
    buffers = ["steps", "norm.running_mean", "norm.running_var", "norm.num_batches_tracked"]
    parameters = [f"down.{i}.{name}" for i in (0, 1) for name in block] + ["head.1.weight", "head.1.bias"]
    assert [name for name, _ in net.named_parameters()] == parameters
    assert [name for name, _ in net.named_buffers()] == [f"down.{i}.{name}" for i in (0, 1) for name in buffers]
    assert [path for path, _ in net.named_modules()] == [
        "", "down", "down.0", "down.0.conv", "down.0.norm", "down.1", "down.1.conv", "down.1.norm",
        "head", "head.0", "head.1"]
    assert set(net.state_dict()) == set(parameters) | {name for name, _ in net.named_buffers()}
    assert [name for name, _ in net.named_children()] == ["down", "head"]


def test_paths_and_order_are_torchs():
    torch = pytest.importorskip("torch")

    class TorchBlock(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(3))
            self.conv = torch.nn.Conv2d(3, 3, 3, padding=1)
            self.norm = torch.nn.BatchNorm2d(3)
            self.register_buffer("steps", torch.tensor(0))

    theirs = torch.nn.Sequential(TorchBlock(), torch.nn.ModuleList([TorchBlock()]))
    ours = nn.Sequential(Block(), nn.ModuleList([Block()]))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    assert [name for name, _ in ours.named_modules()] == [name for name, _ in theirs.named_modules()]


def test_a_shared_module_is_trained_once_and_saved_under_both_names():
    relu, conv = nn.ReLU(), nn.Conv2d(2, 2, 1)
    net = nn.Sequential(conv, relu, conv, relu)
    assert len(list(net.parameters())) == 2 and len(list(net.modules())) == 3
    assert list(net.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_state_dict_is_a_copy_and_loads_back():
    net, other = Net(), Net()
    net(images(2, 3, 4, 4))
    state = net.state_dict()
    net.head[1].weight.writable()[...] = 7
    assert (state["head.1.weight"] != 7).all()
    assert other.load_state_dict(state) == ([], [])
    for name, array in other.state_dict().items():
        np.testing.assert_array_equal(array, state[name])
        assert array.dtype == state[name].dtype


def test_loading_a_misfit_lists_everything_and_writes_nothing():
    net = Net()
    before, state = net.state_dict(), Net().state_dict()
    del state["down.0.scale"]
    state["down.9.scale"] = np.zeros(3)
    state["head.1.weight"] = np.zeros((2, 3, 3, 3), np.float32)
    state["down.1.steps"] = np.array(0.5)
    with pytest.raises(ValueError) as error:
        net.load_state_dict(state)
    assert str(error.value) == (
        "Net: load_state_dict: missing: down.0.scale; unexpected: down.9.scale; "
        "misfit: down.1.steps is float64 (), expected int64 (), "
        "head.1.weight is float32 (2, 3, 3, 3), expected float32 (2, 3, 1, 1)")
    assert all((net.state_dict()[name] == array).all() for name, array in before.items())


def test_loading_what_there_is():
    net = Net()
    assert net.load_state_dict({"head.1.bias": [5.0, 6.0], "extra": 1}, strict=False) == (
        [name for name in net.state_dict() if name != "head.1.bias"], ["extra"])
    np.testing.assert_array_equal(net.head[1].bias.numpy(), [5, 6])
    with pytest.raises(ValueError, match="misfit: head.1.bias"):
        net.load_state_dict({"head.1.bias": np.zeros(3)}, strict=False)


def test_many_names_stay_on_one_line():
    with pytest.raises(ValueError, match="and 15 more"):
        Net().load_state_dict({})


def test_a_pending_backward_notices_new_weights_but_not_a_saved_copy():
    net = Net()
    loss = net(images(2, 3, 4, 4)).sum()
    net.state_dict()
    loss.backward()
    loss = net(images(2, 3, 4, 4)).sum()
    net.load_state_dict(net.state_dict())
    with pytest.raises(RuntimeError, match="has changed since"):
        loss.backward()


def test_modes_gradients_and_freezing():
    net = Net()
    assert net.training and net.head.training
    assert net.eval() is net and not any(module.training for module in net.modules())
    assert net.train().down[1].norm.training
    net(images(2, 3, 4, 4)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    net.down.requires_grad_(False)
    net(images(2, 3, 4, 4)).sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is not None] == ["head.1.weight", "head.1.bias"]


def test_double_and_float():
    net = Net()
    x = images(2, 3, 4, 4)
    single = net.eval()(x).numpy()
    assert net.double() is net
    y = net(Tensor(x.numpy().astype(np.float64)))
    assert y.dtype == np.float64 and net.down[0].steps.dtype == np.int64
    np.testing.assert_allclose(y.numpy(), single, atol=1e-5)
    np.testing.assert_array_equal(net.float()(x).numpy(), single)


def test_a_parameter_owns_its_memory():
    array = np.zeros(3)
    parameter = nn.Parameter(array)
    array[:] = 1
    assert (parameter.numpy() == 0).all() and parameter.requires_grad
    assert not nn.Parameter(array, requires_grad=False).requires_grad
    with pytest.raises(TypeError, match="int64 has no gradient"):
        nn.Parameter([1, 2])


def test_training_hands_no_parameter_out():
    """Else every step would compute checksums of all weights, to notice somebody else's writes."""
    net = Net()
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    for _ in range(2):
        net(images(2, 3, 4, 4)).sum().backward()
        optimizer.step()
        net.load_state_dict(net.state_dict())
    assert not any(parameter._memory.handed_out for parameter in net.parameters())


def test_a_deep_copy_is_independent():
    net = Net()
    twin = copy.deepcopy(net)
    twin.head[1].bias.writable()[...] = 9
    assert (net.head[1].bias.numpy() != 9).all() and list(twin.state_dict()) == list(net.state_dict())


def test_what_cannot_be_an_attribute():
    block = Block()
    with pytest.raises(TypeError, match=r"Block.scale is a parameter, not a Tensor; assign an nn.Parameter"):
        block.scale = block.scale * 2
    with pytest.raises(TypeError, match=r"Block.steps is a buffer, not a int; assign a Tensor"):
        block.steps = 3
    with pytest.raises(TypeError, match=r"Block.convs: a plain list hides .* use nn.ModuleList"):
        block.convs = [nn.ReLU()]
    block.scale = None
    assert "scale" not in block.state_dict()
    block.scale = nn.Parameter([1.0])
    block.steps = Tensor(np.array(5))
    assert block.state_dict()["steps"] == 5 and len(list(block.parameters())) == 5


def test_containers():
    layers = nn.ModuleList([nn.ReLU()])
    layers.append(nn.Tanh())
    assert len(layers) == 2 and [type(m).__name__ for m in layers] == ["ReLU", "Tanh"] and layers[-1] is layers[1]
    with pytest.raises(TypeError, match="ModuleList: item 2 is a int"):
        layers.append(3)
    with pytest.raises(IndexError):
        layers[2]
    with pytest.raises(NotImplementedError, match="ModuleList does not define forward"):
        layers(images(1))
    assert nn.Sequential()(5) == 5


def test_hooks_see_replace_and_go_away():
    net, calls = nn.Sequential(nn.ReLU(), nn.Tanh()), []
    handle = net[0].register_forward_hook(lambda module, inputs, output: calls.append((module, inputs[0], output)))
    x = images(2, 2)
    y = net(x)
    assert calls[0][0] is net[0] and calls[0][1] is x and len(calls) == 1
    doubled = net.register_forward_hook(lambda module, inputs, output: output * 2)
    np.testing.assert_array_equal(net(x).numpy(), 2 * y.numpy())
    handle.remove(), doubled.remove(), handle.remove()
    np.testing.assert_array_equal(net(x).numpy(), y.numpy())
    assert len(calls) == 2


def test_watching_ends_with_an_error_too():
    net, seen = Net(), []
    with pytest.raises(ValueError, match="channels"):
        with nn.watch(net, lambda path, module, inputs, output: seen.append(path)):
            net(images(1, 5, 4, 4))
    net(images(2, 3, 4, 4))
    assert seen == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_first_nonfinite_layer(value):
    net, x = Net(), images(2, 3, 4, 4)
    before = net.state_dict()
    assert nn.first_nonfinite(net, x) is None
    assert all((net.state_dict()[name] == array).all() for name, array in before.items())
    net.down[1].conv.bias.writable()[1] = value
    with np.errstate(invalid="ignore"):
        assert nn.first_nonfinite(net, x) == "down.1.conv"
    assert grad_enabled() and nn.first_nonfinite(nn.Identity(), Tensor(np.array([value]))) == "Identity"


def test_representation_is_a_tree():
    assert repr(nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.Dropout(0.2))) == """\
Sequential(
  (0): Sequential(
    (0): Conv2d(3, 4, (3, 3))
    (1): ReLU()
  )
  (1): Dropout(p=0.2)
)"""
