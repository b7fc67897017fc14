"""Modules one after the other; modules that hold modules under the names "0", "1", …"""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .layers import BatchNorm2d
from .module import Module
from .plain import ReLU, ReLU6

ACTIVATIONS: dict[type[Module], str] = {ReLU: "relu", ReLU6: "relu6"}


def chain(input: Any, *modules: Module) -> Any:
    """The output of each module is the input of the next.

    A ReLU (or ReLU6) directly behind a batch normalisation is computed with it, in one pass over memory: the same numbers,
    sooner.  Where a hook looks at either of the two, they are called one after the other.

    >>> import numpy as np
    >>> from tinyseg import Tensor, nn
    >>> x = Tensor(np.array([[[[1.0, 3.0]]]], np.float32))
    >>> chain(x, nn.BatchNorm2d(1), nn.ReLU()).numpy().round(2).tolist()
    [[[[0.0, 1.0]]]]
    """
    rest = list(modules)
    while rest:
        module = rest.pop(0)
        if type(module) is BatchNorm2d and rest and type(rest[0]) in ACTIVATIONS and not (module._hooks or rest[0]._hooks):
            input = module(input, activation=ACTIVATIONS[type(rest.pop(0))])
        else:
            input = module(input)
    return input


class ModuleList(Module):
    """A list of modules whose parameters are found.  It has no forward: use its items.

    >>> from tinyseg import nn
    >>> levels = nn.ModuleList(nn.Conv2d(3, 8 * 2**level, 3) for level in range(2))
    >>> len(levels), levels[-1].out_channels, list(levels.state_dict())
    (2, 16, ['0.weight', '0.bias', '1.weight', '1.bias'])
    """

    def __init__(self, modules: Iterable[Module] = ()):
        for module in modules:
            self.append(module)

    def append(self, module: Module) -> None:
        """Add a module at the end."""
        if not isinstance(module, Module):
            raise TypeError(f"{type(self).__name__}: item {len(self)} is a {type(module).__name__}, expected a Module")
        setattr(self, str(len(self)), module)

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __getitem__(self, index: int) -> Module:
        return list(self.children())[index]


class Sequential(ModuleList):
    """Modules one after the other: the output of each is the input of the next.

    >>> from tinyseg import nn
    >>> nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
    Sequential(
      (0): Conv2d(3, 8, (3, 3), padding=(1, 1))
      (1): ReLU()
    )
    """

    def __init__(self, *modules: Module):
        super().__init__(modules)

    def forward(self, input: Any) -> Any:
        return chain(input, *self)

    def normalised(self) -> list[tuple[str, str]]:
        names = [name for name, _ in self.named_children()]
        return list(zip(names, names[1:]))
