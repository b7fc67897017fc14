"""The house's docstrings, which are plain text, as reST: what is written is shown, and nothing in it is taken for markup.

Lines of a paragraph flow together.  A line `name, name: …` begins an item of a list, and so does `- `; `Returns` and `Raises`
begin a paragraph.  Doctests stay, and what is indented by itself is shown as it stands.  `code` is set as code.
"""
from __future__ import annotations

import re

ITEM = re.compile(r'(["`*]*[A-Za-z][\w.\[\]]*["`]?(?:, ["`*]*[A-Za-z][\w.\[\]]*["`]?)*): (.*)')
PARAGRAPH = ("Returns ", "Raises ", "Returns:", "Raises:")


def to_rest(text: str) -> str:
    """The text as reST.

    >>> print(to_rest("The sum of `a` and b_.\\n\\na: one number.\\nb: another,\\n    perhaps."))
    The sum of ``a`` and b\\_.
    <BLANKLINE>
    - **a**: one number.
    - **b**: another, perhaps.
    """
    return "\n\n".join(_blocks(text.splitlines()))


def _blocks(lines: list[str]) -> list[str]:
    blocks: list[str] = []
    paragraphs = re.split(r"\n\s*\n", "\n".join(lines).strip("\n"))
    for paragraph in paragraphs:
        lines = [line.rstrip() for line in paragraph.splitlines()]
        while lines:
            kind, taken = _next(lines)
            if kind is _item and not blocks and not lines[0].startswith("- "):
                kind = _flowing                                # "VGG: Simonyan & Zisserman, …": a title
            block = kind(lines[:taken])
            if blocks and block.startswith("- ") and blocks[-1].startswith("- "):
                blocks[-1] += "\n" + block
            else:
                blocks.append(block)
            lines = lines[taken:]
    return blocks


def _next(lines: list[str]):
    """How the first block of these lines is set, and how many lines it has."""
    if lines[0].lstrip().startswith(">>>"):
        return _as_it_stands, len(lines)
    if lines[0].startswith(" "):
        return _quoted, next((k for k, line in enumerate(lines) if not line.startswith(" ")), len(lines))
    ends = (k for k, line in enumerate(lines) if k and _begins(line) or line.lstrip().startswith(">>>"))
    return (_item if _is_item(lines[0]) else _flowing), next(ends, len(lines))


def _begins(line: str) -> bool:
    return _is_item(line) or line.startswith(PARAGRAPH)


def _is_item(line: str) -> bool:
    return line.startswith("- ") or bool(ITEM.fullmatch(line)) and not line.startswith(PARAGRAPH)


def _as_it_stands(lines: list[str]) -> str:
    return "\n".join(lines)


def _quoted(lines: list[str]) -> str:
    return "::\n\n" + "\n".join(lines)


def _flowing(lines: list[str]) -> str:
    text = escape(" ".join(line.strip() for line in lines))
    return text.removesuffix(":") if text.endswith("::") else text


def _item(lines: list[str]) -> str:
    text = " ".join(line.strip() for line in lines)
    if text.startswith("- "):
        return "- " + escape(text[2:])
    names, rest = re.fullmatch(ITEM, text).groups()
    return f"- {'**' + escape(names) + '**' if '`' not in names else escape(names)}: {escape(rest)}"


def escape(text: str) -> str:
    """Text in which nothing but `code` is markup.

    >>> print(escape("`f`s of *args and |x|"))
    ``f``\\ s of \\*args and \\|x\\|
    """
    parts = re.split(r"`([^`]+)`", text)
    out = ""
    for k, part in enumerate(parts):
        if k % 2:
            before = "\\ " if out and (out[-1].isalnum() or out[-1] in "·=_") else ""
            after = "\\ " if k + 1 < len(parts) and parts[k + 1][:1].isalnum() else ""
            out += f"{before}``{part.strip()}``{after}"
        else:
            out += re.sub(r"([\\*|_`])", r"\\\1", part)
    return out


def _process(app, what, name, obj, options, lines: list[str]) -> None:
    lines[:] = [*to_rest("\n".join(lines)).splitlines(), ""]


def _name_aliases(app, what, name, obj, options, signature, returns) -> tuple[str | None, str | None]:
    """Type aliases by their names."""
    return tuple(text and re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", text) for text in (signature, returns))


def setup(app) -> None:
    app.connect("autodoc-process-signature", _name_aliases)
    app.connect("autodoc-process-docstring", _process)
