"""Pictures: training curves, grids of images, masks and predictions with a legend, and models as their feature maps.

Figures are made without pyplot, so the caller's matplotlib backend and open figures are left alone.
"""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Union

import numpy as np

from .data.palette import VOID
from .files import replacing
from .models.diagram import Arrow, Diagram, Map

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


# Models ---------------------------------------------------------------------------------------------------------------

COLOURS = {"image": "#D9D9D9", "convolution": "#8FC1E3", "pooling": "#EE9A72", "upsampling": "#6FC7A8",
           "join": "#BDBDBD", "output": "white"}
TALLEST, BETWEEN, DROP, LABEL, LETTER = 2.6, 0.24, 1.25, 0.18, 0.065       # inches
TIP = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "mutation_scale": 10}
SMALL = 9


class Box(NamedTuple):
    """Where a map stands, in inches: its middle, and its size."""

    x: float
    y: float
    width: float
    height: float


def model_diagram(diagram: Diagram, descending: bool = False) -> Figure:
    """A model's feature maps from left to right: height by resolution, width by channels, skips as arrows.

    descending: draw each level below the one that it was pooled from, as U-Net's figure does.

    >>> from tinyseg.models import UNet
    >>> from tinyseg.models.diagram import diagram
    >>> figure = model_diagram(diagram(UNet(2, width=4, depth=1), (1, 3, 32, 32)), descending=True)
    """
    from matplotlib.patches import Patch, Rectangle

    boxes, alone = map_boxes(diagram, descending)
    names = [_name(map_) for map_ in diagram.maps]
    top = max(box.y + box.height / 2 for box in boxes)
    bottom = min(box.y - box.height / 2 - (LETTER * len(name) if single else 0.3)
                 for box, name, single in zip(boxes, names, alone))
    tracks = {} if descending else _tracks(diagram)
    top += 0.6 + 0.2 * max(tracks.values(), default=0)
    figure = new_figure(max(7.5, boxes[-1].x + boxes[-1].width / 2 + 0.5), top - bottom + 0.4)      # the legend is 7 wide
    ax = figure.subplots()
    for map_, name, box, single in zip(diagram.maps, names, boxes, alone):
        corner = box.x - box.width / 2, box.y - box.height / 2
        ax.add_patch(Rectangle(corner, box.width, box.height, facecolor=COLOURS[map_.kind], edgecolor="0.25", zorder=3))
        ax.text(box.x, box.y + box.height / 2 + 0.04, str(map_.shape[0]), ha="center", va="bottom", fontsize=SMALL, zorder=4)
        ax.text(box.x, box.y - box.height / 2 - 0.06, name, ha="center", va="top",
                rotation=90 if single else 0, fontsize=SMALL - 1, zorder=4,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5})
    for arrow in diagram.arrows:
        is_far = diagram.maps[arrow.end].column > diagram.maps[arrow.start].column + 1
        line = {"color": "0.45" if is_far else "0.1", "linewidth": 1.5, "linestyle": ":" if arrow.indices else "-"}
        if arrow in tracks:
            _draw_over(ax, boxes, arrow, tracks[arrow], line)
        else:
            _draw_straight(ax, boxes[arrow.start], boxes[arrow.end], is_far, line)
    kinds = [kind for kind in COLOURS if any(map_.kind == kind for map_ in diagram.maps)]
    figure.legend(handles=[Patch(facecolor=COLOURS[kind], edgecolor="0.25", label=kind) for kind in kinds],
                  loc="outside lower center", ncols=len(kinds), fontsize=FONT, frameon=False)
    ax.set(xlim=(-0.3, boxes[-1].x + boxes[-1].width / 2 + 0.2), ylim=(bottom, top), aspect="equal")
    ax.set_axis_off()
    return figure


def map_boxes(diagram: Diagram, descending: bool) -> tuple[list[Box], list[bool]]:
    """The box of each map, and whether it is alone in its column: then there is room for its name below it."""
    columns: dict[int, list[int]] = {}
    for k in sorted(range(len(diagram.maps)), key=lambda k: diagram.maps[k].lane):
        columns.setdefault(diagram.maps[k].column, []).append(k)
    tallest = max(map_.shape[1] for map_ in diagram.maps)
    sizes = [(max(0.08, 0.02 * map_.shape[0]**0.5), max(0.1, TALLEST * map_.shape[1] / tallest)) for map_ in diagram.maps]
    boxes, alone, x = [Box(0, 0, 0, 0)] * len(sizes), [True] * len(sizes), 0.0
    for _, members in sorted(columns.items()):
        width = max([sizes[k][0] for k in members]
                    + [LETTER * len(_name(diagram.maps[k])) for k in members if len(members) > 1])
        heights = [sizes[k][1] + 0.5 for k in members]                   # with room for what is written
        middle = [diagram.maps[k].lane for k in members].index(0)
        for n, k in enumerate(members):
            level = -DROP * diagram.maps[k].level if descending else 0.0
            lower, upper = sorted((n, middle))
            away = sum(heights[lower:upper + 1]) - (heights[lower] + heights[upper]) / 2
            boxes[k] = Box(x + width / 2, level + (away if n > middle else -away), *sizes[k])
            alone[k] = len(members) == 1
        x += width + BETWEEN
    return boxes, alone


def _name(map_: Map) -> str:
    """The layer, and the size of what it makes."""
    return f"{map_.name}  {map_.shape[1]} x {map_.shape[2]}"


def _tracks(diagram: Diagram) -> dict[Arrow, int]:
    """Which arrows pass over other maps, and in which of the tracks above them, so that no two lie on each other."""
    columns = {arrow: range(diagram.maps[arrow.start].column, diagram.maps[arrow.end].column) for arrow in diagram.arrows}
    tracks: dict[Arrow, int] = {}
    for arrow, passed in sorted(columns.items(), key=lambda item: len(item[1])):
        in_one_lane = diagram.maps[arrow.start].lane == diagram.maps[arrow.end].lane
        if len(passed) > 3 or len(passed) > 1 and in_one_lane:
            tracks[arrow] = 1 + max((tracks[other] for other in tracks if set(columns[other]) & set(passed)), default=-1)
    return tracks


def _draw_over(ax: Axes, boxes: list[Box], arrow: Arrow, track: int, line: dict[str, Any]) -> None:
    """Up, across, and down."""
    start, end = boxes[arrow.start], boxes[arrow.end]
    top = max(box.y + box.height / 2 for box in boxes if start.x <= box.x <= end.x) + 0.45 + 0.2 * track
    ax.plot([start.x, start.x, end.x], [start.y + start.height / 2 + LABEL, top, top], **line, zorder=2)
    ax.annotate("", (end.x, end.y + end.height / 2 + LABEL), (end.x, top), arrowprops={**line, **TIP}, zorder=2)


def _draw_straight(ax: Axes, start: Box, end: Box, is_far: bool, line: dict[str, Any]) -> None:
    """To the next map, or at one level to a later one: then behind those that are in the way, and higher than their arrows."""
    higher = 0.3 * end.height if is_far and start.y == end.y else 0
    ax.annotate("", (end.x - end.width / 2, end.y + higher), (start.x + start.width / 2, start.y + higher),
                arrowprops={**line, **TIP}, zorder=2)


def save(figure: Figure, path: str | os.PathLike, dpi: int = 100) -> None:
    """Write a figure as PNG; `path` never holds half a picture."""
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=dpi)
