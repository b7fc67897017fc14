"""A page for every op of the registry: formula, call, a picture, and beside each other the definition and what runs."""
from __future__ import annotations

import importlib
import inspect
import re
from itertools import groupby

from docstrings import escape
from op_code import borrowed, callers, file_of, helpers, kernels, source
from op_figures import sample_figure
from pages import block, code, folded, heading, literal, table, write_folder

import tinyseg.ops  # noqa: F401  (it fills the registry)
from tinyseg import Tensor
from tinyseg.op import REGISTRY, Op


def op_page(op: type[Op], caption: str) -> str:
    functions, methods = callers(op)
    calls = [block(f"autofunction:: tinyseg.functional.{name}", no_index="") for name in functions]
    calls += [block(f"auto{_kind(name)}:: tinyseg.tensor.Tensor.{name}", no_index="") for name in methods]
    return "\n".join([
        ":hide-toc:\n", heading(op.name), literal(inspect.getdoc(op) or "", class_="formula"),
        block(f"image:: {op.name}.svg", alt=caption, class_="sample"), f"{escape(caption)}.\n",
        block("container:: beside", _definition(op) + "\n" + _what_runs(op)),
        heading("How it is called", "-"), *calls,
        heading("How it is tested", "-"),
        "By these calls; :doc:`/adding_an_op` says what is checked in each.  "
        f"``tinyseg gradcheck {op.name}`` checks its gradients.\n", code(source(op.samples)),
    ])


def _kind(name: str) -> str:
    return "property" if isinstance(vars(Tensor)[name], property) else "method"


def _definition(op: type[Op]) -> str:
    parts = [code(source(part)) for part in (op.reference, *helpers(op.reference))]
    return block("container:: half", "\n".join([".. rubric:: The definition, in plain NumPy\n", *parts]))


def _what_runs(op: type[Op]) -> str:
    defined = helpers(op.reference)
    others = [part for part in helpers(op.forward, op.backward) if part not in defined]
    parts = [f".. rubric:: What runs: ``{file_of(op.__module__)}``\n",
             *(code(source(part)) for part in (op.forward, op.backward, *others))]
    ran = kernels(op)
    ways = {kernel: " and ".join(way for way, seen in ran.items() if kernel in seen)
            for seen in ran.values() for kernel in seen}
    shown = list(ways)
    for kernel, way in ways.items():
        more = [part for part in helpers(kernel) if part not in shown]
        shown += more
        parts.append(_kernel(kernel, way, more))
    return block("container:: half", "\n".join(parts))


def _kernel(kernel, way: str, more: list) -> str:
    """A kernel that forward or backward runs, with those of its helpers that no kernel before it has shown."""
    title = f"{way.capitalize()}: *{escape(kernel.__name__)}* of ``{file_of(kernel.__module__)}``"
    parts = [f".. rubric:: {title}\n", code(source(kernel))]
    if more:
        names = ", ".join(part.__name__ for part in more)
        parts.append(folded(f"what it calls: {names}", "\n".join(code(source(part)) for part in more)))
    elsewhere = [f"{', '.join(f'*{escape(name)}*' for name in names)} of ``{file_of(module)}``"
                 for module, names in borrowed(kernel, *more).items()]
    return "\n".join([*parts, f"From elsewhere it calls {'; '.join(elsewhere)}.\n" if elsewhere else ""])


def index_page() -> str:
    parts = [heading("Operations"), "Each operation as its formula, as plain NumPy, and as what runs.\n",
             block("toctree::", "\n".join(REGISTRY), hidden="")]
    for module, ops in groupby(REGISTRY.values(), lambda op: op.__module__):
        title = re.split(r"[.,:]", re.sub(r" \(.*?\)", "", importlib.import_module(module).__doc__ or ""))[0]
        rows = [(f":doc:`{op.name}`", f"``{_formula(op)}``", _called(op)) for op in ops]
        parts += [heading(escape(title), "-"), table(("op", "formula", "called as"), rows, "16 52 32")]
    return "\n".join(parts)


def _formula(op: type[Op]) -> str:
    """The forward part of the docstring's first line."""
    return (op.__doc__ or "").split("\n")[0].split(";   ")[0].split(",   ")[0].strip()


def _called(op: type[Op]) -> str:
    functions, methods = callers(op)
    calls = [f":py:func:`~tinyseg.functional.{name}`" for name in functions]
    return ", ".join(calls + [f":py:meth:`Tensor.{name} <tinyseg.tensor.Tensor.{name}>`" for name in methods
                              if not name.startswith("__r")])


def generate(app) -> None:
    files: dict[str, str | bytes] = {"overview.rst": index_page()}
    for name, op in REGISTRY.items():
        files[f"{name}.svg"], caption = sample_figure(op)
        files[f"{name}.rst"] = op_page(op, caption)
    write_folder(app, "ops", files)


def setup(app) -> None:
    app.connect("builder-inited", generate, priority=100)      # before the gallery runs examples, one of which adds an op
