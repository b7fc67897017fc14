"""Learning-rate schedules, with the names and formulas of torch.optim.lr_scheduler."""
from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol


class HasGroups(Protocol):
    """What a schedule needs of an optimizer: groups of parameters with a learning rate each."""

    param_groups: list[dict[str, Any]]


class Scheduler:
    """Base class: after each `step()` the learning rate of every group is a function of the number of steps so far.

    A step is whatever the caller makes it: an epoch, or an iteration.
    """

    def __init__(self, optimizer: HasGroups):
        self.optimizer = optimizer
        self.base_lrs: list[float] = [group["lr"] for group in optimizer.param_groups]
        self.last_epoch = 0

    def lr(self, base: float, t: int) -> float:
        """The learning rate after t steps, where `base` was the first."""
        raise NotImplementedError

    def step(self) -> None:
        """Go on to the next learning rate."""
        self.last_epoch += 1
        self._set()

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Numbers and lists of numbers, fit for JSON."""
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict()`, with the learning rate of then."""
        if set(state) != {"last_epoch", "base_lrs"} or len(state["base_lrs"]) != len(self.base_lrs):
            raise ValueError(f"{type(self).__name__}: {dict(state)} is not the state of a schedule with "
                             f"{len(self.base_lrs)} parameter groups")
        self.last_epoch, self.base_lrs = int(state["last_epoch"]), [float(lr) for lr in state["base_lrs"]]
        self._set()

    def _set(self) -> None:
        for group, base in zip(self.optimizer.param_groups, self.base_lrs):
            group["lr"] = self.lr(base, self.last_epoch)


class PolynomialLR(Scheduler):
    """lr = base · (1 - t / total_iters)^power, and 0 from then on.

    >>> from tinyseg import Tensor, optim
    >>> schedule = PolynomialLR(optim.SGD([Tensor([0.0], requires_grad=True)], lr=1.0), total_iters=4)
    >>> for _ in range(2): schedule.step()
    >>> round(schedule.get_last_lr()[0], 4)
    0.5359
    """

    def __init__(self, optimizer: HasGroups, total_iters: int, power: float = 0.9):
        super().__init__(optimizer)
        self.total_iters, self.power = _at_least_one(self, "total_iters", total_iters), power

    def lr(self, base: float, t: int) -> float:
        return base * (1 - min(t, self.total_iters) / self.total_iters)**self.power


class StepLR(Scheduler):
    """lr = base · gamma^⌊t / step_size⌋."""

    def __init__(self, optimizer: HasGroups, step_size: int, gamma: float = 0.1):
        super().__init__(optimizer)
        self.step_size, self.gamma = _at_least_one(self, "step_size", step_size), gamma

    def lr(self, base: float, t: int) -> float:
        return base * self.gamma**(t // self.step_size)


class CosineAnnealingLR(Scheduler):
    """lr = eta_min + (base - eta_min) · (1 + cos(π t / T_max)) / 2.  Loshchilov & Hutter 2017, without restarts."""

    def __init__(self, optimizer: HasGroups, T_max: int, eta_min: float = 0.0):
        super().__init__(optimizer)
        self.T_max, self.eta_min = _at_least_one(self, "T_max", T_max), eta_min

    def lr(self, base: float, t: int) -> float:
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * t / self.T_max)) / 2


def _at_least_one(schedule: Scheduler, name: str, value: int) -> int:
    if value < 1:
        raise ValueError(f"{type(schedule).__name__}: {name}={value}; expected at least 1")
    return value
