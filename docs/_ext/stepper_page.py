"""The page of the steppers: each runs at build time, and stands in the page as a frame of its own that needs nothing else."""
from __future__ import annotations

import inspect

from docstrings import escape
from pages import block, heading, write_folder

from tinyseg.steps import STEPPERS


def stepper_page() -> str:
    parts = [heading("Step by step"),
             "Operations, number by number: go on and back with the buttons or, once you have clicked into a frame, with the "
             "arrow keys.  Every number comes from watching the plain NumPy definition at work.  With numbers of your own:\n",
             block("code-block:: sh", 'tinyseg step conv-transpose --stride 2 --kernel "1 2; 3 4"')]
    for name, stepper in STEPPERS.items():
        steps = stepper()
        sentence = (inspect.getdoc(stepper) or "").partition("\n")[0]
        parts += [f".. _step-{name}:\n", heading(name, "-"), f"{escape(sentence)}\n",
                  f"``tinyseg step {name}``, {len(steps)} frames\n", block("raw:: html", steps._repr_html_())]
    return "\n".join(parts)


def generate(app) -> None:
    write_folder(app, "steps", {"overview.rst": stepper_page()})


def setup(app) -> None:
    app.connect("builder-inited", generate, priority=100)
