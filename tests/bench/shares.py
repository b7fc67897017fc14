"""Where the time of a training step goes: convolution kernels, the other ops, the update, and Python around them.

Every op's forward and backward and every convolution kernel gets a clock; what runs inside another one is not counted twice.
What is left of the step is Python: layers, checks, the graph.  Page faults are memory that the system had to find, and to
clear, since the C library had given it back.
"""
from __future__ import annotations

import contextlib
import resource
import statistics
import time
from collections import defaultdict
from functools import partial
from types import SimpleNamespace
from unittest import mock

import harness
from systems import CLASSES, SYSTEMS, UNET, System, training_step

import tinyseg as ts
from tinyseg import backends, buffers
from tinyseg.op import REGISTRY
from tinyseg.ops import conv
from tinyseg.optim import Optimizer

TASKS = ("conv2d", "conv2d_input_grad", "conv2d_weight_grad")


class Clock:
    """Notes the moments at which functions begin and end, and does no more meanwhile: between two kernels nothing of it is in
    the caches, and each line takes several times as long as in a loop."""

    def __init__(self):
        self.notes = []                                    # a moment, and the name of what begins then, or None: something ends

    def timed(self, name, function):
        note, now = self.notes.append, time.perf_counter

        def call(*arguments, **settings):
            note(now())
            note(name)
            result = function(*arguments, **settings)
            note(now())
            note(None)
            return result
        return call

    def seconds(self):
        """Seconds by name, each without those of what it called."""
        seconds, running, before = defaultdict(float), [], 0.0
        for moment, name in zip(self.notes[::2], self.notes[1::2]):
            if running:
                seconds[running[-1]] += moment - before
            if name:
                running.append(name)
            else:
                running.pop()
            before = moment
        return seconds


@contextlib.contextmanager
def clocked():
    """A clock that every op, every convolution kernel and every optimizer is under."""
    clock = Clock()

    def timed_kernels(algorithm):
        kernels = {task: clock.timed(f"kernel {task}, {algorithm.name}", getattr(algorithm.kernels, task)) for task in TASKS}
        return algorithm._replace(kernels=SimpleNamespace(**kernels))

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(backends, "conv2d", backends.Choice(tuple(map(timed_kernels, backends.CONV2D)))))
        stack.enter_context(mock.patch.object(conv, "_bias_grad", clock.timed("kernel bias_grad", conv._bias_grad)))
        stack.enter_context(mock.patch.object(Optimizer, "step", clock.timed("update", Optimizer.step)))
        for op in REGISTRY.values():
            for part in ("forward", "backward"):
                timed = staticmethod(clock.timed(f"op {op.name}, {part}", getattr(op, part)))
                stack.enter_context(mock.patch.object(op, part, timed))
        yield clock


def jobs(options):
    others = {f"U-Net 16, {batch}·{size}x{size}": UNET._replace(batch=batch, size=size) for batch, size in ((1, 32), (8, 256))}
    papers = System(partial(ts.models.UNet, CLASSES, width=64), batch=4)
    systems = {**SYSTEMS, "U-Net 64": papers, **others}
    fresh = {f"{name}, nothing used again": partial(measure_without_pool, systems[name], options.rounds)
             for name in ("U-Net 16", "U-Net 16, 8·256x256")}
    return {**{name: partial(measure, system, options.rounds) for name, system in systems.items()}, **fresh}


def measure_without_pool(system, rounds):
    """With arrays that come from NumPy, all of them."""
    with mock.patch.object(buffers, "SMALL", 1 << 62):
        return measure(system, rounds)


def measure(system, rounds):
    """Seconds of one step, {name: [rounds]}, of which "step" is the whole; and MiB of page faults."""
    found, faults = defaultdict(list), []
    with clocked() as clock:
        step = clock.timed("Python", training_step(system))
        for _ in range(rounds):
            step()
            clock.notes.clear()
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            step()
            faults.append((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize() / harness.MIB)
            for name, seconds in clock.seconds().items():
                found[name].append(seconds)
            found["step"].append(clock.notes[-2] - clock.notes[0])
    return {"seconds": dict(found), "faults": faults}


def middle(row):
    """Seconds by name, of the round whose step took the median time."""
    steps = row["seconds"]["step"]
    chosen = steps.index(sorted(steps)[len(steps) // 2])
    return {name: seconds[chosen] for name, seconds in row["seconds"].items()}


def parts(row):
    """The whole, and the four shares of it."""
    seconds = middle(row)
    return {"step": seconds["step"], "convolution kernels": sum(s for name, s in seconds.items() if name.startswith("kernel")),
            "other ops": sum(s for name, s in seconds.items() if name.startswith("op ")),
            "update": seconds["update"], "Python": seconds["Python"]}


def markdown(rows):
    lines = []
    for name, row in rows.items():
        whole, *shares = parts(row).values()
        lines.append([name, f"{1e3 * whole:.1f}", *(f"{100 * share / whole:.1f} %" for share in shares),
                      f"{statistics.median(row['faults']):.0f}"])
    header = ["a step of", "ms", "convolution kernels", "other ops", "update", "Python", "page faults, MiB"]
    shares = harness.table(header, lines)
    unet = middle(rows["U-Net 16"]) if "U-Net 16" in rows else {}
    details = [[name, f"{1e3 * seconds:.2f}", f"{100 * seconds / unet['step']:.1f} %"]
               for name, seconds in sorted(unet.items(), key=lambda item: -item[1])]
    return f"{shares}\n\n{harness.table(['in a step of U-Net 16', 'ms', 'share'], details)}"


def figure(rows):
    from tinyseg.plots import new_figure

    figure = new_figure(9, 3.5)
    ax = figure.subplots()
    for y, row in zip(range(len(rows), 0, -1), rows.values()):
        whole, left = parts(row)["step"], 0.0
        for (name, seconds), colour in zip(list(parts(row).items())[1:], ("#0072B2", "#E69F00", "#009E73", "#D55E00")):
            ax.barh(y, 100 * seconds / whole, left=left, color=colour, label=name if y == len(rows) else None)
            left += 100 * seconds / whole
    ax.set_yticks(range(len(rows), 0, -1), rows)
    ax.set_xlim(0, 100)
    ax.set_xlabel("% of a training step")
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    return figure
