"""What the checker found, as text."""
from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .diagnosis import Diagnosis, diagnose
from .evidence import Evidence, location


@dataclass
class Report:
    """The result of a gradient check; `str(report)` tells all of it.

    ok: are all gradients right?   diagnoses: the bug of every input whose gradient is wrong, by the input's name.
    error: the largest deviation, relative to the largest entry of the same gradient.  The report is true if ok.
    """

    function: str
    evidence: list[Evidence]
    diagnoses: dict[str, Diagnosis] = field(init=False)

    def __post_init__(self) -> None:
        self.diagnoses = {e.name: diagnose(e) for e in self.evidence if not e.ok}

    @property
    def ok(self) -> bool:
        return not self.diagnoses

    @property
    def error(self) -> float:
        return max(e.error for e in self.evidence)

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        verdict = "all gradients are right" if self.ok else "WRONG GRADIENT"
        return "\n".join([f"gradcheck {self.function}: {verdict}", *map(self._line, self.evidence)])

    def _line(self, e: Evidence) -> str:
        title = f"  {e.name} {e.analytic.shape}:"
        if e.ok:
            kinks = f", {np.count_nonzero(e.kinks)} of them at a kink" if e.kinks.any() else ""
            return f"{title} ok, {np.count_nonzero(e.chosen)} entries{kinks}, largest relative error {e.error:.1e}"
        found = self.diagnoses[e.name]
        lines = [f"{title} {location(e)}", f"    {found.name}: {found.sentence}"]
        if e.wrong.any():
            deviation = np.nan_to_num(abs(e.analytic - e.expected), nan=np.inf)
            at = np.unravel_index(np.argmax(np.where(e.wrong, deviation, -1)), e.wrong.shape)
            lines.insert(1, f"    worst at {e.name}[{', '.join(map(str, at))}]: analytic {e.analytic[at]:.6g}, "
                            f"numeric {e.expected[at]:.6g}")
        return "\n".join(lines)
