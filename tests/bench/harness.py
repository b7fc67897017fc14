"""What all measurements share: timing in turns, ratios with their spread, peak memory, rows that are kept, tables, pictures."""
from __future__ import annotations

import gc
import hashlib
import importlib.util
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numba
import numpy as np

import tinyseg as ts

HERE = pathlib.Path(__file__).parent
MIB = 2**20
PAUSE = 0.02             # seconds
Row = dict[str, Any]
# glibc hands large blocks back to the system, and takes them anew; so it keeps them (32 MiB is its largest threshold)
RAISED = {"MALLOC_MMAP_THRESHOLD_": str(32 * MIB), "MALLOC_TRIM_THRESHOLD_": str(1024 * MIB), "MALLOC_TOP_PAD_": str(64 * MIB)}


# Time -----------------------------------------------------------------------------------------------------------------

def in_turns(functions: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call: {name: [rounds]}.  Every round calls each function twice, after a pause, and times the second call.

    The threads of one library go on spinning for some milliseconds after its call, in the way of the next one's: the pause is
    longer.  The first call brings the function's own threads and data back, which the others have driven out.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    gc.disable()
    for _ in range(rounds):
        for name, function in functions.items():
            time.sleep(PAUSE)
            function()
            started = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - started)
        gc.collect()
    gc.enable()
    return seconds


class Ratio(NamedTuple):
    """Their time divided by ours, round by round: above 1 ours is faster."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}–{self.high:.2f})"


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> Ratio:
    """The median of the rounds' ratios, and their quartiles.

    >>> print(ratio([2.0, 4.0, 6.0], [2.0, 2.0, 2.0]))
    2.00 (1.50–2.50)
    """
    low, median, high = np.percentile(np.divide(theirs, ours), [25, 50, 75])
    return Ratio(float(median), float(low), float(high))


def best(seconds: dict[str, list[float]]) -> str:
    """The better of PyTorch's two layouts of memory, by the median."""
    return min(("torch", "torch channels_last"), key=lambda name: statistics.median(seconds[name]))


def milliseconds(seconds: Sequence[float]) -> str:
    return f"{1e3 * statistics.median(seconds):.3g}"


# Memory ---------------------------------------------------------------------------------------------------------------

def status(field: str) -> float:
    """MiB, from Linux's account of this process: VmRSS now, VmHWM at the most since `forget_peak`."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def peak_of(make: Callable[[], Callable[[], Any]], calls: int = 3) -> Row:
    """MiB of this process before anything is made, and at the most in a few calls, after one that compiles."""
    before = status("VmRSS")
    step = make()
    step()
    pathlib.Path("/proc/self/clear_refs").write_text("5")              # forget the peak so far
    for _ in range(calls):
        step()
    return {"before": before, "peak": status("VmHWM")}


def peak_memory(command: str, name: str, peer: str, threads: int) -> Row:
    """`peak_of` in a process of its own, in which no other library has been loaded."""
    done = subprocess.run([sys.executable, str(HERE / "run.py"), command, "--threads", str(threads), "--peak", name, peer],
                          capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"peak memory of {name}, {peer}: {done.stderr.strip()}")
    return json.loads(done.stdout.splitlines()[-1])


# Rows that are kept ---------------------------------------------------------------------------------------------------

class Rows(dict[str, Row]):
    """Rows of one measurement by name, a line each in a file; those that were measured in another setting stay there unread.

    So a call that is cut off loses nothing, and the next one goes on with the rows that are missing.  `others` has the share
    of the CPUs that other processes used during each.
    """

    def __init__(self, path: pathlib.Path, setting: Row):
        super().__init__()
        self.path, self.setting = path, setting
        self.others: dict[str, float] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            kept = json.loads(line)
            if kept["setting"] == setting:
                self[kept["name"]], self.others[kept["name"]] = kept["row"], kept["others"]

    def add(self, name: str, row: Row, others: float = 0.0) -> None:
        self[name], self.others[name] = row, others
        kept = {"name": name, "row": row, "others": others, "setting": self.setting}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(kept) + "\n")

    def named(self, prefix: str) -> dict[str, Row]:
        """Those whose names begin so, under the rest of their names."""
        return {name.removeprefix(prefix): row for name, row in self.items() if name.startswith(prefix)}


def work_of_others() -> float:
    """CPU seconds that other processes have used so far, and that a virtual machine was not given; 0 where unknown."""
    try:
        line = pathlib.Path("/proc/stat").read_text().split("\n")[0]
    except OSError:
        return 0.0
    user, nice, system, _, _, *rest = map(int, line.split()[1:9])           # idle and waiting left out
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])


def sources() -> str:
    """A digest of the library's code: rows of another state are not rows of this one."""
    digest = hashlib.sha256()
    for path in sorted(pathlib.Path(ts.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def malloc() -> str:
    """Which thresholds glibc was started with."""
    return "raised" if all(os.environ.get(name) == value for name, value in RAISED.items()) else "default"


def machine(threads: int) -> str:
    """One line that says what was measured on."""
    from importlib.metadata import PackageNotFoundError, version

    libraries = ["Python " + platform.python_version()]
    for name in ("numpy", "numba", "torch", "jax"):
        try:
            libraries.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            pass
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor() or platform.machine()
    from tinyseg.kernels.simd import BITS
    cpu = f"{cpu}, vectors of {BITS} bits"
    return f"{cpu}; threads: {threads}; {', '.join(libraries)}; malloc: {malloc()}; tinyseg {ts.__version__}, code {sources()}"


def set_threads(threads: int, torch_too: bool) -> None:
    numba.set_num_threads(threads)
    if torch_too and importlib.util.find_spec("torch"):
        import torch
        torch.set_num_threads(threads)


# Tables and pictures --------------------------------------------------------------------------------------------------

def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Markdown.

    >>> print(table(["a", "b"], [[1, 2]]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = [header, *rows]
    text = [f"| {' | '.join(map(str, line))} |" for line in lines]
    return "\n".join([text[0], "|---" * len(header) + "|", *text[1:]])


def ratio_bars(ax: Any, ratios: dict[str, Ratio], title: str) -> None:
    """A bar for each ratio with its quartiles, the first one at the top, and a line at 1: as fast as the peer."""
    from tinyseg.plots import BLUE, VERMILION

    places = range(len(ratios), 0, -1)
    for y, value in zip(places, ratios.values()):
        ax.barh(y, value.median, color=BLUE if value.median >= 1 else VERMILION, height=0.7)
        ax.plot([value.low, value.high], [y, y], color="0.2", linewidth=1.5)
    ax.set_yticks(list(places), list(ratios))
    ax.axvline(1, color="0.2", linewidth=1)
    ax.set_title(title)
    ax.set_xlim(0)
    ax.grid(axis="x", color="0.9")
    ax.set_axisbelow(True)
