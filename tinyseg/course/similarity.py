"""Which submissions are alike?  An aid for reading, no proof: whoever is named has been read by nobody yet.

Winnowing's idea (Schleimer, Wilkerson & Aiken, SIGMOD 2003) without its sampling: two files are as alike as their sets
of k-grams of tokens, where own names do not count, nor does what was handed out.
"""
from __future__ import annotations

import io
import keyword
import tokenize
from itertools import combinations
from pathlib import Path
from typing import Any

from .assignment import Assignment
from .grader import find
from .handout import for_students

LENGTH = 12                                  # tokens
LEAST, FEWEST = 0.5, 20                      # pairs below are not listed; files with fewer k-grams say nothing
SKIPPED = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.STRING,
           tokenize.ENCODING, tokenize.ENDMARKER}


def grams(source: str) -> set[tuple[str, ...]]:
    """All runs of LENGTH tokens.  Names are anonymous, unless they follow a dot; comments and strings are left out.

    >>> grams("y = np.zeros(a + b, c)  # one") == grams("out = np.zeros(n + k, t)")
    True
    """
    tokens: list[str] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type in SKIPPED:
                continue
            own = token.type == tokenize.NAME and not keyword.iskeyword(token.string) and tokens[-1:] != ["."]
            tokens.append("name" if own else token.string)
    except (tokenize.TokenError, SyntaxError):
        pass                                 # what stands before the error counts
    return {tuple(tokens[i:i + LENGTH]) for i in range(len(tokens) - LENGTH + 1)}


def pairs(submissions: list[Path], assignment: Assignment) -> list[dict[str, Any]]:
    """All pairs that share at least half of their code, the most similar first.

    similarity: shared k-grams over those of the smaller of the two, over all files; and of the file that is most alike.
    """
    own = {path.name: _own(path, assignment) for path in submissions}
    found = []
    for first, second in combinations(own, 2):
        files = {file: _alike(own[first][file], own[second][file]) for file in own[first]}
        total = _alike({(file, gram) for file, all in own[first].items() for gram in all},
                       {(file, gram) for file, all in own[second].items() for gram in all})
        most = max(files, key=lambda file: files[file])
        if max(total, files[most]) >= LEAST:
            found.append({"first": first, "second": second, "similarity": round(total, 3), "file": most,
                          "similarity_of_file": round(files[most], 3)})
    return sorted(found, key=lambda row: (-row["similarity"], -row["similarity_of_file"], row["first"], row["second"]))


def _own(folder: Path, assignment: Assignment) -> dict[str, set[tuple[str, ...]]]:
    """What a submission has beyond what was handed out, by file."""
    own = {}
    for task in assignment.tasks.values():
        path = find(folder, task.file)
        text = path.read_text(encoding="utf-8", errors="replace") if isinstance(path, Path) else ""
        own[task.file] = grams(text) - grams(for_students(assignment.folder / task.file, assignment).decode())
    return own


def _alike(a: set[Any], b: set[Any]) -> float:
    fewer = min(len(a), len(b))
    return len(a & b) / fewer if fewer >= FEWEST else 0.0
