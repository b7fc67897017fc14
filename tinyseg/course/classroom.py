"""Grade a folder of submissions, several at a time, into a table."""
from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..files import replacing, require_writable
from .assignment import Assignment
from .handout import TINYSEG
from .similarity import pairs

DEADLINE = 3600                              # seconds for one submission, if the grader itself hangs


def grade_all(folder: str | Path, assignment: Assignment, table: str | Path, out: str | Path | None = None,
              similarity: str | Path | None = None, jobs: int = 1, pace: float = 1.0) -> str:
    """Grade every folder in a folder, each in a grader process of its own, into the CSV `table`; a summary as text.

    out: a folder for everybody's results, NAME.json and NAME.html.  similarity: a CSV of pairs that are alike.
    jobs: how many submissions at a time.  A submission that the grader cannot finish has no score but a problem.
    """
    submissions = sorted(path for path in Path(folder).iterdir() if path.is_dir() and not path.name.startswith("."))
    if not submissions:
        raise ValueError(f"{folder}: holds no folders of submissions")
    if jobs < 1:
        raise ValueError(f"--jobs {jobs}: expected at least 1")
    require_writable(table)
    if similarity:
        require_writable(similarity)
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(jobs) as pool:
        where = Path(out) if out else Path(scratch)
        where.mkdir(parents=True, exist_ok=True)
        rows = list(pool.map(lambda path: _row(path, assignment, where, pace), submissions))
    columns = ["submission", "score", "points", *assignment.tasks, "seconds", "problem"]
    write_table(table, columns, rows)
    lines = [f"{len(rows)} submissions in {table}"]
    scores = [row["score"] for row in rows if row["score"] != ""]
    if scores:
        lines.append(f"scores from {min(scores):g} to {max(scores):g} of {assignment.points:g}, "
                     f"mean {sum(scores) / len(scores):.1f}")
    lines += [f"not graded: {row['submission']}: {row['problem']}" for row in rows if row["problem"]]
    if similarity:
        alike = pairs(submissions, assignment)
        write_table(similarity, ["first", "second", "similarity", "file", "similarity_of_file"], alike)
        lines.append(f"{len(alike)} pairs in {similarity}, the most similar first: to be read by a person")
    return "\n".join(lines)


def write_table(path: str | Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """A CSV.  Texts that a spreadsheet would take for a formula are quoted."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: f"'{value}" if str(value)[:1] in tuple("=+-@") and isinstance(value, str) else value
                      for key, value in row.items()} for row in rows)
    with replacing(path) as file:
        file.write(text.getvalue().encode())


def _row(submission: Path, assignment: Assignment, where: Path, pace: float) -> dict[str, Any]:
    result = where / f"{submission.name}.json"
    result.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tinyseg", "grade", str(submission.resolve()), "--master", str(assignment.folder),
               "--out", str(result.resolve()), "--html", str(result.with_suffix(".html").resolve()), f"--pace={pace}"]
    row = {"submission": submission.name, "score": "", "points": assignment.points, "problem": ""}
    try:
        done = subprocess.run(command, cwd=TINYSEG.parent, capture_output=True, text=True, timeout=DEADLINE)
        if done.returncode:
            row["problem"] = (done.stderr.strip().splitlines() or ["the grader failed"])[-1]
        found = json.loads(result.read_text())
    except subprocess.TimeoutExpired:
        return row | {"problem": f"no end after {DEADLINE} seconds"}
    except (OSError, ValueError) as error:
        return row | {"problem": row["problem"] or f"no results: {error}"}
    return row | found["extra_data"]["tasks"] | {"score": found["score"], "seconds": round(found["execution_time"], 1)}
