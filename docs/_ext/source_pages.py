"""Pages of source: for tests and examples that the documents mention, and for the files of ops and kernels."""
from __future__ import annotations

import pathlib
import re

from docstrings import escape
from pages import block, heading, write_folder

ALWAYS = ("tinyseg/ops", "tinyseg/kernels")
MENTION = re.compile(r"(?:tests|examples)/[\w/]*(?:\.py)?")


def page_of(path: str) -> str:
    """The document for a file or folder: tests/data/ -> generated/source/tests.data"""
    return "generated/source/" + path.strip("/").removesuffix(".py").replace("/", ".")


def shown(srcdir: str) -> dict[str, list[pathlib.Path]]:
    """All files that have a page, and folders with the files in them, by their path in the repository."""
    docs = pathlib.Path(srcdir)
    root = docs.parent
    mentioned = {name for page in docs.rglob("*.md") for name in MENTION.findall(page.read_text(encoding="utf-8"))}
    pages: dict[str, list[pathlib.Path]] = {}
    for name in sorted({*mentioned, *ALWAYS}):
        path = root / name
        if path.is_dir() and (files := sorted(path.rglob("*.py"))):
            pages[name.strip("/")] = files
            pages |= {file.relative_to(root).as_posix(): [file] for file in files}
        elif path.is_file():
            pages[name] = [path]
    return {name: files for name, files in pages.items() if not name.startswith("examples/lecture")}


def generate(app) -> None:
    root, files = pathlib.Path(app.srcdir).parent, {}
    for name, paths in shown(app.srcdir).items():
        if name.endswith(".py"):
            body = block(f"literalinclude:: ../../../{name}", language="python", linenos="")
        else:
            body = "\n".join(f"- ``{path.relative_to(root).as_posix()}``" for path in paths)
        files[page_of(name).rpartition("/")[2] + ".rst"] = f":orphan:\n\n{heading(escape(name))}\n{body}\n"
    write_folder(app, "source", files)


def setup(app) -> None:
    app.connect("builder-inited", generate, priority=100)
