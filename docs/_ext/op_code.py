"""Which functions call an op, which kernels it runs, and the sources of all of them: read from the code, not kept by hand."""
from __future__ import annotations

import contextlib
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from textwrap import dedent
from types import CodeType
from typing import Any

import numpy as np

import tinyseg.kernels
from tinyseg import Tensor, functional
from tinyseg.op import Context, Op

MODULES = [importlib.import_module(f"tinyseg.kernels.{info.name}") for info in pkgutil.iter_modules(tinyseg.kernels.__path__)]


def body(function: Any) -> Callable[..., Any]:
    """The plain Python of a function, a kernel, a decorated function or a property."""
    function = function.fget if isinstance(function, property) else function
    return inspect.unwrap(getattr(function, "py_func", function))


def source(function: Any) -> str:
    """As it stands in its file, its first line at the margin."""
    return dedent(inspect.getsource(body(function)))


def names_in(code: CodeType) -> list[str]:
    """All names that a function's code looks up, nested functions included, in order."""
    nested = [name for const in code.co_consts if isinstance(const, CodeType) for name in names_in(const)]
    return [*code.co_names, *nested]


def is_function(value: Any) -> bool:
    """Is it a function or a kernel?"""
    return inspect.isfunction(body(value)) if callable(value) and not inspect.isclass(value) else False


def helpers(*functions: Any) -> list[Any]:
    """The functions of the same file that these call, and those that they call, in the file's order."""
    found: dict[str, Any] = {}
    todo = [body(function) for function in functions]
    while todo:
        function = todo.pop()
        for name in names_in(function.__code__):
            value = function.__globals__.get(name)
            if name not in found and is_function(value) and body(value).__module__ == function.__module__ \
                    and body(value) not in map(body, functions):
                found[name] = value
                todo.append(body(value))
    return sorted(found.values(), key=lambda value: body(value).__code__.co_firstlineno)


def borrowed(*functions: Any) -> dict[str, list[str]]:
    """What these call from other files of the kernels: {file: names}."""
    found: dict[str, list[str]] = {}
    for function in map(body, functions):
        for name in names_in(function.__code__):
            value = function.__globals__.get(name)
            if is_function(value) and body(value).__module__ != function.__module__ \
                    and body(value).__module__.startswith("tinyseg.kernels."):
                names = found.setdefault(body(value).__module__, [])
                names += [name] * (name not in names)
    return found


def callers(op: type[Op]) -> tuple[list[str], list[str]]:
    """The public functions that apply an op, and the methods of `Tensor`."""
    functions = [name for name in functional.__all__ if op in _classes(getattr(functional, name))]
    methods = [name for name, value in vars(Tensor).items() if inspect.isfunction(value) or isinstance(value, property)
               if "_call" in (code := body(value).__code__).co_names and op.name in code.co_consts]
    return functions, methods


def _classes(function: Any) -> list[Any]:
    """The global classes that a function uses, itself or through its helpers."""
    return [function.__globals__.get(name) for function in map(body, [function, *helpers(function)])
            for name in names_in(function.__code__) if inspect.isclass(function.__globals__.get(name))]


def kernels(op: type[Op]) -> dict[str, list[Any]]:
    """The kernels that forward (with and without a gradient) and backward run on samples, {"forward": […], "backward": […]}.

    They are only noted, not run: nothing is compiled, and what comes out means nothing.
    """
    seen: dict[str, list[Any]] = {"forward": [], "backward": []}
    for sample in op.samples(np.random.default_rng(0)):
        context = Context((True,) * len(sample.arrays))
        with np.errstate(all="ignore"):
            with noting(seen["forward"]):
                op.forward(Context((False,) * len(sample.arrays)), *sample.arrays, **sample.settings)
                y = op.forward(context, *sample.arrays, **sample.settings)
            with noting(seen["backward"]):
                op.backward(context, np.ones_like(y[0] if isinstance(y, tuple) else y))
    return seen


@contextlib.contextmanager
def noting(seen: list[Any]) -> Iterator[None]:
    """Within this context no kernel runs; those that are called are added to `seen`."""
    originals = [(module, name, value) for module in MODULES for name, value in vars(module).items()
                 if is_function(value) and body(value).__module__ == module.__name__]

    def note(original: Any) -> Callable[..., None]:
        def noted(*arguments: Any) -> None:
            if original not in seen:
                seen.append(original)
        return noted

    try:
        for module, name, value in originals:
            setattr(module, name, note(value))
        yield
    finally:
        for module, name, value in originals:
            setattr(module, name, value)


def file_of(module: str) -> str:
    """tinyseg.kernels.conv -> kernels/conv.py"""
    return module.removeprefix("tinyseg.").replace(".", "/") + ".py"
