import json
import math

import numpy as np
import pytest

from tinyseg import Tensor, nn, optim

SETTINGS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.2}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.4, "weight_decay": 0.2}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.2}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "eps": 0.1, "betas": (0.7, 0.9), "weight_decay": 0.2}),
    ("AdamW", {"lr": 0.1}),
    ("AdamW", {"lr": 0.1, "eps": 0.1, "betas": (0.0, 0.5), "weight_decay": 0.2}),
]
SHAPES = [(3, 4), (5,), ()]


def sgd(theta, g, state, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    """The formula, as PyTorch's documentation has it."""
    g = g + weight_decay * theta
    if momentum:
        state["v"] = momentum * state["v"] + (1 - dampening) * g if "v" in state else g
        g = g + momentum * state["v"] if nesterov else state["v"]
    return theta - lr * g


def adam(theta, g, state, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
    state["t"] = t = state.get("t", 0) + 1
    g = g + weight_decay * theta
    state["m"] = betas[0] * state.get("m", 0) + (1 - betas[0]) * g
    state["v"] = betas[1] * state.get("v", 0) + (1 - betas[1]) * g**2
    return theta - lr * (state["m"] / (1 - betas[0]**t)) / (np.sqrt(state["v"] / (1 - betas[1]**t)) + eps)


def adamw(theta, g, state, lr=1e-3, weight_decay=1e-2, **settings):
    return adam(theta * (1 - lr * weight_decay), g, state, lr, **settings)


FORMULAS = {"SGD": sgd, "Adam": adam, "AdamW": adamw}


def leaves(dtype=np.float64):
    rng = np.random.default_rng(1)
    return [Tensor(np.array(rng.standard_normal(shape), dtype), requires_grad=True) for shape in SHAPES]


def gradients(steps, dtype=np.float64):
    rng = np.random.default_rng(2)
    return [[np.array(rng.standard_normal(shape), dtype) for shape in SHAPES] for _ in range(steps)]


def run(optimizer, tensors, grads):
    for step in grads:
        for tensor, grad in zip(tensors, step):
            tensor.grad = grad
        optimizer.step()


@pytest.mark.parametrize("name, settings", SETTINGS)
@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_formula(name, settings, dtype, tolerance):
    tensors, states = leaves(dtype), [{} for _ in SHAPES]
    expected = [t.numpy().astype(np.float64) for t in tensors]
    run(getattr(optim, name)(tensors, **settings), tensors, gradients(20, dtype))
    for step in gradients(20):
        expected = [FORMULAS[name](theta, g, state, **settings) for theta, g, state in zip(expected, step, states)]
    for tensor, theta in zip(tensors, expected):
        assert tensor.dtype == dtype
        np.testing.assert_allclose(tensor.numpy(), theta, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name, settings", SETTINGS)
@pytest.mark.parametrize("schedule", ["none", "PolynomialLR", "StepLR", "CosineAnnealingLR"])
def test_torch_takes_the_same_steps(name, settings, schedule):
    torch = pytest.importorskip("torch")
    arguments = {"PolynomialLR": {"total_iters": 15, "power": 0.9}, "StepLR": {"step_size": 6, "gamma": 0.3},
                 "CosineAnnealingLR": {"T_max": 20, "eta_min": 1e-3}}
    ours = leaves()
    theirs = [torch.tensor(t.numpy(), requires_grad=True) for t in ours]
    results = []
    for library, tensors, schedules in [(optim, ours, optim), (torch.optim, theirs, torch.optim.lr_scheduler)]:
        groups = [{"params": tensors[:1], "lr": 0.3, "weight_decay": 0.01}, {"params": tensors[1:]}]
        optimizer = getattr(library, name)(groups, **settings)
        scheduler = getattr(schedules, schedule)(optimizer, **arguments[schedule]) if schedule != "none" else None
        rates = []
        for step in gradients(20):
            for tensor, grad in zip(tensors, step):
                tensor.grad = grad if library is optim else torch.tensor(grad)
            optimizer.step()
            if scheduler:
                scheduler.step()
                rates.append(scheduler.get_last_lr())
        results.append(rates)
    np.testing.assert_allclose(*results, rtol=1e-12, atol=1e-16)
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name, settings", SETTINGS)
def test_a_resumed_run_has_the_same_bits(name, settings):
    def start():
        tensors = leaves(np.float32)
        optimizer = getattr(optim, name)([{"params": tensors[:2], "lr": 0.05}, {"params": tensors[2:]}], **settings)
        return tensors, optimizer, optim.PolynomialLR(optimizer, 30)

    grads = gradients(20, np.float32)
    tensors, optimizer, schedule = start()
    saved = None
    for i, step in enumerate(grads):
        run(optimizer, tensors, [step])
        schedule.step()
        if i == 9:
            saved = [t.numpy().copy() for t in tensors], optimizer.state_dict(), json.dumps(schedule.state_dict())
    again, optimizer, schedule = start()
    for tensor, values in zip(again, saved[0]):
        tensor.writable()[...] = values
    optimizer.load_state_dict(saved[1])
    schedule.load_state_dict(json.loads(saved[2]))
    for step in grads[10:]:
        run(optimizer, again, [step])
        schedule.step()
    for a, b in zip(tensors, again):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_saved_state_is_plain_arrays_and_a_copy():
    tensors = leaves()
    optimizer = optim.Adam(tensors)
    settings = ("params", "lr", "betas", "eps", "weight_decay")
    assert set(optimizer.state_dict()) == {f"group.0.{name}" for name in settings}
    run(optimizer, tensors, gradients(1))
    state = optimizer.state_dict()
    assert all(isinstance(array, np.ndarray) and array.dtype.kind in "if" for array in state.values())
    assert state["state.0.exp_avg"].shape == (3, 4) and state["state.2.step"] == 1
    before = state["state.0.exp_avg"].copy()
    run(optimizer, tensors, gradients(1))
    np.testing.assert_array_equal(state["state.0.exp_avg"], before)


@pytest.mark.parametrize("spoil, message", [
    (lambda state: state.pop("group.0.lr"), "has no group.0.lr"),
    (lambda state: state.pop("state.1.exp_avg"), "has nothing for state.1.exp_avg"),
    (lambda state: state.update({"state.0.exp_avg": np.zeros((4, 3))}),
     "has shape (4, 3) for state.0.exp_avg, expected shape (3, 4)"),
    (lambda state: state.update({"state.0.step": np.ones(2)}), "has shape (2,) for state.0.step"),
    (lambda state: state.update({"group.0.params": np.array(4)}), "is of 4 parameters in group 0, here are 3"),
    (lambda state: state.update({"group.1.lr": np.array(1.0)}), "has group.1.lr, which nothing here answers to"),
    (lambda state: state.update({"group.0.betas": np.array([0.9, 1.0])}), "betas=(0.9, 1.0)"),
])
def test_a_state_that_does_not_fit_changes_nothing(spoil, message):
    tensors = leaves()
    optimizer = optim.Adam(tensors)
    run(optimizer, tensors, gradients(2))
    before, state = optimizer.state_dict(), optimizer.state_dict()
    state["group.0.eps"] = np.array(0.5)
    spoil(state)
    with pytest.raises(ValueError) as error:
        optimizer.load_state_dict(state)
    assert message in str(error.value) and "\n" not in str(error.value)
    after = optimizer.state_dict()
    assert before.keys() == after.keys() and all((before[name] == after[name]).all() for name in before)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_a_parameter_without_gradient_is_left_alone(name):
    a, b, c = leaves()
    optimizer = getattr(optim, name)([a, b, c], lr=0.1, weight_decay=0.5)
    before = b.numpy().copy()
    a.grad, c.grad = np.ones(a.shape), np.ones(c.shape)
    optimizer.step()
    np.testing.assert_array_equal(b.numpy(), before)
    assert not any(key.startswith("state.1.") for key in optimizer.state_dict())
    optimizer.zero_grad()
    assert a.grad is None and b.grad is None and c.grad is None


def test_memory_is_only_taken_where_it_is_needed():
    tensors = leaves()
    optimizer = optim.SGD(tensors, lr=0.1)
    run(optimizer, tensors, gradients(2))
    assert not any(key.startswith("state.") for key in optimizer.state_dict())


def test_arrays_of_any_layout():
    grad = np.arange(12.0).reshape(3, 4)
    expected = -0.1 * grad
    for make in (np.ascontiguousarray, np.asfortranarray, lambda a: np.repeat(a, 2, axis=1)[:, ::2]):
        for make_grad in (np.ascontiguousarray, np.asfortranarray, lambda a: a.astype(np.float32)):
            values = make(np.zeros((3, 4)))
            tensor = Tensor(values, requires_grad=True)
            tensor.grad = make_grad(grad)
            optim.SGD([tensor], lr=0.1).step()
            np.testing.assert_allclose(values, expected)
            assert tensor.numpy() is values


def test_it_trains_a_model_and_a_pending_backward_notices():
    model = nn.Linear(3, 2)
    x = Tensor(np.ones((4, 3), np.float32))
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = (model(x)**2).sum()
        loss.backward()
        losses.append(loss.item())
        pending = model(x).sum()
        optimizer.step()
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.5 * losses[0]
    x.requires_grad = True
    pending = model(x).sum()
    optimizer.step()
    with pytest.raises(RuntimeError, match="has changed"):
        pending.backward()


@pytest.mark.parametrize("lr, message", [(-0.1, "SGD: lr=-0.1; expected a number of at least 0"), (math.nan, "lr=nan"),
                                         (math.inf, "lr=inf")])
def test_learning_rates_that_cannot_be(lr, message):
    with pytest.raises(ValueError, match=message):
        optim.SGD(leaves(), lr=lr)


@pytest.mark.parametrize("make, error, message", [
    (lambda: optim.SGD(leaves(), 0.1, momentum=-1), ValueError, "SGD: momentum=-1"),
    (lambda: optim.SGD(leaves(), 0.1, weight_decay=-1), ValueError, "weight_decay=-1"),
    (lambda: optim.SGD(leaves(), 0.1, nesterov=True), ValueError, "nesterov needs a momentum and no dampening"),
    (lambda: optim.Adam(leaves(), betas=(0.9, 1.0)), ValueError, "Adam: betas=(0.9, 1.0)"),
    (lambda: optim.AdamW(leaves(), eps=-1e-8), ValueError, "AdamW: eps=-1e-08"),
    (lambda: optim.SGD([], 0.1), ValueError, "SGD: no parameters to optimize"),
    (lambda: optim.SGD([{"params": leaves()}, {"params": []}], 0.1), ValueError, "no parameters to optimize"),
    (lambda: optim.SGD(leaves() * 2, 0.1), ValueError, "parameter 3, of shape (3, 4), is given twice"),
    (lambda: optim.SGD([np.zeros(3)], 0.1), TypeError, "parameter 0 is a ndarray, expected a Tensor"),
    (lambda: optim.SGD(leaves()[0], 0.1), TypeError, "parameters are a Tensor, expected a list"),
    (lambda: optim.SGD(None, 0.1), TypeError, "parameters are a NoneType"),
    (lambda: optim.SGD([leaves()[0] * 2], 0.1), ValueError, "parameter 0 was computed by mul; only leaves"),
    (lambda: optim.SGD([{"params": leaves(), "rate": 1}], 0.1), ValueError, "unknown setting rate; there are lr"),
    (lambda: optim.SGD([{"lr": 1}], 0.1), TypeError, "each parameter group must be a dict with 'params'"),
    (lambda: optim.StepLR(optim.SGD(leaves(), 0.1), 0), ValueError, "StepLR: step_size=0; expected at least 1"),
    (lambda: optim.PolynomialLR(optim.SGD(leaves(), 0.1), 0), ValueError, "PolynomialLR: total_iters=0"),
])
def test_bad_arguments(make, error, message):
    with pytest.raises(error) as raised:
        make()
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_a_gradient_of_another_shape_changes_nothing():
    a, b, _ = leaves()
    before = a.numpy().copy()
    a.grad, b.grad = np.ones(a.shape), np.ones((1, 5))
    with pytest.raises(ValueError, match=r"a gradient of shape \(1, 5\) for a parameter of shape \(5,\)"):
        optim.SGD([a, b], lr=0.1).step()
    np.testing.assert_array_equal(a.numpy(), before)


def test_schedules_closed_form():
    def rates(make, steps):
        schedule = make(optim.SGD(leaves(), lr=2.0))
        assert schedule.get_last_lr() == [2.0]
        result = []
        for _ in range(steps):
            schedule.step()
            result += schedule.get_last_lr()
        return result

    polynomial = rates(lambda optimizer: optim.PolynomialLR(optimizer, 4, power=0.9), 6)
    np.testing.assert_allclose(polynomial, [2 * .75**.9, 2 * .5**.9, 2 * .25**.9, 0, 0, 0])
    np.testing.assert_allclose(rates(lambda optimizer: optim.StepLR(optimizer, 2), 5), [2, .2, .2, .02, .02])
    cosine = rates(lambda optimizer: optim.CosineAnnealingLR(optimizer, 4, eta_min=1.0), 4)
    np.testing.assert_allclose(cosine, [1 + (1 + np.sqrt(.5)) / 2, 1.5, 1 + (1 - np.sqrt(.5)) / 2, 1])


@pytest.mark.parametrize("state", [{}, {"last_epoch": 3}, {"last_epoch": 3, "base_lrs": [0.1, 0.2]}])
def test_a_schedule_refuses_another_ones_state(state):
    schedule = optim.StepLR(optim.SGD(leaves(), 0.1), 2)
    with pytest.raises(ValueError, match="StepLR: .* is not the state of a schedule with 1 parameter groups"):
        schedule.load_state_dict(state)


@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_clipping(max_norm):
    torch = pytest.importorskip("torch")
    ours = leaves()
    theirs = [torch.tensor(t.numpy(), requires_grad=True) for t in ours]
    for a, b, grad in zip(ours[:2], theirs, gradients(1)[0]):
        a.grad, b.grad = grad.copy(), torch.tensor(grad)
    norm = optim.clip_grad_norm_(ours, max_norm)
    assert norm == pytest.approx(torch.nn.utils.clip_grad_norm_(theirs, max_norm).item())
    for a, b in zip(ours[:2], theirs):
        np.testing.assert_allclose(a.grad, b.grad.numpy(), rtol=1e-12)
