"""How time and memory grow: a U-Net's step with the batch and with pixels, one convolution with the side of its image."""
from __future__ import annotations

import statistics
from functools import partial

import harness
import layers
from systems import UNET, training_peers as peers

BATCHES, SIDES = (1, 2, 4, 8, 16, 32), (64, 128, 256, 512, 1024)
LAYER_SIDES = (2, 3, 4, 6, 8, 12, 15, 16, 17, 24, 31, 32, 33, 48, 64, 96, 128, 192, 256)
SYSTEMS = {**{f"batch {n}": UNET._replace(batch=n) for n in BATCHES},
           **{f"side {n}": UNET._replace(batch=1, size=n) for n in SIDES}}


def jobs(options):
    times = {f"time {name}": partial(times_of, system, options) for name, system in SYSTEMS.items()}
    sweep = {f"layer {n}": partial(layers.measure, layers.Layer((4, 32, n, n), (32, 32, 3, 3)), options.rounds)
             for n in LAYER_SIDES}
    memory = {f"memory {name}, {peer}": partial(harness.peak_memory, options.command, name, peer, options.threads)
              for name, system in SYSTEMS.items() for peer in peers(system) if peer in ("tinyseg", "torch")}
    return {**times, **sweep, **memory}


def times_of(system, options):
    """Fewer rounds for large batches, so that every row takes about as long."""
    rounds = max(1, min(options.rounds, options.rounds * 2**18 // (system.batch * system.size**2)))
    return harness.in_turns({peer: make() for peer, make in peers(system, options.compile).items()}, rounds)


def markdown(rows):
    memory, lines = rows.named("memory "), []
    for name, seconds in rows.named("time ").items():
        system = SYSTEMS[name]
        peaks = [f"{memory[f'{name}, {peer}']['peak']:.0f}" if f"{name}, {peer}" in memory else ""
                 for peer in ("tinyseg", "torch")]
        line = [f"{system.batch}·{system.size}x{system.size}", harness.milliseconds(seconds["tinyseg"]), peaks[0]]
        if "torch" in seconds:
            theirs = seconds[harness.best(seconds)]
            line += [harness.milliseconds(theirs), peaks[1], harness.ratio(theirs, seconds["tinyseg"])]
        lines.append(line)
    header = ["U-Net 16, a step", "tinyseg ms", "peak MiB", "PyTorch ms", "peak MiB", "ratio (quartiles)"]
    steps = harness.table(header, lines)
    lines = []
    for name, row in sorted(rows.named("layer ").items(), key=lambda item: int(item[0])):
        ratio = layers.ratios({name: row}).get(name, "")
        lines.append([name, row["algorithm"], harness.milliseconds(row["seconds"]["tinyseg"]), f"{gflops(row):.0f}", ratio])
    sweep = harness.table(["3x3, 32→32, 4·side², side", "algorithm", "tinyseg ms", "GFLOP/s", "ratio (quartiles)"], lines)
    return f"{steps}\n\n{sweep}"


def gflops(row, who="tinyseg"):
    return row["gflop"] / statistics.median(row["seconds"][who])


def figure(rows):
    from tinyseg.plots import new_figure

    figure = new_figure(13, 7)
    axes = figure.subplots(2, 3)
    for column, word, x_label in ((0, "batch", "images of 128 x 128"), (1, "side", "side of one image, pixels")):
        times = {int(name.split()[1]): row for name, row in rows.named("time ").items() if name.startswith(word)}
        memory = {name: row for name, row in rows.named("memory ").items() if name.startswith(word)}
        for peer, style in (("tinyseg", "o-"), ("torch", "s--")):
            points = sorted((n, statistics.median(row[harness.best(row) if peer == "torch" else peer]))
                            for n, row in times.items() if peer in row)
            if points:
                axes[0, column].plot(*zip(*points), style, label=peer)
            points = sorted((int(name.split(",")[0].split()[1]), row["peak"]) for name, row in memory.items()
                            if name.endswith(f", {peer}"))
            if points:
                axes[1, column].plot(*zip(*points), style, label=peer)
        axes[0, column].set_title("a U-Net's training step: seconds")
        axes[1, column].set_title("peak memory of the process, MiB")
        for ax in axes[:, column]:
            log_log(ax, x_label)
    draw_sweep(axes[:, 2], rows.named("layer "))
    return figure


def log_log(ax, x_label):
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter("{x:.0f}")
    ax.set_yscale("log")
    ax.set_xlabel(x_label)
    ax.grid(color="0.9")
    if ax.get_legend_handles_labels()[0]:
        ax.legend()


def draw_sweep(axes, sweep):
    """One layer: GFLOP/s with a colour for each algorithm, and the ratio."""
    points = sorted((int(name), row["algorithm"], gflops(row), row) for name, row in sweep.items())
    for algorithm in dict.fromkeys(name for _, name, *_ in points):
        chosen = [(n, speed) for n, name, speed, _ in points if name == algorithm]
        axes[0].plot(*zip(*chosen), "o-", label=f"tinyseg: {algorithm}")
    theirs = [(n, gflops(row, harness.best(row["seconds"]))) for n, _, _, row in points if "torch" in row["seconds"]]
    if theirs:
        axes[0].plot(*zip(*theirs), "s--", color="0.5", label="torch", zorder=0)
        ratios = [(n, layers.ratios({"": row})[""].median) for n, _, _, row in points]
        axes[1].plot(*zip(*ratios), "o-", color="0.2")
        axes[1].axhline(1, color="0.5", linewidth=1)
    axes[0].set_title("one 3x3 layer, 32→32, batch 4: GFLOP/s")
    axes[1].set_title("the same: PyTorch's time / tinyseg's")
    for ax in axes:
        log_log(ax, "side of the image, pixels")
