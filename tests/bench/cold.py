"""What a user waits for before anything is computed: whole processes, from start to end, in turns."""
from __future__ import annotations

import importlib.util
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial

import harness

STEP = """
import numpy as np, tinyseg as ts
model = ts.models.UNet(12, width=16)
optimizer = ts.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
scores = model(ts.Tensor(np.zeros((1, 3, 128, 128), np.float32)))
ts.functional.cross_entropy(scores, np.zeros((1, 128, 128), np.int64)).backward()
optimizer.step()
"""
CONVOLUTION = """
import numpy as np, tinyseg as ts
ts.functional.conv2d(np.zeros((1, 3, 128, 128), np.float32), np.zeros((16, 3, 3, 3), np.float32), padding=1)
"""
TORCH = """
import torch
torch.nn.functional.conv2d(torch.zeros(1, 3, 128, 128), torch.zeros(16, 3, 3, 3), padding=1)
"""
WARM = {"python": "pass", "import numpy": "import numpy", "import numba": "import numba", "import tinyseg": "import tinyseg",
        "import tinyseg, first convolution": CONVOLUTION, "import tinyseg, first step of a U-Net": STEP,
        "import torch": "import torch", "import torch, first convolution": TORCH}
COLD = {"first step of a U-Net, nothing compiled": STEP, "first convolution, nothing compiled": CONVOLUTION}


def run(code, **environment):
    """Seconds of a Python process."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, **environment})
    return time.perf_counter() - started


def compile_all(code):
    """In an empty folder for what Numba compiles; once, as it takes long.  CPU seconds hold on a busy machine too."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        seconds = run(code, NUMBA_CACHE_DIR=folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"seconds": [seconds], "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def warm(codes, rounds):
    return harness.in_turns({name: partial(run, code) for name, code in codes.items()}, rounds)


def jobs(options):
    codes = {name: code for name, code in WARM.items() if "torch" not in name or importlib.util.find_spec("torch")}
    return {"warm": partial(warm, codes, options.rounds), **{name: partial(compile_all, code) for name, code in COLD.items()}}


def medians(rows):
    found = {name: statistics.median(seconds) for name, seconds in rows.get("warm", {}).items()}
    return {**found, **{name: rows[name]["seconds"][0] for name in COLD if name in rows}}


def markdown(rows):
    lines = [[name, f"{seconds:.2f}", f"{rows[name]['cpu']:.2f}" if name in COLD else ""]
             for name, seconds in medians(rows).items()]
    return harness.table(["process", "seconds", "of the CPU"], lines)


def figure(rows):
    from tinyseg.plots import BLUE, new_figure

    figure, found = new_figure(8, 3.5), medians(rows)
    ax = figure.subplots()
    places = range(len(found), 0, -1)
    ax.barh(places, list(found.values()), color=BLUE)
    ax.set_yticks(places, found)
    ax.set_xscale("log")
    ax.set_title("seconds of a process")
    ax.grid(axis="x", color="0.9")
    ax.set_axisbelow(True)
    return figure
