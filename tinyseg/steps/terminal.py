"""Steps in the terminal: frame by frame with the arrow keys, or all of them as plain text."""
from __future__ import annotations

import os
import re
import select
import shutil
import sys
import textwrap
from dataclasses import replace
from typing import NamedTuple

from .frames import ROLES, Frame, Graph, Grid, Panel, Steps, Text, number

PLAIN_COLUMNS, GAP = 100, 4
BRACKETS = ("  ", "()", "[]", "  ")                  # by role, as in frames.ROLES
STYLES = ("", "\x1b[30;46m", "\x1b[30;43m", "\x1b[2m")
BOLD, DIM, RESET = "\x1b[1m", "\x1b[2m", "\x1b[0m"
ENTER_SCREEN, LEAVE_SCREEN = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
CLEAR = "\x1b[H\x1b[2J"
KEYS = {b"\x1b[C": "next", b"\x1bOC": "next", b"\x1b[B": "next", b"\x1bOB": "next", b"\n": "next", b"\r": "next",
        b" ": "next", b"n": "next", b"\x1b[D": "back", b"\x1bOD": "back", b"\x1b[A": "back", b"\x1bOA": "back",
        b"\x7f": "back", b"b": "back", b"p": "back", b"\x1b[H": "first", b"\x1bOH": "first", b"\x1b[1~": "first",
        b"g": "first", b"\x1b[F": "last", b"\x1bOF": "last", b"\x1b[4~": "last", b"G": "last", b"q": "quit",
        b"\x04": "quit"}
HELP = "→ Enter next   ← back   Home End   q quit"


class Block(NamedTuple):
    """Lines of one visible width, styled or not."""

    width: int
    lines: list[str]


def plain(steps: Steps) -> str:
    """All frames as text, without control codes: (read) and [written] cells stand in brackets."""
    parts = [f"{steps.title}\n{key(steps, colour=False)}".rstrip()]
    for place, frame in zip(steps.places, steps):
        lines = [f"{place}: {frame.sentence}", "",
                 *arrange(frame, steps.widths, PLAIN_COLUMNS, colour=False)]
        parts.append("\n".join(line.rstrip() for line in [*lines, *([f"    {frame.code}"] if frame.code else [])]))
    return "\n\n".join(parts)


def key(steps: Steps, colour: bool) -> str:
    """What the marks mean, in one line: names on their colours, or (…) read, […] written."""
    used = [(ROLES.index(role), name) for role, name in steps.used_legend.items()]
    if colour:
        return "  ".join(f"{STYLES[role]} {name} {RESET}" for role, name in used)
    return ", ".join(f"{BRACKETS[role][0]}…{BRACKETS[role][1]} {name}" for role, name in used if BRACKETS[role].strip())


def arrange(frame: Frame, widths: dict[str, int], columns: int, colour: bool) -> list[str]:
    """The panels of a frame side by side, as many in a row as there is room for."""
    rows: list[list[Block]] = []
    for block in (_block(panel, widths, colour, columns) for panel in frame.panels):
        used = sum(other.width + GAP for other in rows[-1]) if rows else columns
        if used + block.width > columns:
            rows.append([])
        rows[-1].append(block)
    lines = []
    for row in rows:
        for k in range(max(len(block.lines) for block in row)):
            parts = (block.lines[k] if k < len(block.lines) else " " * block.width for block in row)
            lines.append((" " * GAP).join(parts))
        lines.append("")
    return lines


def _block(panel: Panel, widths: dict[str, int], colour: bool, columns: int) -> Block:
    if isinstance(panel, Grid):
        parts = _parts(panel, widths[panel.title], colour, columns)
        lines = [line for part in parts for line in ["", *_grid_lines(part, widths[panel.title], colour)]][1:]
    elif isinstance(panel, Graph):
        lines = _graph_lines(panel, colour)
    else:
        assert isinstance(panel, Text)
        lines = list(panel.lines)
    width = max(len(panel.title), *map(_visible, lines))
    title = panel.title + " " * (width - len(panel.title))
    body = [line + " " * (width - _visible(line)) for line in lines]
    return Block(width, [f"{BOLD}{title}{RESET}" if colour else title, *body])


def _parts(grid: Grid, width: int, colour: bool, columns: int) -> list[Grid]:
    """The grid, cut between its columns where it is wider than the window; the parts will stand below one another."""
    room = columns - _heading(grid)
    most = max(1, room // (width + (1 if colour else 2)))
    return [replace(grid, values=grid.values[:, at:at + most], roles=grid.roles[:, at:at + most],
                    columns=grid.columns[at:at + most]) for at in range(0, grid.values.shape[1], most)]


def _heading(grid: Grid) -> int:
    """Letters that the names of the rows take, with a space."""
    return max((len(name) + 1 for name in grid.rows), default=0)


def _grid_lines(grid: Grid, width: int, colour: bool) -> list[str]:
    heading, lines = _heading(grid), []
    if grid.columns:
        edge = " " if colour else "  "
        lines.append(" " * heading + "".join(f"{name:>{width}}".rjust(width + 1).ljust(width + len(edge))
                                             for name in grid.columns))
    for i, (values, roles) in enumerate(zip(grid.values, grid.roles)):
        cells = (_mark(f"{number(value) or '·':>{width}}", int(role), colour) for value, role in zip(values, roles))
        lines.append((grid.rows[i].ljust(heading) if grid.rows else "") + "".join(cells))
    return lines


def _graph_lines(graph: Graph, colour: bool) -> list[str]:
    """A line for each box: its name, its note, and what it was computed from."""
    name, note = max(len(node.name) for node in graph.nodes), max(len(node.note) for node in graph.nodes)
    parents = {k: [graph.nodes[a].name for a, b in graph.edges if b == k] for k in range(len(graph.nodes))}
    order = sorted(range(len(graph.nodes)), key=lambda k: (graph.nodes[k].column, graph.nodes[k].row))
    return [f"{_mark(graph.nodes[k].name.ljust(name), graph.nodes[k].role, colour)} {graph.nodes[k].note.ljust(note)}"
            + (f"  from {', '.join(parents[k])}" if parents[k] else "") for k in order]


def _mark(text: str, role: int, colour: bool) -> str:
    if colour:
        return f"{STYLES[role]} {text}{RESET}" if role else f" {text}"
    return BRACKETS[role][0] + text + BRACKETS[role][1]


def _visible(line: str) -> int:
    return len(re.sub(r"\x1b\[[\d;]*m", "", line))


def screen(steps: Steps, index: int, columns: int, rows: int, colour: bool) -> str:
    """One frame as a window of that size shows it; what does not fit is left out, and said to be."""
    frame, room = steps[index], rows - 2
    title = f"{BOLD}{steps.title}{RESET}" if colour else steps.title
    code = [f"{DIM}{line}{RESET}" if colour else line
            for line in textwrap.wrap(frame.code, columns, subsequent_indent=" " * GAP)]
    body = [title, *textwrap.wrap(frame.sentence, columns), "", *arrange(frame, steps.widths, columns, colour), *code]
    while len(body) > room and "" in body:
        body.pop(len(body) - 1 - body[::-1].index(""))
    fits = len(body) <= room and all(_visible(line) <= columns for line in body)
    foot = [("" if fits else "not all is shown: enlarge the window   ") + key(steps, colour),
            f"{steps.places[index]}   {HELP}"]
    lines = [*body[:room], *[""] * (room - len(body)), *foot]
    return CLEAR + "\n".join(_clipped(line, columns) for line in lines)


def _clipped(line: str, columns: int) -> str:
    """The line as far as it fits, an ellipsis for the rest: half a number would be another number."""
    if _visible(line) <= columns:
        return line
    shown, room = [], columns - 2
    for part in re.split(r"(\x1b\[[\d;]*m)", line):
        if part.startswith("\x1b"):
            shown.append(part)
        else:
            shown.append(part[:room])
            room -= len(shown[-1])
    whole = re.match(r"(.*)\s[^\s\x1b]+((?:\x1b\[[\d;]*m)*)$", "".join(shown), re.S)        # the last number may be cut
    return f"{''.join(whole.groups()) if whole else ''.join(shown)} …"


def can_show() -> bool:
    """Is there somebody at a terminal who can press keys?"""
    try:
        import termios                               # not on Windows
    except ImportError:
        return False
    return bool(termios) and sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def show(steps: Steps) -> None:
    """Step through the frames with the keys, until q.  The terminal is left as it was, on Ctrl-C too."""
    import termios
    import tty

    stdin, colour = sys.stdin.fileno(), not os.environ.get("NO_COLOR")
    before, index, drawn = termios.tcgetattr(stdin), 0, None
    moves = {"next": lambda k: k + 1, "back": lambda k: k - 1, "first": lambda k: 0, "last": lambda k: len(steps) - 1}
    try:
        tty.setcbreak(stdin)
        sys.stdout.write(ENTER_SCREEN)
        while True:
            state = (index, shutil.get_terminal_size())
            if state != drawn:
                sys.stdout.write(screen(steps, index, *state[1], colour))
                sys.stdout.flush()
                drawn = state
            for action in _pressed(stdin):
                if action == "quit":
                    return
                index = min(max(moves[action](index), 0), len(steps) - 1)
    finally:
        sys.stdout.write(LEAVE_SCREEN)
        sys.stdout.flush()
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)


def _pressed(stdin: int) -> list[str]:
    """What the keys pressed in the last fraction of a second mean; the window's size is looked at in between."""
    if not select.select([stdin], [], [], 0.3)[0]:
        return []
    pressed = os.read(stdin, 1024)
    if not pressed:
        return ["quit"]                              # the terminal is gone
    keys = re.findall(rb"\x1b\[[\d;]*[A-Za-z~]|\x1bO[A-Z]|.", pressed, re.S)
    return [KEYS[key] for key in keys if key in KEYS]
