"""What a stepper yields: frames of panels, plain data that every renderer can show.

A frame is one sentence and a few panels: a `Grid` of numbers (an image, a kernel, a matrix, a table), a `Text`, or a
`Graph`.  The renderers (`terminal.py`, `html.py`, `pictures.py`) know panels, not steppers.
"""
from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Union, overload

import numpy as np

from ..files import replacing
from ..op import Array
from ..plots import BLUE, VERMILION

ROLES = ("", "read", "written", "padding")           # what a cell or a node does in a frame; Grid.roles holds indices
FILL = ("#FFFFFF", "#CDE5F7", "#FFE0C2", "#EFEFEF")  # by role, in pictures and pages: white, blue, orange, grey
EDGE = ("#BBBBBB", BLUE, VERMILION, "#999999")
LEGEND = {"read": "read", "written": "written", "padding": "padding"}


@dataclass(frozen=True, eq=False)
class Grid:
    """Numbers in rows and columns: values (H, W) float, NaN where nothing stands yet; roles (H, W) indices into ROLES.

    rows, columns: their headings, if they have any.
    """

    title: str
    values: Array
    roles: Array
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    def cells(self, role: str) -> list[tuple[int, int]]:
        """Where the cells with that role stand, row by row.

        >>> grid("Kernel", np.ones((2, 2)), read=np.s_[0]).cells("read")
        [(0, 0), (0, 1)]
        """
        return [(int(i), int(j)) for i, j in np.argwhere(self.roles == ROLES.index(role))]


@dataclass(frozen=True)
class Text:
    """A few lines, such as a sum written out."""

    title: str
    lines: tuple[str, ...]


class GraphNode(NamedTuple):
    """A box of a graph: its name, a note below it, its place (column, row) and an index into ROLES."""

    name: str
    note: str
    column: int
    row: int
    role: int


@dataclass(frozen=True)
class Graph:
    """Boxes, and arrows between them as pairs of indices (from, to)."""

    title: str
    nodes: tuple[GraphNode, ...]
    edges: tuple[tuple[int, int], ...]


Panel = Union[Grid, Text, Graph]


@dataclass(frozen=True)
class Frame:
    """One step: what happens, in a sentence; the panels that show it; the line of the reference that has just run."""

    sentence: str
    panels: tuple[Panel, ...]
    code: str = ""

    def __getitem__(self, title: str) -> Any:
        """The panel of that title."""
        return {panel.title: panel for panel in self.panels}[title]


class Steps(Sequence[Frame]):
    """The frames of one run of a stepper, to iterate over, index, slice, look at in a notebook, and save.

    places: where each stands in the run, such as "5 of 34", which it keeps when it is sliced or chosen out of it.

    >>> from tinyseg import steps
    >>> run = steps.conv_transpose(stride=2, padding=0)
    >>> print(run[4].sentence)
    Element (0, 1) × kernel is added to the canvas, rows 0 to 2, columns 2 to 4, and to what stands there already.
    >>> run[-1]["Canvas"].values[4].tolist()
    [3.0, 6.0, 6.5, 7.0, 7.5, 8.0, 8.5, 9.0, 4.5]
    """

    def __init__(self, title: str, frames: Iterable[Frame], legend: Mapping[str, str] = LEGEND,
                 places: Iterable[str] = ()):
        self.title, self.frames, self.legend = title, tuple(frames), dict(legend)
        self.places = tuple(places) or tuple(f"{n} of {len(self)}" for n in range(1, len(self) + 1))

    def __len__(self) -> int:
        return len(self.frames)

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> Steps: ...

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Steps(self.title, self.frames[index], self.legend, self.places[index])
        return self.frames[index]

    def choose(self, numbers: Sequence[int]) -> Steps:
        """Only the frames of these numbers, counted from 1.  ValueError if there is no such frame."""
        for n in numbers:
            if not 1 <= n <= len(self):
                raise ValueError(f"frames: there is no frame {n}; there are 1 to {len(self)}")
        return Steps(self.title, (self.frames[n - 1] for n in numbers), self.legend, (self.places[n - 1] for n in numbers))

    @cached_property
    def widths(self) -> dict[str, int]:
        """Letters that the longest number of each grid needs over all frames, so that nothing jumps between them."""
        widths: dict[str, int] = {}
        for grid in (panel for frame in self for panel in frame.panels if isinstance(panel, Grid)):
            longest = max([len(number(value)) for value in grid.values.flat] + [len(name) for name in grid.columns])
            widths[grid.title] = max(widths.get(grid.title, 1), longest)
        return widths

    @cached_property
    def used_legend(self) -> dict[str, str]:
        """The entries of the legend whose role occurs in some frame."""
        panels = [panel for frame in self for panel in frame.panels]
        used = {int(role) for panel in panels if isinstance(panel, Grid) for role in np.unique(panel.roles)}
        used |= {node.role for panel in panels if isinstance(panel, Graph) for node in panel.nodes}
        return {role: self.legend[role] for role in ROLES[1:] if ROLES.index(role) in used}

    def text(self) -> str:
        """All frames as plain text."""
        from .terminal import plain

        return plain(self)

    def html(self) -> str:
        """A page that needs nothing but itself: keyboard, slider, play, speed."""
        from .html import page

        return page(self)

    def _repr_html_(self) -> str:
        from .html import inline

        return inline(self)

    def save_html(self, path: str | os.PathLike) -> None:
        """Write `html()` to a file."""
        with replacing(path) as file:
            file.write(self.html().encode())

    def save_png(self, path: str | os.PathLike) -> None:
        """Write all frames side by side, as a PNG."""
        from .pictures import sheet

        with replacing(path) as file:
            sheet(self).save(file, format="png")

    def plot(self) -> None:
        """Draw each frame into a pyplot figure of its own, large enough for a slide; `plt.show()` shows them.

        ValueError for more than 20 frames, or none: `choose` some of them.
        """
        from .pictures import plot

        plot(self)

    def save_gif(self, path: str | os.PathLike, seconds: float = 1.5) -> None:
        """Write an animated GIF, `seconds` a frame."""
        from .pictures import write_gif

        with replacing(path) as file:
            write_gif(self, file, seconds)


def grid(title: str, values: Any, read: Any = None, written: Any = None, padding: Any = None,
         rows: Iterable[str] = (), columns: Iterable[str] = ()) -> Grid:
    """A grid of which some cells have a role; each role's cells are an index or a mask, the last named role wins.

    >>> grid("Output", [[1, 2]], written=(0, 1)).roles.tolist()
    [[0, 2]]
    """
    array = np.array(values, float, ndmin=2)
    roles = np.zeros(array.shape, np.uint8)
    for role, cells in ("padding", padding), ("read", read), ("written", written):
        if cells is not None:
            roles[cells] = ROLES.index(role)
    return Grid(title, array, roles, tuple(rows), tuple(columns))


def number(value: float) -> str:
    """As short as four digits allow, whole from 10000 to ten millions; nothing for NaN.

    >>> number(0.25), number(3.0), number(2 / 3), number(-0.0), number(12345.6), number(float("nan"))
    ('0.25', '3', '0.6667', '0', '12346', '')
    """
    if np.isnan(value):
        return ""
    return f"{value:.0f}" if 1e4 <= abs(value) < 1e7 else f"{value + 0.0:.4g}"
