"""The reference: a page for each room of tinyseg, made by autodoc of what is public in it."""
from __future__ import annotations

import importlib
import inspect
import pkgutil

from docstrings import escape
from op_code import callers
from pages import block, heading, table, write_folder

from tinyseg.op import REGISTRY

# In the order of reading; what has pages of its own (ops, kernels, the command line) is not here.
ROOMS = {
    "What you call": ("tensor", "functional", "nn", "models", "optim", "schedules", "data", "metrics", "crf"),
    "Training and using a model": ("training", "checkpoint", "pretraining", "weights", "inference", "tiling", "plots"),
    "Seeing and checking": ("steps", "gradcheck", "pytest_plugin", "sizes", "backends"),
    "What it is made of": ("op", "graph", "versions", "buffers", "rng", "files"),
    "Courses": ("course", "demo"),
}
# Most methods of a tensor are ops, documented there.
OPERATORS = {"undoc_members": "", "special_members": ", ".join(
    name for op in REGISTRY.values() for name in callers(op)[1] if name.startswith("__"))}


def room_page(room: str) -> str:
    """The package or module, and for a package its modules with what the package does not hand on itself."""
    module = importlib.import_module(f"tinyseg.{room}")
    parts = [heading(module.__name__)]
    if hasattr(module, "__path__"):
        parts.append(block(f"automodule:: {module.__name__}", members=", ".join(_exported(module)) or ""))
        for info in pkgutil.iter_modules(module.__path__):
            part = importlib.import_module(f"{module.__name__}.{info.name}")
            shown = {id(getattr(module, name)) for name in _exported(module)}
            names = [name for name, value in _own(part) if id(value) not in shown]
            options = _members(names) | ({"no_index": ""} if info.name in _exported(module) else {})
            parts += [heading(part.__name__, "-"), block(f"automodule:: {part.__name__}", **options)]
    else:
        options = OPERATORS if room == "tensor" else {}
        parts.append(block(f"automodule:: {module.__name__}", **_members([name for name, _ in _own(module)]), **options))
    return "\n".join(parts)


def _members(names: list[str]) -> dict[str, str]:
    return {"members": ", ".join(names)} if names else {}


def _exported(package) -> list[str]:
    """What a package hands on: functions and classes of its modules."""
    return [name for name in getattr(package, "__all__", ())
            if inspect.isfunction(value := getattr(package, name)) or inspect.isclass(value)]


def _own(module) -> list[tuple[str, object]]:
    """The public functions and classes that a module defines, in its order."""
    return [(name, value) for name, value in vars(module).items()
            if not name.startswith("_") and (inspect.isfunction(value) or inspect.isclass(value))
            and value.__module__ == module.__name__]


def index_page() -> str:
    parts = [heading("Reference"), "What is public, with types, shapes, errors and examples; the examples are run by the "
             "tests.  ``[source]`` leads to the code.\n"]
    for title, rooms in ROOMS.items():
        rows = [(f":doc:`tinyseg.{room} <tinyseg.{room}>`", _first_sentence(f"tinyseg.{room}")) for room in rooms]
        toc = block("toctree::", "\n".join(f"tinyseg.{room}" for room in rooms), hidden="")
        parts += [heading(title, "-"), table(("module", "what it is"), rows, "25 75"), toc]
    return "\n".join(parts)


def _first_sentence(name: str) -> str:
    text = " ".join((importlib.import_module(name).__doc__ or "").split("\n\n")[0].split())
    return escape(text.removesuffix(":"))


def generate(app) -> None:
    files = {f"tinyseg.{room}.rst": room_page(room) for rooms in ROOMS.values() for room in rooms}
    write_folder(app, "api", files | {"overview.rst": index_page()})


def setup(app) -> None:
    app.connect("builder-inited", generate, priority=100)
