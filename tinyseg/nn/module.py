"""Module: a part of a network, which knows its parameters, its buffers and the modules inside it.

Nothing is registered by hand: parameters and modules are found by looking through the attributes.
"""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from ..graph import no_grad
from ..op import Array
from ..tensor import Tensor
from ..versions import Memory
from .ledger import LEDGER, Call, shapes

Self = TypeVar("Self", bound="Module")


class Parameter(Tensor):
    """A tensor that training changes, for the optimizer to find.  It takes a copy of the values.

    >>> Parameter([1.0, 2.0])
    Tensor([1., 2.], float32, requires_grad)
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True):
        super().__init__(data, requires_grad)
        self._array = self._array.copy()
        self._memory = Memory(self._array, handed_out=False)     # nobody else holds the copy: no checksums


class HookHandle:
    """What `register_forward_hook` returns; `remove()` takes the hook away again."""

    def __init__(self, module: Module, hook: Callable[[Module, tuple, Any], Any]):
        self.module, self.hook = module, hook

    def remove(self) -> None:
        self.module._hooks = tuple(handle for handle in self.module._hooks if handle is not self)


class Module:
    """Base of all layers and models: assign the parts in `__init__`, use them in `forward`, call the module itself.

    >>> class Affine(Module):
    ...     def __init__(self):
    ...         self.weight, self.bias = Parameter([2.0]), Parameter([1.0])
    ...     def forward(self, x):
    ...         return x * self.weight + self.bias
    >>> affine = Affine()
    >>> affine(Tensor([3.0])).item(), [name for name, _ in affine.named_parameters()]
    (7.0, ['weight', 'bias'])
    """

    # Defaults of the class, so that a subclass may leave out super().__init__().
    training: bool = True
    fused: bool = False                  # is this part of what `fuse` returned?
    _buffers: frozenset[str] = frozenset()
    _hooks: tuple[HookHandle, ...] = ()

    def forward(self, *inputs: Any, **settings: Any) -> Any:
        """Compute the output; every module defines its own."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward(self, ...)")

    def __call__(self, *inputs: Any, **settings: Any) -> Any:
        done = LEDGER.done
        outermost = done is None
        if done is None:
            done = LEDGER.done = []
        try:
            output = self.forward(*inputs, **settings)
            for handle in self._hooks:
                changed = handle.hook(self, inputs, output)
                output = output if changed is None else changed
            done.append(Call(self, shapes(output)))
            return output
        except Exception as error:
            LEDGER.note_failure(error, self, inputs)
            if outermost:
                LEDGER.explain(error, self)
            raise
        finally:
            if outermost:
                LEDGER.clear()

    def __setattr__(self, name: str, value: Any) -> None:
        what = f"{type(self).__name__}.{name}"
        if isinstance(vars(self).get(name), Parameter) and not isinstance(value, (Parameter, type(None))):
            raise TypeError(f"{what} is a parameter, not a {type(value).__name__}; assign an nn.Parameter, "
                            f"or write new values to .{name}.data")
        if name in self._buffers and not isinstance(value, (Tensor, type(None))):
            raise TypeError(f"{what} is a buffer, not a {type(value).__name__}; assign a Tensor")
        if isinstance(value, (list, tuple)) and any(isinstance(part, (Module, Parameter)) for part in value):
            raise TypeError(f"{what}: a plain {type(value).__name__} hides its modules and parameters from the "
                            f"optimizer; use nn.ModuleList, or one attribute for each")
        super().__setattr__(name, value)

    # What is inside -------------------------------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules that are attributes of this one, with their names."""
        return ((name, value) for name, value in list(vars(self).items()) if isinstance(value, Module))

    def children(self) -> Iterator[Module]:
        return (child for _, child in self.named_children())

    def _walk(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all inside it, parents first, by every path that leads there: ("down.0.", module)."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child._walk(f"{prefix}{name}.")

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """This module (its path is "") and all inside it, each once, parents first, with dotted paths."""
        return _each_once((prefix.rstrip("."), module) for prefix, module in self._walk())

    def modules(self) -> Iterator[Module]:
        return (module for _, module in self.named_modules())

    def _own_parameters(self) -> Iterator[tuple[str, Parameter]]:
        return ((name, value) for name, value in vars(self).items() if isinstance(value, Parameter))

    def _own_buffers(self) -> Iterator[tuple[str, Tensor]]:
        return ((name, value) for name, value in vars(self).items() if name in self._buffers and value is not None)

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters, each once, with dotted paths: ("down.0.conv.weight", …)."""
        return _each_once((prefix + name, p) for prefix, module in self._walk() for name, p in module._own_parameters())

    def parameters(self) -> Iterator[Parameter]:
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """All buffers (tensors that are saved with the parameters but not trained), each once, with dotted paths."""
        return _each_once((prefix + name, b) for prefix, module in self._walk() for name, b in module._own_buffers())

    def buffers(self) -> Iterator[Tensor]:
        return (buffer for _, buffer in self.named_buffers())

    def register_buffer(self, name: str, tensor: Tensor | None) -> None:
        """Make `tensor` an attribute that `state_dict` saves and no optimizer trains, such as a running mean."""
        self._buffers |= {name}
        setattr(self, name, tensor)

    # Saving and loading ---------------------------------------------------------------------------------------------

    def _state(self) -> dict[str, Tensor]:
        return {prefix + name: tensor for prefix, module in self._walk()
                for own in (module._own_parameters(), module._own_buffers()) for name, tensor in own}

    def state_dict(self) -> dict[str, Array]:
        """A copy of every parameter and buffer, under PyTorch's names: {"down.0.conv.weight": array, …}."""
        return {name: tensor._array.copy() for name, tensor in self._state().items()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> tuple[list[str], list[str]]:
        """Copy arrays (of any library that NumPy can read) into the parameters and buffers of the same names.

        Returns the names (missing from `state`, unexpected in it), both empty when `strict`.  ValueError lists all that
        does not fit, and then nothing has been written; strict=False lets names differ, but never shapes.
        """
        own = self._state()
        missing = [name for name in own if name not in state]
        unexpected = [name for name in state if name not in own]
        arrays = {name: np.asarray(state[name]) for name in own if name in state}
        misfits = [f"{name} is {array.dtype} {array.shape}, expected {own[name].dtype} {own[name].shape}"
                   for name, array in arrays.items()
                   if array.shape != own[name].shape or not np.can_cast(array.dtype, own[name].dtype, "same_kind")]
        problems = [("missing", missing), ("unexpected", unexpected)] if strict else []
        found = [f"{title}: {_first_few(names)}" for title, names in [*problems, ("misfit", misfits)] if names]
        if found:
            raise ValueError(f"{type(self).__name__}: load_state_dict: {'; '.join(found)}")
        for name, array in arrays.items():
            own[name].writable()[...] = array
        return missing, unexpected

    # Modes ----------------------------------------------------------------------------------------------------------

    def train(self: Self, mode: bool = True) -> Self:
        """Training mode for this module and all inside: batch norm uses the batch's statistics, dropout drops.

        RuntimeError for what `fuse` returned, which has no batch norm any more.
        """
        if mode and any(module.fused for module in self.modules()):
            raise RuntimeError(f"{type(self).__name__}: fused for inference, it cannot train; train the model that it was "
                               f"fused from, and fuse again")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: Self) -> Self:
        """Evaluation mode: train(False)."""
        return self.train(False)

    def normalised(self) -> list[tuple[str, str]]:
        """The attributes (convolution, normalisation) of which the second works on the output of the first and nothing else
        does; for `fuse`, and for modules that have such to say so."""
        return []

    def fuse(self: Self) -> Self:
        """A copy for inference, in evaluation mode, with batch norm folded into the convolutions: equal up to rounding.

        As torch.ao.quantization.fuse_modules: the convolutions have other weights and a bias each, and an nn.Identity
        stands where the norm was, so that its names are not in `state_dict`.  The model itself stays as it is.
        """
        from .fusing import fused
        return fused(self)

    def zero_grad(self) -> None:
        """Forget all gradients: every `.grad` becomes None."""
        for parameter in self.parameters():
            parameter.grad = None

    def requires_grad_(self: Self, requires_grad: bool = True) -> Self:
        """Freeze (False) or unfreeze all parameters."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def register_forward_hook(self, hook: Callable[[Module, tuple, Any], Any]) -> HookHandle:
        """Call hook(module, inputs, output) after each forward; what it returns, unless None, replaces the output."""
        handle = HookHandle(self, hook)
        self._hooks += (handle,)
        return handle

    def __repr__(self) -> str:
        parts = [self.extra_repr()] if self.extra_repr() else []
        children = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        if not children:
            return f"{type(self).__name__}({', '.join(parts)})"
        return "\n  ".join([f"{type(self).__name__}(", *parts, *children]) + "\n)"

    def extra_repr(self) -> str:
        """What stands in the brackets of the representation, before the modules inside."""
        return ""

    def _cast(self: Self, dtype: Any) -> Self:
        for tensor in self._state().values():
            if tensor.dtype.kind == "f":
                tensor.data = tensor._array.astype(dtype)
                tensor.grad = None
        return self

    def double(self: Self) -> Self:
        """Turn parameters and buffers into float64, in place; their gradients are forgotten."""
        return self._cast(np.float64)

    def float(self: Self) -> Self:
        """Turn parameters and buffers into float32, in place; their gradients are forgotten."""
        return self._cast(np.float32)


@contextlib.contextmanager
def watch(model: Module, hook: Callable[[str, Module, tuple, Any], None]) -> Iterator[None]:
    """Within this context, hook(path, module, inputs, output) is called after the forward of every module of `model`.

    >>> from tinyseg import nn
    >>> model = nn.Sequential(nn.ReLU(), nn.Flatten())
    >>> with watch(model, lambda path, module, inputs, output: print(path or "all", output.shape)):
    ...     _ = model(Tensor(np.zeros((1, 2, 3))))
    0 (1, 2, 3)
    1 (1, 6)
    all (1, 6)
    """
    def named(path: str) -> Callable[[Module, tuple, Any], None]:
        return lambda module, inputs, output: hook(path, module, inputs, output)

    handles = [module.register_forward_hook(named(path)) for path, module in model.named_modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def first_nonfinite(model: Module, *inputs: Any) -> str | None:
    """Dotted path of the first layer that makes a NaN or an infinity out of these inputs; None if there is none.

    The model runs once more, in the mode it is in; its running statistics stay as they are.
    """
    found: list[str] = []

    def look(path: str, module: Module, inputs: tuple, output: Any) -> None:
        outputs = output if isinstance(output, tuple) else (output,)
        if not all(np.isfinite(tensor._array).all() for tensor in outputs if isinstance(tensor, Tensor)):
            found.append(path or type(module).__name__)

    before = {name: tensor._array.copy() for name, tensor in model.named_buffers()}
    try:
        with no_grad(), watch(model, look):
            model(*inputs)
    finally:
        model.load_state_dict(before, strict=False)
    return found[0] if found else None


Named = TypeVar("Named")


def _each_once(pairs: Iterator[tuple[str, Named]]) -> Iterator[tuple[str, Named]]:
    """Leave out what came before under another name."""
    seen: set[Named] = set()
    for name, value in pairs:
        if value not in seen:
            seen.add(value)
            yield name, value


def _first_few(names: list[str]) -> str:
    """One line, however many names there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
