"""Steps as pictures: a sheet of all frames, a figure for each, an animated GIF.

Drawn with Pillow, a frame in a few milliseconds.
"""
from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from .frames import EDGE, FILL, ROLES, Frame, Graph, Grid, Panel, Steps, Text, number

if TYPE_CHECKING:                        # Pillow and matplotlib take time to import
    from PIL import Image, ImageDraw, ImageFont

INK, FAINT = "#111111", "#555555"
MOST_FRAMES = 64                                     # on a sheet
MOST_FIGURES = 20                                    # open at once, before matplotlib warns
PAGE = 52                                            # width of a page, in letters' heights
SINGLE, IN_SHEET, IN_GIF = 30, 15, 22                # height of a letter in pixels


def sheet(steps: Steps) -> Image.Image:
    """All frames of a run in one picture, row by row; one frame alone is drawn large, for a slide."""
    from PIL import Image

    if not 1 <= len(steps) <= MOST_FRAMES:
        raise ValueError(f"png: {len(steps)} frames on one sheet; expected 1 to {MOST_FRAMES}, so choose some of them")
    book = Book(steps, SINGLE if len(steps) == 1 else IN_SHEET)
    width, height = book.size
    across = max(1, round(math.sqrt(len(steps) * height / width * 1.4)))
    down = -(-len(steps) // across)
    gap = "#888888" if len(steps) > 1 else "white"
    picture = Image.new("RGB", (across * (width + 2) + 2, down * (height + 2) + 2), gap)
    for k in range(across * down):
        place = 2 + k % across * (width + 2), 2 + k // across * (height + 2)
        picture.paste(book.draw(k) if k < len(steps) else Image.new("RGB", book.size, "white"), place)
    return picture


def plot(steps: Steps) -> None:
    """A pyplot figure for each frame, drawn large."""
    import matplotlib.pyplot as plt
    from matplotlib.layout_engine import PlaceHolderLayoutEngine

    if not 1 <= len(steps) <= MOST_FIGURES:
        raise ValueError(f"plot: {len(steps)} frames; expected 1 to {MOST_FIGURES}, so choose some of them")
    book = Book(steps, SINGLE)
    for k in range(len(steps)):
        still = PlaceHolderLayoutEngine(adjust_compatible=True, colorbar_gridspec=True)    # "none" lasts until it is saved
        figure = plt.figure(figsize=(book.size[0] / 120, book.size[1] / 120), dpi=120, layout=still)
        ax = figure.add_axes((0, 0, 1, 1))
        ax.imshow(book.draw(k))
        ax.set_axis_off()


def write_gif(steps: Steps, file: BinaryIO, seconds: float) -> None:
    """An animated GIF, `seconds` a frame, the last three times as long."""
    from PIL import Image

    if not len(steps):
        raise ValueError("gif: there are no frames")
    book = Book(steps, IN_GIF)
    first, *others = (book.draw(k).quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
                      for k in range(len(steps)))
    duration = round(1000 * seconds)
    first.save(file, format="gif", save_all=True, append_images=others, loop=0,
               duration=[duration] * len(others) + [3 * duration])


class Placed(NamedTuple):
    """A panel and its top left corner, in pixels."""

    x: float
    y: float
    panel: Panel


class Book:
    """The frames of a run on pages of one size, so that nothing jumps between them; `unit` is a letter's height."""

    def __init__(self, steps: Steps, unit: int):
        self.steps, self.unit, self.widths = steps, unit, steps.widths
        self.margin = unit
        panels = [panel for frame in steps for panel in frame.panels]
        widest = max([self._extent(panel)[0] for panel in panels]
                     + [self._length(frame.code, "mono") for frame in steps])
        self.width = max(PAGE * unit, widest + 2 * self.margin)
        self.head = max(self._top(frame) for frame in steps)
        self.pages = [self._place(frame) for frame in steps]
        bottom = max(item.y + self._extent(item.panel)[1] for page in self.pages for item in page)
        self.size = math.ceil(self.width), math.ceil(bottom + 4 * unit)

    def draw(self, k: int) -> Image.Image:
        """Page k."""
        from PIL import Image, ImageDraw

        image, frame, u = Image.new("RGB", self.size, "white"), self.steps[k], self.unit
        pen = ImageDraw.Draw(image)
        pen.text((self.margin, 0.6 * u), self.steps.title, INK, self._font("bold"))
        if self.steps.places[k] != "1 of 1":
            pen.text((self.size[0] - self.margin, 0.6 * u), self.steps.places[k], FAINT, self._font(), anchor="ra")
        for row, line in enumerate(self._wrapped(frame.sentence)):
            pen.text((self.margin, (2.2 + 1.4 * row) * u), line, INK, self._font())
        for item in self.pages[k]:
            self._draw_panel(pen, item)
        bottom = self.size[1] - 1.7 * u
        pen.text((self.margin, bottom - 1.5 * u), frame.code, FAINT, self._font("mono"))
        x: float = self.margin
        for role, name in self.steps.used_legend.items():
            self._cell(pen, x, bottom, 1.2 * u, 1.2 * u, "", ROLES.index(role))
            pen.text((x + 1.6 * u, bottom), name, INK, self._font())
            x += 3.2 * u + self._length(name)
        return image

    def _top(self, frame: Frame) -> float:
        return (2.8 + 1.4 * len(self._wrapped(frame.sentence))) * self.unit

    def _place(self, frame: Frame) -> list[Placed]:
        """The panels from left to right, in as many rows as it takes."""
        items, x, y, row_height = [], float(self.margin), self.head, 0.0
        for panel in frame.panels:
            width, height = self._extent(panel)
            if x > self.margin and x + width > self.width - self.margin:
                x, y, row_height = self.margin, y + row_height + self.unit, 0
            items.append(Placed(x, y, panel))
            x, row_height = x + width + 2 * self.unit, max(row_height, height)
        return items

    def _extent(self, panel: Panel) -> tuple[float, float]:
        u, title = self.unit, self._length(panel.title, "bold")
        if isinstance(panel, Grid):
            width = self._heading(panel) + panel.values.shape[1] * self._cell_width(panel)
            return max(title, width), (1.6 + 1.7 * (panel.values.shape[0] + bool(panel.columns))) * u
        if isinstance(panel, Graph):
            columns, rows = max(node.column for node in panel.nodes) + 1, max(node.row for node in panel.nodes) + 1
            return max(title, (self._box_width(panel) + 2 * u) * columns), (1.6 + 4 * rows) * u
        assert isinstance(panel, Text)
        return max([title] + [self._length(line) for line in panel.lines]), (1.6 + 1.4 * len(panel.lines)) * u

    def _draw_panel(self, pen: ImageDraw.ImageDraw, item: Placed) -> None:
        x, y, u = item.x, item.y + 1.6 * self.unit, self.unit
        pen.text((item.x, item.y), item.panel.title, INK, self._font("bold"))
        if isinstance(item.panel, Grid):
            self._draw_grid(pen, item.panel, x, y)
        elif isinstance(item.panel, Graph):
            self._draw_graph(pen, item.panel, x, y)
        else:
            for k, line in enumerate(item.panel.lines):
                pen.text((x, y + 1.4 * k * u), line, INK, self._font())

    def _draw_grid(self, pen: ImageDraw.ImageDraw, grid: Grid, x: float, y: float) -> None:
        width, height = self._cell_width(grid), 1.7 * self.unit
        left = x + self._heading(grid)
        for j, name in enumerate(grid.columns):
            pen.text((left + (j + 1) * width - 0.3 * self.unit, y + height / 2), name, FAINT, self._font(), anchor="rm")
        top = y + height * bool(grid.columns)
        for i, name in enumerate(grid.rows):
            pen.text((x, top + (i + 0.5) * height), name, FAINT, self._font(), anchor="lm")
        for role in (0, 3, 1, 2):                    # the marked cells' borders go over their neighbours'
            for i, j in zip(*(grid.roles == role).nonzero()):
                self._cell(pen, left + j * width, top + i * height, width, height, number(grid.values[i, j]), role)

    def _cell(self, pen: ImageDraw.ImageDraw, x: float, y: float, width: float, height: float, text: str,
              role: int) -> None:
        line = max(1, round(self.unit * (0.06, 0.12, 0.18, 0.06)[role]))
        x0, y0, x1, y1 = (round(edge) for edge in (x, y, x + width, y + height))
        pen.rectangle((x0 - line // 2, y0 - line // 2, x1 + line // 2, y1 + line // 2), FILL[role], EDGE[role], line)
        pen.text((x + width - 0.35 * self.unit, y + height / 2), text, FAINT if role == 3 else INK,
                 self._font("bold" if role == 2 else ""), anchor="rm")

    def _draw_graph(self, pen: ImageDraw.ImageDraw, graph: Graph, x: float, y: float) -> None:
        u, width, height = self.unit, self._box_width(graph), 3.1 * self.unit
        corners = [(x + node.column * (width + 2 * u), y + node.row * 4 * u) for node in graph.nodes]
        for a, b in graph.edges:
            start = corners[a][0] + width, corners[a][1] + height / 2
            tip = corners[b][0] - 1, corners[b][1] + height / 2
            angle = math.atan2(tip[1] - start[1], tip[0] - start[0])
            sides = [(tip[0] - 0.7 * u * math.cos(angle + turn), tip[1] - 0.7 * u * math.sin(angle + turn))
                     for turn in (0.4, -0.4)]
            pen.line((start, tip), INK, max(1, round(0.1 * u)))
            pen.polygon([tip, *sides], INK)
        for (left, top), node in zip(corners, graph.nodes):
            pen.rounded_rectangle((left, top, left + width, top + height), 0.5 * u, FILL[node.role], EDGE[node.role],
                                  max(1, round(u * (0.15 if node.role else 0.06))))
            pen.text((left + width / 2, top + 0.95 * u), node.name, INK, self._font("bold"), anchor="mm")
            pen.text((left + width / 2, top + 2.2 * u), node.note, FAINT, self._font(), anchor="mm")

    def _heading(self, grid: Grid) -> float:
        return max((self._length(name) + self.unit for name in grid.rows), default=0)

    def _cell_width(self, grid: Grid) -> float:
        return self.unit * max(1.9, 0.7 * self.widths[grid.title] + 0.75)

    def _box_width(self, graph: Graph) -> float:
        return max(max(self._length(node.name, "bold"), self._length(node.note)) for node in graph.nodes) + self.unit

    def _wrapped(self, sentence: str) -> list[str]:
        lines = [""]
        for word in sentence.split(" "):             # not at a no-break space, which holds a formula together
            longer = f"{lines[-1]} {word}".strip()
            if self._length(longer) <= self.width - 2 * self.margin:
                lines[-1] = longer
            else:
                lines.append(word)
        return lines

    def _font(self, style: str = "") -> ImageFont.FreeTypeFont:
        return _font(style, self.unit)

    def _length(self, text: str, style: str = "") -> float:
        return self._font(style).getlength(text)


@lru_cache
def _font(style: str, size: int) -> ImageFont.FreeTypeFont:
    """DejaVu, which matplotlib brings along: it has the letters of formulas, and digits of one width."""
    import matplotlib
    from PIL import ImageFont

    name = {"": "DejaVuSans", "bold": "DejaVuSans-Bold", "mono": "DejaVuSansMono"}[style]
    pixels = round(0.8 * size) if style == "mono" else size
    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/{name}.ttf", pixels)
