"""A training step of the lecture's systems: forward, loss, backward, update.  Time in turns; peak memory in processes apart."""
from __future__ import annotations

from functools import partial

import harness
from systems import SYSTEMS, training_peers as peers


def jobs(options, systems=SYSTEMS, peers=peers):
    times = {f"time {name}": partial(times_of, peers(system, options.compile), options) for name, system in systems.items()}
    memory = {f"memory {name}, {peer}": partial(harness.peak_memory, options.command, name, peer, options.threads)
              for name, system in systems.items() for peer in peers(system)}
    return {**times, **memory}


def times_of(makers, options):
    return harness.in_turns({peer: make() for peer, make in makers.items()}, options.rounds)


def ratios(rows):
    return {name: harness.ratio(row[harness.best(row)], row["tinyseg"]) for name, row in rows.named("time ").items()
            if "torch" in row}


def markdown(rows):
    memory, lines = rows.named("memory "), []
    for name, seconds in rows.named("time ").items():
        peak = {peer: f"{memory[f'{name}, {peer}']['peak']:.0f}" for peer in seconds if f"{name}, {peer}" in memory}
        lines.append([name, harness.milliseconds(seconds["tinyseg"]), peak.get("tinyseg", ""), *["—"] * 4])
        if "torch" in seconds:
            peer = harness.best(seconds)
            lines[-1][3:] = [peer, harness.milliseconds(seconds[peer]), peak.get(peer, ""), ratios(rows)[name]]
        for other in sorted(set(seconds) - {"tinyseg", "torch", "torch channels_last", lines[-1][3]}):
            lines.append([name, "", "", other, harness.milliseconds(seconds[other]), "",
                          harness.ratio(seconds[other], seconds["tinyseg"])])
    return harness.table(["system", "tinyseg ms", "peak MiB", "peer", "ms", "peak MiB", "ratio (quartiles)"], lines)


def figure(rows, what="a training step"):
    from tinyseg.plots import new_figure

    figure = new_figure(8, 4)
    harness.ratio_bars(figure.subplots(), ratios(rows), f"{what}: PyTorch's time / tinyseg's")
    return figure
