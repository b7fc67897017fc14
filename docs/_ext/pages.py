"""Writing generated pages: below docs/generated/, and only where something has changed, so that Sphinx rereads only that."""
from __future__ import annotations

import pathlib
import shutil
from collections.abc import Mapping
from textwrap import indent

from sphinx.application import Sphinx


def write_folder(app: Sphinx, folder: str, files: Mapping[str, str | bytes]) -> None:
    """Make generated/`folder` hold these files {name: content} and no others."""
    root = pathlib.Path(app.srcdir, "generated", folder)
    root.mkdir(parents=True, exist_ok=True)
    for path in root.iterdir():
        if path.name not in files:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        path = root / name
        if not path.exists() or path.read_bytes() != data:
            path.write_bytes(data)


def heading(text: str, line: str = "=") -> str:
    return f"{text}\n{line * len(text)}\n"


def block(directive: str, content: str = "", **options: str) -> str:
    """A directive with options and content; class_ is the option `class`."""
    lines = "".join(f"   :{name.strip('_').replace('_', '-')}: {value}".rstrip() + "\n" for name, value in options.items())
    return f".. {directive}\n{lines}\n{indent(content, '   ')}\n"


def code(source: str, language: str = "python") -> str:
    return block(f"code-block:: {language}", source)


def literal(text: str, class_: str = "") -> str:
    return block("code-block:: none", text, **({"class_": class_} if class_ else {}))


def table(head: tuple[str, ...], rows: list[tuple[str, ...]], widths: str) -> str:
    """A list-table; cells are one line of reST each."""
    lines = []
    for row in (head, *rows):
        lines += [f"{'* - ' if i == 0 else '  - '}{cell}" for i, cell in enumerate(row)]
    return block("list-table::", "\n".join(lines), header_rows="1", widths=widths)


def folded(title: str, content: str) -> str:
    """Content that opens by a click on its title."""
    raw = ".. raw:: html\n\n   {}\n\n"
    return f"{raw.format(f'<details><summary>{title}</summary>')}{content}\n{raw.format('</details>')}"
