"""A picture of one call of an op: the curve of a function of one number, else the arrays that go in and come out."""
from __future__ import annotations

import inspect
import io

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from tinyseg.op import Op, Sample
from tinyseg.plots import BLUE, FONT, VERMILION, new_figure
from tinyseg.steps.frames import number

CELL, GAP = 0.42, 0.9                       # inches
MOST_PLANES = 3
COLOURS = LinearSegmentedColormap.from_list("signs", [BLUE, "white", VERMILION])


def sample_figure(op: type[Op]) -> tuple[bytes, str]:
    """An SVG and its caption, of the op's first sample through its reference."""
    sample = next(iter(op.samples(np.random.default_rng(0))))
    if op.__module__.endswith(".pointwise") and len(sample.arrays) == 1:
        return svg(_curve(op, sample)), f"{op.name} (blue) and its derivative (vermilion, dashed)"
    result = op.reference(*sample.arrays, **sample.settings)
    results = result if isinstance(result, tuple) else (result,)
    inputs = [(name, array) for name, array in zip(_names(op, sample), sample.arrays) if array is not None]
    outputs = list(zip(["y", *(f"result {k}" for k in range(2, 9))], results))
    settings = ", ".join(f"{name}={value}" for name, value in sample.settings.items())
    return svg(_arrays(inputs, outputs)), f"One of the calls that it is tested with{': ' * bool(settings)}{settings}"


def svg(figure: Figure) -> bytes:
    """The same bytes for the same figure."""
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "tinyseg"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def _names(op: type[Op], sample: Sample) -> list[str]:
    first, *others = (parameter for parameter in inspect.signature(op.reference).parameters.values()
                      if parameter.kind is not parameter.KEYWORD_ONLY)
    if first.kind is first.VAR_POSITIONAL:
        return [f"x{k}" for k in range(len(sample.arrays))]
    return [first.name, *(parameter.name for parameter in others)]


def _curve(op: type[Op], sample: Sample) -> Figure:
    """y = f(x) over the range of the sample, and dy/dx by the complex step."""
    low, high = sample.arrays[0].min(), sample.arrays[0].max()
    x = np.linspace(low - (low < 0), high + 1, 400)
    y = op.reference(x, **sample.settings)
    slope = op.reference(x + 1e-20j, **sample.settings).imag / 1e-20
    figure = new_figure(6, 3.4)
    ax = figure.subplots()
    ax.axhline(0, color="0.8")
    ax.axvline(0, color="0.8")
    ax.plot(x, y, color=BLUE, linewidth=2.5)
    ax.plot(x, slope, color=VERMILION, linewidth=2, linestyle="--")
    ax.set_xlabel("x", fontsize=FONT)
    return figure


def _arrays(inputs: list[tuple[str, np.ndarray]], outputs: list[tuple[str, np.ndarray]]) -> Figure:
    """Arrays side by side, an arrow between what goes in and what comes out."""
    panels = [(_title(name, array), _sheet(array), np.asarray(array).dtype.kind == "f") for name, array in [*inputs, *outputs]]
    widths = [max(sheet.shape[1] * CELL, 0.11 * len(title)) for title, sheet, _ in panels]
    height = max(sheet.shape[0] for _, sheet, _ in panels) * CELL
    figure = Figure(figsize=(sum(widths) + GAP * len(widths), height + 0.6), facecolor="white")
    left = GAP / 2
    for k, ((title, sheet, is_float), width) in enumerate(zip(panels, widths)):
        if k == len(inputs):
            figure.text((left - GAP / 2) / figure.get_figwidth(), height / 2 / figure.get_figheight(), "→", fontsize=24,
                        ha="center", va="center")
        rows, columns = sheet.shape
        box = np.array([left, height - rows * CELL + 0.1, columns * CELL, rows * CELL])
        ax = figure.add_axes(tuple(box / np.tile(figure.get_size_inches(), 2)))
        _draw(ax, sheet, is_float)
        ax.set_title(title, fontsize=FONT - 2, loc="left", fontfamily="monospace")
        left += width + GAP
    return figure


def _draw(ax, sheet: np.ndarray, is_float: bool) -> None:
    """Colours for signs; none for labels and indices."""
    scale = np.nanmax(abs(sheet), initial=1e-9)
    ax.imshow(sheet if is_float else 0 * sheet, cmap=COLOURS, vmin=-1.6 * scale, vmax=1.6 * scale, aspect="auto")
    for (i, j), value in np.ndenumerate(sheet):
        ax.text(j, i, number(round(value, 1 if scale < 100 else 0)), ha="center", va="center", fontsize=9)
        if not np.isnan(value):
            ax.add_patch(matplotlib.patches.Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, edgecolor="0.75", linewidth=0.6))
    ax.set_axis_off()


def _sheet(array: np.ndarray) -> np.ndarray:
    """Rows and columns of numbers; of an image, planes below each other with an empty row between."""
    array = np.asarray(array, float)
    while array.ndim > 3:
        array = array[0]
    if array.ndim < 3:
        return np.atleast_2d(array)
    empty = np.full((1, array.shape[2]), np.nan)
    return np.concatenate([row for plane in array[:MOST_PLANES] for row in (plane, empty)][:-1])


def _title(name: str, array: np.ndarray) -> str:
    """x (2, 3), and which part of it is shown."""
    index = [0] * (array.ndim - 3)
    planes = array.shape[-3] if array.ndim >= 3 else 1
    part = [*map(str, index), *([f":{MOST_PLANES}"] if planes > MOST_PLANES else [])]
    return f"{name}{'[' + ', '.join(part) + ']' if part else ''} {array.shape}"
