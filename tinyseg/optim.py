"""Optimizers, with the names, formulas, defaults and order of operations of torch.optim.

The arithmetic is in `kernels/optim.py`; learning-rate schedules are in `schedules.py`.
"""
from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Union

import numpy as np

from .kernels import dense
from .kernels import optim as kernels
from .op import Array
from .schedules import CosineAnnealingLR, PolynomialLR, StepLR
from .tensor import Tensor

__all__ = ["SGD", "Adam", "AdamW", "CosineAnnealingLR", "Optimizer", "PolynomialLR", "StepLR", "clip_grad_norm_"]

Params = Union[Iterable[Tensor], Iterable[dict[str, Any]]]


class Optimizer:
    """Base class: changes each parameter by its gradient.  A parameter without one (`.grad` None) is left as it is.

    params: tensors, or groups of them with settings of their own: [{"params": tensors, "lr": 0.1}, …].
    `param_groups` holds the groups with all their settings, and may be written to ("lr" above all).
    """

    remembers: tuple[str, ...] = ()       # the state of each parameter: "step", or arrays of the parameter's shape

    def __init__(self, params: Params, **defaults: Any):
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Tensor, dict[str, Any]] = {}
        for group in _as_groups(type(self).__name__, params):
            self._add(group)

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for parameter in self._parameters():
            if parameter.grad is not None and parameter.grad.shape != parameter.shape:
                raise ValueError(f"{type(self).__name__}: a gradient of shape {parameter.grad.shape} for a parameter "
                                 f"of shape {parameter.shape}")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step_one(parameter, group)

    def zero_grad(self) -> None:
        """Forget all gradients: every `.grad` becomes None."""
        for parameter in self._parameters():
            parameter.grad = None

    def update(self, theta: Array, grad: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Change `theta` in place.  All arrays are flat, those of `state` too, which is empty at the first step."""
        raise NotImplementedError

    def check(self, group: dict[str, Any]) -> None:
        """Raise ValueError for settings that cannot be."""
        for name in ("lr", "weight_decay"):
            _check_setting(self, group, name)

    def _step_one(self, parameter: Tensor, group: dict[str, Any]) -> None:
        values = parameter.writable()
        theta = dense(values)                                        # a copy only if the parameter is not contiguous
        grad = dense(np.asarray(parameter.grad, theta.dtype))
        self.update(theta.reshape(-1), grad.reshape(-1), self.state.setdefault(parameter, {}), group)
        if theta is not values:
            values[...] = theta

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def _add(self, group: dict[str, Any]) -> None:
        name = type(self).__name__
        unknown = set(group) - {"params", *self.defaults}
        if unknown:
            raise ValueError(f"{name}: unknown setting {', '.join(sorted(unknown))}; "
                             f"there are {', '.join(self.defaults)}")
        tensors = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        if not tensors:
            raise ValueError(f"{name}: no parameters to optimize; give model.parameters() of a model that has some")
        known = set(self._parameters())
        for i, tensor in enumerate(tensors):
            if not isinstance(tensor, Tensor):
                raise TypeError(f"{name}: parameter {i} is a {type(tensor).__name__}, expected a Tensor")
            if tensor.node is not None:
                raise ValueError(f"{name}: parameter {i} was computed by {tensor.node.op.name}; "
                                 f"only leaves can be optimized")
            if tensor in known:
                raise ValueError(f"{name}: parameter {i}, of shape {tensor.shape}, is given twice")
            known.add(tensor)
        group = {**self.defaults, **group, "params": tensors}
        self.check(group)
        self.param_groups.append(group)

    # Saving and loading -----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Array]:
        """All that a resumed training needs, as arrays: {"group.0.lr": …, "state.0.step": …, "state.0.exp_avg": …}.

        Groups and parameters are counted in the order in which they were given.
        """
        saved = {f"group.{i}.{name}": np.array(len(value) if name == "params" else value)
                 for i, group in enumerate(self.param_groups) for name, value in group.items()}
        for i, parameter in enumerate(self._parameters()):
            for name, value in self.state.get(parameter, {}).items():
                saved[f"state.{i}.{name}"] = np.array(value).reshape(() if name == "step" else parameter.shape)
        return saved

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Go on from a `state_dict()`.  ValueError if it is not one of such parameters; then nothing has changed."""
        rest = {key: np.asarray(value) for key, value in state.items()}
        parameters = self._parameters()
        groups = [self._take_group(rest, i) for i in range(len(self.param_groups))]
        states = [self._take_state(rest, i, parameter) for i, parameter in enumerate(parameters)]
        if rest:
            raise ValueError(f"{type(self).__name__}: the saved state has {next(iter(rest))}, which nothing here "
                             f"answers to; it is another model's or another optimizer's")
        for group, saved in zip(self.param_groups, groups):
            group.update(saved)
        self.state = {parameter: saved for parameter, saved in zip(parameters, states) if saved}

    def _take_group(self, rest: dict[str, Array], i: int) -> dict[str, Any]:
        """Remove the settings of group i from `rest`, and return them."""
        group, what = self.param_groups[i], f"{type(self).__name__}: the saved state"
        missing = [key for name in group if (key := f"group.{i}.{name}") not in rest]
        if missing:
            raise ValueError(f"{what} has no {missing[0]}; it is another optimizer's, or damaged")
        saved = {name: rest.pop(f"group.{i}.{name}").tolist() for name in group}
        count = saved.pop("params")
        if count != len(group["params"]):
            raise ValueError(f"{what} is of {count} parameters in group {i}, here are {len(group['params'])}")
        saved = {name: tuple(value) if isinstance(value, list) else value for name, value in saved.items()}
        self.check(saved)
        return saved

    def _take_state(self, rest: dict[str, Array], i: int, parameter: Tensor) -> dict[str, Any]:
        """Remove what is remembered of parameter i from `rest`, and return it, flat; {} if it was never updated."""
        saved = {name: rest.pop(key) for name in self.remembers if (key := f"state.{i}.{name}") in rest}
        for name in self.remembers if saved else ():
            expected = () if name == "step" else parameter.shape
            if name not in saved or saved[name].shape != expected:
                found = f"shape {saved[name].shape}" if name in saved else "nothing"
                raise ValueError(f"{type(self).__name__}: the saved state has {found} for state.{i}.{name}, "
                                 f"expected shape {expected}")
        return {name: int(value) if name == "step" else value.astype(parameter.dtype).reshape(-1)
                for name, value in saved.items()}


class SGD(Optimizer):
    """Stochastic gradient descent with momentum:  g ← g + λθ;   v ← μv + (1 - τ)g  (v = g at first);   θ ← θ - lr·v

    λ weight_decay, μ momentum, τ dampening.  With nesterov the step is g + μv instead of v.

    >>> x = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = SGD([x], lr=0.5)
    >>> (x * x).sum().backward()
    >>> optimizer.step()
    >>> x.numpy().tolist()
    [0.0, 0.0]
    """

    remembers = ("momentum_buffer",)

    def __init__(self, params: Params, lr: float = 1e-3, momentum: float = 0.0, dampening: float = 0.0,
                 weight_decay: float = 0.0, nesterov: bool = False):
        super().__init__(params, lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay,
                         nesterov=nesterov)

    def check(self, group: dict[str, Any]) -> None:
        super().check(group)
        _check_setting(self, group, "momentum")
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError(f"SGD: nesterov needs a momentum and no dampening, got momentum={group['momentum']} and "
                             f"dampening={group['dampening']}")

    def update(self, theta: Array, grad: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        number = theta.dtype.type
        lr, weight_decay, momentum = number(group["lr"]), number(group["weight_decay"]), number(group["momentum"])
        if not momentum:
            return kernels.sgd(theta, grad, lr, weight_decay)
        rate = number(1 - group["dampening"] if state else 1)
        if not state:
            state["momentum_buffer"] = np.zeros_like(theta)
        velocity = state["momentum_buffer"]
        if group["nesterov"]:
            kernels.sgd_nesterov(theta, grad, velocity, lr, weight_decay, momentum)
        else:
            kernels.sgd_momentum(theta, grad, velocity, lr, weight_decay, momentum, rate)


class Adam(Optimizer):
    """g ← g + λθ;   m ← β₁m + (1 - β₁)g;   v ← β₂v + (1 - β₂)g²;   θ ← θ - lr · m̂ / (√v̂ + ε)

    with m̂ = m / (1 - β₁ᵗ), v̂ = v / (1 - β₂ᵗ) at step t and λ weight_decay.  Kingma & Ba 2015, algorithm 1.
    """

    remembers = ("step", "exp_avg", "exp_avg_sq")

    def __init__(self, params: Params, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0.0):
        super().__init__(params, lr=lr, betas=tuple(betas), eps=eps, weight_decay=weight_decay)

    def check(self, group: dict[str, Any]) -> None:
        super().check(group)
        _check_setting(self, group, "eps")
        if len(group["betas"]) != 2 or not all(0 <= beta < 1 for beta in group["betas"]):
            raise ValueError(f"{type(self).__name__}: betas={group['betas']}; expected two numbers in [0, 1)")

    def decay(self, group: dict[str, Any]) -> tuple[float, float]:
        """(λ, the factor that the parameter is multiplied with before the step)."""
        return group["weight_decay"], 1.0

    def update(self, theta: Array, grad: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state.update(step=0, exp_avg=np.zeros_like(theta), exp_avg_sq=np.zeros_like(theta))
        state["step"] += 1
        (beta1, beta2), t = group["betas"], state["step"]
        settings = (group["lr"] / (1 - beta1**t), 1 / math.sqrt(1 - beta2**t), 1 - beta1, 1 - beta2, group["eps"],
                    *self.decay(group))
        kernels.adam(theta, grad, state["exp_avg"], state["exp_avg_sq"], *map(theta.dtype.type, settings))


class AdamW(Adam):
    """Adam with decoupled weight decay: θ ← (1 - lr·λ)θ before the step, no λθ in g.  Loshchilov & Hutter 2019."""

    def __init__(self, params: Params, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 1e-2):
        super().__init__(params, lr, betas, eps, weight_decay)

    def decay(self, group: dict[str, Any]) -> tuple[float, float]:
        return 0.0, 1 - group["lr"] * group["weight_decay"]


def clip_grad_norm_(parameters: Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients by one factor so that their norm, taken together, is at most max_norm; returns the norm."""
    grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = math.sqrt(sum(float(np.vdot(grad, grad)) for grad in grads))
    for grad in grads:
        grad *= min(1.0, max_norm / (norm + 1e-6))
    return norm


def _as_groups(name: str, params: Params) -> list[dict[str, Any]]:
    if isinstance(params, (Tensor, dict)) or not isinstance(params, Iterable):
        raise TypeError(f"{name}: parameters are a {type(params).__name__}, expected a list of tensors or of groups, "
                        f"such as model.parameters()")
    items: list[Any] = list(params)
    if any(isinstance(item, dict) for item in items):
        if not all(isinstance(item, dict) and "params" in item for item in items):
            raise TypeError(f"{name}: each parameter group must be a dict with 'params'")
        return items
    return [{"params": items}]


def _check_setting(optimizer: Optimizer, group: dict[str, Any], name: str) -> None:
    if not 0 <= group[name] < math.inf:
        raise ValueError(f"{type(optimizer).__name__}: {name}={group[name]}; expected a number of at least 0")
