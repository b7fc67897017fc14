"""What a grading says: Gradescope's results.json, text for the terminal, and a page."""
from __future__ import annotations

import html
import json
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..files import replacing
from .assignment import Assignment, Test

OUTPUT_LIMIT = 4000                          # characters of one message


@dataclass
class Outcome:
    """One test, and what is wrong (nothing if it is passed)."""

    test: Test
    message: str
    passed: bool = False

    @property
    def score(self) -> float:
        return self.test.points if self.passed else 0.0


@dataclass
class Results:
    """All outcomes of one submission.  written: the files that a person reads, by name."""

    assignment: Assignment
    outcomes: list[Outcome]
    written: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def score(self) -> float:
        return sum(outcome.score for outcome in self.outcomes)

    @property
    def points(self) -> float:
        return sum(outcome.test.points for outcome in self.outcomes)

    def of(self, task: str) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.test.task == task]

    def as_dict(self) -> dict[str, Any]:
        """In Gradescope's format, https://gradescope-autograders.readthedocs.io/en/latest/specs/."""
        return {"score": round(self.score, 5), "execution_time": round(self.seconds, 3), "output": self._summary(),
                "output_format": "text", "stdout_visibility": "hidden", "tests": [*map(self._test, self.outcomes)],
                "extra_data": {"tasks": {name: sum(o.score for o in self.of(name)) for name in self.tasks}}}

    @property
    def tasks(self) -> list[str]:
        return list(dict.fromkeys(outcome.test.task for outcome in self.outcomes))

    def write(self, path: str | Path) -> None:
        """As results.json; whoever reads it finds the whole of the old one or of the new one."""
        with replacing(path) as file:
            file.write(json.dumps(self.as_dict(), indent=1, allow_nan=False).encode())

    def _test(self, outcome: Outcome) -> dict[str, Any]:
        test = outcome.test
        return {"name": f"{test.task}: {test.name}", "number": test.number, "tags": [test.task],
                "score": outcome.score, "max_score": test.points, "status": "passed" if outcome.passed else "failed",
                "output": clean(outcome.message), "output_format": "text",
                "visibility": self.assignment.hidden_tests if test.hidden else "visible"}

    def _summary(self) -> str:
        note = f"\nA person reads {', '.join(self.written)}." if self.written else ""
        passed = sum(outcome.passed for outcome in self.outcomes)
        return f"{self.assignment.title}: {passed} of {len(self.outcomes)} tests passed.{note}"

    def __str__(self) -> str:
        """The report for the terminal."""
        lines = []
        for name in self.tasks:
            outcomes = self.of(name)
            earned, points = sum(o.score for o in outcomes), sum(o.test.points for o in outcomes)
            lines.append(f"{name:14} {earned:5g} of {points:<5g} {self.assignment.tasks[name].title}")
            for outcome in outcomes:
                mark = "✓" if outcome.passed else "✗"
                lines.append(f"  {mark} {outcome.test.number:5} {outcome.test.name} ({outcome.test.points:g})")
                if not outcome.passed:
                    lines.append(textwrap.indent(clean(outcome.message), " " * 10))
        return "\n".join([*lines, f"{'total':14} {self.score:5g} of {self.points:g}"])

    def page(self) -> str:
        """A page that works offline."""
        parts = []
        for name in self.tasks:
            outcomes = self.of(name)
            earned, points = sum(o.score for o in outcomes), sum(o.test.points for o in outcomes)
            rows = "".join(
                f'<tr class="{"passed" if o.passed else "failed"}"><td>{o.test.number}<td>{html.escape(o.test.name)}'
                f'{" (hidden)" if o.test.hidden else ""}<td>{o.score:g} / {o.test.points:g}'
                f"<td><pre>{html.escape(clean(o.message)) or '✓'}</pre>" for o in outcomes)
            title = html.escape(self.assignment.tasks[name].title)
            parts.append(f"<h2>{title} <small>{name}.py, {earned:g} of {points:g}</small></h2><table>{rows}</table>")
        for name, text in self.written.items():
            parts.append(f"<h2>{name} <small>for a person to grade</small></h2><pre>{html.escape(clean(text))}</pre>")
        return PAGE.format(title=html.escape(self.assignment.title), score=f"{self.score:g} of {self.points:g}",
                           body="\n".join(parts))


def clean(text: str) -> str:
    """Text that is safe to show: no control characters, and no endless lines."""
    shown = "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
    return shown if len(shown) <= OUTPUT_LIMIT else shown[:OUTPUT_LIMIT] + " …"


PAGE = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 16px/1.45 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
h1 {{ display: flex; justify-content: space-between; gap: 2rem }} h1 b {{ white-space: nowrap }}
small {{ font-weight: normal; color: #666 }}
table {{ border-collapse: collapse; table-layout: fixed; width: 100% }}
tr {{ border-top: 1px solid #ddd; border-left: 4px solid #c33 }} .passed {{ border-left-color: #2a7 }}
td {{ padding: .3rem .6rem; vertical-align: top }}
td:nth-child(1) {{ width: 2rem }} td:nth-child(2) {{ width: 28% }} td:nth-child(3) {{ width: 3rem; white-space: nowrap }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; font: 13px/1.6 ui-monospace, monospace }}
@media (max-width: 45rem) {{
  h1, h1 b, table, tbody {{ display: block }} tr {{ display: grid; grid-template-columns: 2rem 1fr auto }}
  td:nth-child(n) {{ width: auto; padding: .3rem }} td:last-child {{ grid-column: 2 / -1 }}
  .passed td:last-child {{ display: none }}
}}
</style>
<h1>{title} <b>{score}</b></h1>
{body}
</html>
"""
