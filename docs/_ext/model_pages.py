"""A page for every model of the lecture: its feature maps drawn by the library, beside the forward that makes them."""
from __future__ import annotations

import importlib
import inspect
from typing import NamedTuple
from unittest import mock

from docstrings import escape, to_rest
from op_code import file_of, source
from op_figures import svg
from pages import block, code, folded, heading, literal, table, write_folder

from tinyseg import models, nn
from tinyseg.models.diagram import diagram
from tinyseg.models.summary import summary
from tinyseg.plots import model_diagram


class Figure(NamedTuple):
    """A model as in a figure of its paper, by the call that makes it, and the size of the images there."""

    call: str
    size: tuple[int, ...]
    descending: bool = False


PAGES = {
    models.UNet: [Figure('UNet(2, in_channels=1, padding="valid", norm=None)', (1, 1, 572, 572), descending=True)],
    models.FCN: [Figure('FCN(21, padding=100, variant="8s")', (1, 3, 500, 500))],
    models.SegNet: [Figure("SegNet(11)", (1, 3, 360, 480))],
    models.DeepLab: [Figure(f'DeepLab(21, version="{version}")', (1, 3, 321, 321)) for version in ("v1", "v2", "v3")],
}


def model_page(model: type[nn.Module], drawn: dict[Figure, str]) -> str:
    """drawn: the table of layers of each figure."""
    name, module = model.__name__.lower(), importlib.import_module(model.__module__)
    parts = [":hide-toc:\n", heading(model.__name__), to_rest(module.__doc__ or "") + "\n", heading("Its feature maps", "-"),
             "Every box is a feature map: its height is the resolution, its width goes with the channels (the number above "
             "it), and below it stand the layer's name and the size.  Drawn from a run of the model, as is the table of "
             "layers.  A click shows it larger.\n"]
    for k, (shown, layers) in enumerate(drawn.items()):
        image = f"{name}_{k}.svg"
        parts += [f"``{shown.call}`` on an image of {shown.size[2]} x {shown.size[3]} pixels:\n",
                  block("container:: scroll", block(f"image:: {image}", alt=f"The feature maps of {shown.call}",
                                                    target=f"../../_images/{image}", class_="wide")),
                  folded("Its layers: shapes, parameters, multiply-adds, receptive fields", literal(layers))]
    init, forward = source(model.__init__), source(model.forward)
    return "\n".join([
        *parts, heading("forward", "-"), f"From ``{file_of(model.__module__)}``:\n", code(forward),
        heading("The layers that it uses", "-"), code(init), heading("How it is called", "-"),
        block(f"autoclass:: tinyseg.models.{model.__name__}", no_index="")])


def draw(shown: Figure) -> tuple[bytes, str]:
    """The figure as SVG, and the table of layers.  Its weights, half a gigabyte, are not looked at, and so not drawn."""
    with mock.patch.multiple(nn.init, normal_=lambda tensor, *_, **__: tensor, uniform_=lambda tensor, *_, **__: tensor):
        model = eval(shown.call, vars(models))
    return svg(model_diagram(diagram(model, shown.size), shown.descending)), summary(model, shown.size)


def index_page() -> str:
    rows = [(f":doc:`{model.__name__} <{model.__name__.lower()}>`", escape((inspect.getdoc(model) or "").split("\n")[0]))
            for model in PAGES]
    return "\n".join([heading("Models"), "The lecture's networks, each beside its paper's figure.\n",
                      table(("model", "what it is"), rows, "20 80"),
                      "The encoders (VGG, ResNet, MobileNet) and the sliding window are in "
                      ":doc:`/generated/api/tinyseg.models`.\n",
                      block("toctree::", "\n".join(model.__name__.lower() for model in PAGES), hidden="")])


def generate(app) -> None:
    files: dict[str, str | bytes] = {"overview.rst": index_page()}
    for model, figures in PAGES.items():
        name, drawn = model.__name__.lower(), {}
        for k, shown in enumerate(figures):
            files[f"{name}_{k}.svg"], drawn[shown] = draw(shown)
        files[f"{name}.rst"] = model_page(model, drawn)
    write_folder(app, "models", files)


def setup(app) -> None:
    app.connect("builder-inited", generate, priority=100)
