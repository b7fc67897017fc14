"""Pictures: training curves, and grids of images, masks and predictions with a legend.

Figures are made without pyplot, so the caller's matplotlib backend and open figures are left alone.
"""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Union

import numpy as np

from .data.palette import VOID
from .files import replacing

if TYPE_CHECKING:                        # matplotlib takes half a second to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    AnyFigure = Union[Figure, SubFigure]

FONT = 13
BLUE, VERMILION = "#0072B2", "#D55E00"   # told apart by colour-blind readers too: Okabe and Ito, 2008
SLIDE: dict[str, Any] = {                # for plt.style.use: legible from the last row
    "font.size": 15, "axes.titlesize": 16, "figure.titlesize": 19, "figure.figsize": (12, 5),
    "figure.constrained_layout.use": True, "figure.constrained_layout.h_pad": 0.12,
    "image.interpolation": "nearest", "image.cmap": "cividis", "lines.linewidth": 3, "lines.markersize": 9, "grid.color": "0.9",
    "axes.prop_cycle": f"cycler('color', ['{BLUE}', '{VERMILION}', '#009E73', '#E69F00', '#CC79A7', '#000000'])",
}
RIGHT_COLOUR, WRONG_COLOUR, VOID_COLOUR = (225, 225, 225), (213, 94, 0), (255, 255, 255)
SLIDE_SIZE = 40 / 3, 7.5                 # width and height in inches, 16:9


class Panel(NamedTuple):
    """One picture of a grid: (H, W, 3) uint8, and its title."""

    title: str
    picture: np.ndarray


def error_map(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Grey where the prediction is right, vermilion where it is wrong, white where the target is void: (H, W, 3) uint8.

    >>> error_map(np.array([[1, 1, 1]]), np.array([[1, 2, 255]]))[0].tolist()
    [[225, 225, 225], [213, 94, 0], [255, 255, 255]]
    """
    colours = np.array([RIGHT_COLOUR, WRONG_COLOUR, VOID_COLOUR], np.uint8)
    return colours[np.where(target == VOID, 2, prediction != target)]


def class_legend(classes: Sequence[str], palette: np.ndarray) -> dict[str, np.ndarray]:
    """Class names with their colours, and void; what `grid` takes as a legend.

    >>> class_legend(["sky"], np.zeros((256, 3), np.uint8))
    {'sky': array([0, 0, 0], dtype=uint8), 'void': array([0, 0, 0], dtype=uint8)}
    """
    return {**dict(zip(classes, palette)), "void": palette[VOID]}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, its parts kept from overlapping."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def grid(rows: Sequence[Sequence[Panel]], legend: Mapping[str, Any]) -> Figure:
    """Rows of titled pictures, with a legend {name: (r, g, b)} of colour patches below."""
    columns, (height, width) = max(map(len, rows)), rows[0][0].picture.shape[:2]
    row_height = 3.4 * min(height / width, 2) + 0.5
    figure = new_figure(3.4 * columns, row_height * len(rows) + 1)
    *parts, below = stack(figure, [row_height] * len(rows) + [1])
    for row, part in zip(rows, parts):
        draw_row(part, row)
    draw_legend(below, legend)
    return figure


def slide(title: str, rows: Sequence[Sequence[tuple[str, np.ndarray]]], legend: Mapping[str, Any] | None = None) -> Figure:
    """`grid` as a pyplot figure, for `plt.show()`: rows of (title, picture), as large as they fit on a slide.

    picture: (H, W, 3) uint8.  legend: {name: (r, g, b)}, of colour patches below.
    """
    import matplotlib.pyplot as plt

    columns, (height, width) = max(map(len, rows)), rows[0][0][1].shape[:2]
    row_height = min(SLIDE_SIZE[0] / columns * height / width + 0.5, (SLIDE_SIZE[1] - 1.2) / len(rows))
    heights = [0.6, *[row_height] * len(rows), *[0.6] * bool(legend)]
    figure = plt.figure(figsize=(SLIDE_SIZE[0], sum(heights)), layout="constrained")
    head, *parts = stack(figure, heights)
    head.suptitle(title, fontsize=FONT + 6)
    for row, part in zip(rows, parts):
        draw_row(part, row)
    if legend:
        draw_legend(parts[-1], legend)
    return figure


def stack(figure: AnyFigure, heights: Sequence[float]) -> list[SubFigure]:
    """Parts of a figure, one below another, in the proportion of their heights."""
    parts: Any = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)
    return list(parts.flat)


def draw_row(figure: AnyFigure, row: Sequence[tuple[str, np.ndarray]]) -> None:
    """Titled pictures side by side."""
    for (title, picture), ax in zip(row, figure.subplots(1, len(row), squeeze=False).flat):
        ax.imshow(picture, interpolation="nearest")
        ax.set_title(title, fontsize=FONT)
        ax.set_axis_off()


def draw_legend(figure: AnyFigure, legend: Mapping[str, Any]) -> None:
    """Colour patches with their names, in as many lines as it takes."""
    from matplotlib.patches import Patch

    patches = [Patch(facecolor=tuple(part / 255 for part in colour), edgecolor="0.4", label=name)
               for name, colour in legend.items()]
    column = 0.11 * (max(map(len, legend)) + 7)           # inches: a letter is about 0.11 wide, patch and gap are 7
    per_line = max(1, int(figure.bbox.width / figure.dpi / column))
    lines = -(-len(patches) // per_line)
    figure.legend(handles=patches, loc="center", ncols=-(-len(patches) // lines), fontsize=FONT, frameon=False)


def curves(history: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss and mean IoU by epoch, training and validation, from the rows of `history.jsonl`."""
    figure = new_figure(11, 4.5)
    loss, iou = figure.subplots(1, 2)
    draw_curves(loss, history, "loss", "loss (cross-entropy)")
    draw_curves(iou, history, "mean_iou", "mean IoU", top=1)
    return figure


def draw_curves(ax: Axes, rows: Sequence[Mapping[str, Any]], key: str, title: str, x: str = "epoch",
                top: float | None = None) -> None:
    """A figure of merit against `x`: in training (`key`) and, if it is there, in validation (`val_key`)."""
    from matplotlib.ticker import MaxNLocator

    for prefix, label, colour, marker in [("", "training", BLUE, "o"), ("val_", "validation", VERMILION, "s")]:
        points = [(row[x], row[prefix + key]) for row in rows if prefix + key in row]
        if points:
            ax.plot(*zip(*points), color=colour, linewidth=2, label=label, marker=marker if len(points) < 60 else "",
                    markersize=4)
    ax.set_title(title, fontsize=FONT)
    ax.set_xlabel(x, fontsize=FONT)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.tick_params(labelsize=FONT - 1)
    ax.set_ylim(0, top)
    ax.grid(color="0.9")
    ax.legend(fontsize=FONT - 1)


def save(figure: Figure, path: str | os.PathLike, dpi: int = 100) -> None:
    """Write a figure as PNG; `path` never holds half a picture."""
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=dpi)
