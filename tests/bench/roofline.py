"""What every kernel reaches of what this machine can do: operations and bytes per second against measured peaks.

The peaks are measured with Numba itself: a register tile that multiplies what is in the first-level cache, and a stream triad,
a[i] = b[i] + s·c[i], on arrays larger than all caches.  The kernels are the ops that training steps of four systems call, each
with the arrays of its largest call, convolutions of the U-Net with those of all calls.

Bytes are counted as if every argument and every result went through memory once; what of it stays in a cache is faster than the
roof of the triad.  A convolution counts a multiplication and an addition for each tap, however few the algorithm gets by with:
one that saves multiplications may stand above the roof of the register tile.
"""
from __future__ import annotations

import statistics
from functools import partial
from typing import Any, NamedTuple
from unittest import mock

import harness
import layers
import numpy as np
from numba import njit, prange
from systems import SYSTEMS, System

import tinyseg as ts
from tinyseg.kernels.simd import COLS, ROWS, TILE, add_products, lanes, store_tile, zero_tile
from tinyseg.op import REGISTRY, Context

DEPTH, REPEATS = 32, 20_000             # rows of 6 vectors that a tile goes through, 12 KiB, and how often
STREAM = 1 << 25                        # values of each array of the triad, 128 MiB
CALLS = {"U-Net 16": SYSTEMS["U-Net 16"], "SegNet 16": SYSTEMS["SegNet 16"], "DeepLab v3 32": SYSTEMS["DeepLab v3 32"],
         "MobileNet 32": layers.MOBILENET}
# operations for each value of the result, forward and backward; one, where nothing is said
OPERATIONS = {"batch_norm": (6, 8), "max_pool2d": (4, 1), "bilinear": (11, 12), "avg_pool2d": (4, 4), "cross_entropy": (60, 60)}


@njit(cache=True, parallel=True)
def multiply_tiles(out, packed, flat, positions, tasks):
    """Each task: REPEATS times DEPTH rows of a tile; ROWS·COLS vector multiplications and additions a row."""
    for task in prange(tasks):
        tile = zero_tile(flat, TILE)
        for _ in range(REPEATS):
            for k in range(DEPTH):
                tile = add_products(tile, ROWS, packed, k * ROWS, flat, positions, 0, k * COLS * lanes(flat))
        store_tile(tile, out, task * TILE * lanes(flat))


@njit(cache=True, parallel=True)
def triad(a, b, c, s):
    for i in prange(a.size):
        a[i] = b[i] + s * c[i]


def peak_operations(options):
    width = lanes_of(np.float32)
    rng = np.random.default_rng(0)
    packed, flat = (1e-3 * rng.standard_normal(n).astype(np.float32) for n in (DEPTH * ROWS, DEPTH * COLS * width))
    out, positions = np.empty(options.threads * TILE * width, np.float32), np.arange(COLS) * width
    run = partial(multiply_tiles, out, packed, flat, positions, options.threads)
    operations = 2 * options.threads * REPEATS * DEPTH * TILE * width
    seconds = harness.in_turns({"": run}, options.rounds)[""]
    return {"seconds": seconds, "operations": operations, "bytes": packed.nbytes + flat.nbytes}


def peak_bytes(options):
    a, b, c = (np.ones(STREAM, np.float32) for _ in range(3))
    seconds = harness.in_turns({"": lambda: triad(a, b, c, np.float32(0.5))}, options.rounds)[""]
    return {"seconds": seconds, "operations": 2 * STREAM, "bytes": 3 * a.nbytes}


@njit
def lanes_of_array(array):
    return lanes(array)


def lanes_of(dtype):
    return lanes_of_array(np.empty(1, dtype))


# The calls of ops -----------------------------------------------------------------------------------------------------

class Call(NamedTuple):
    """One call of an op in a training step."""

    op: type
    arrays: tuple
    settings: dict[str, Any]
    needs: tuple[bool, ...]

    @property
    def size(self) -> int:
        return sum(array.nbytes for array in self.arrays if array is not None)


def calls_of(system: System) -> list[Call]:
    """All of a forward pass and its loss, in training."""
    found: list[Call] = []

    def noting(op, forward):
        def call(ctx, *arrays, **settings):
            found.append(Call(op, arrays, settings, ctx.needs_input_grad))
            return forward(ctx, *arrays, **settings)
        return staticmethod(call)

    patches = [mock.patch.object(op, "forward", noting(op, op.forward)) for op in REGISTRY.values()]
    model, (images, masks) = system.model(), system.data()
    for patch in patches:
        patch.start()
    ts.functional.cross_entropy(model(ts.Tensor(images)), ts.Tensor(masks))
    for patch in patches:
        patch.stop()
    return found


def chosen_calls() -> dict[str, Call]:
    """Every convolution of the U-Net, and of each other op (and of each kind of convolution) the largest call."""
    chosen: dict[str, Call] = {}
    for system, setting in CALLS.items():
        for call in calls_of(setting):
            name = call.op.name
            if name in ("conv2d", "conv_transpose2d"):
                x, w = call.arrays[:2]
                layer = layers.Layer(x.shape, w.shape, call.settings["stride"], (0, 0), call.settings["dilation"],
                                     x.shape[1] // w.shape[1] if name == "conv2d" else 1, name != "conv2d")
                name = str(layer) if system == "U-Net 16" else f"{layer.kind} convolution"
            if call.size >= harness.MIB // 32 and (name not in chosen or chosen[name].size < call.size):
                chosen[name] = call
    return chosen


def measure(call: Call, rounds: int) -> harness.Row:
    """Forward and backward, of convolutions for each array alone; where the result is a view, there is nothing to measure."""
    context = Context(call.needs)
    result = call.op.forward(context, *call.arrays, **call.settings)
    y = result[0] if isinstance(result, tuple) else result
    dy = np.random.default_rng(0).standard_normal(y.shape).astype(y.dtype)
    parts = {}
    if not any(np.may_share_memory(y, array) for array in call.arrays):
        parts["forward"] = lambda: call.op.forward(Context(call.needs), *call.arrays, **call.settings)
    kinds = [(f"gradient of {name}", i) for i, name in enumerate("xw")] if "conv" in call.op.name else [("backward", None)]
    for name, i in kinds:
        if any(call.needs) if i is None else call.needs[i]:
            gradients = backward(call.op, context, i, dy)
            if not any(np.may_share_memory(dy, gradient) for gradient in gradients):
                parts[name] = partial(backward, call.op, context, i, dy)
    seconds = harness.in_turns(parts, rounds)
    moved = call.size + y.nbytes
    work = operations(call, y)
    return {name: {"seconds": times, "operations": work[name != "forward"],
                   "bytes": moved if "conv" in call.op.name or name == "forward" else moved + call.size}
            for name, times in seconds.items()}


def backward(op, context, which, dy):
    """The gradient of one array argument, or of all."""
    needs = context.needs_input_grad
    if which is not None:
        context.needs_input_grad = tuple(i == which for i in range(len(needs)))
    gradients = [gradient for gradient in op.backward(context, dy) if gradient is not None]
    context.needs_input_grad = needs
    return gradients


def operations(call: Call, y: np.ndarray) -> tuple[int, int]:
    """Of the forward pass and of a backward one."""
    if call.op.name == "conv2d":
        return (2 * y.size * call.arrays[1][0].size,) * 2
    if call.op.name == "conv_transpose2d":
        return (2 * call.arrays[0].size * call.arrays[1][0].size,) * 2
    each = OPERATIONS.get(call.op.name, (1, 1))
    values = max(array.size for array in (y, *call.arrays) if array is not None)
    return each[0] * values, each[1] * values


def update(optimizer, moved, options):
    """A step of an optimizer on 4 million values; `moved` arrays are read or written."""
    parameter = ts.nn.Parameter(np.ones(1 << 22, np.float32))
    parameter.grad = np.ones(1 << 22, np.float32)
    seconds = harness.in_turns({"": optimizer([parameter], lr=1e-6).step}, options.rounds)[""]
    return {"update": {"seconds": seconds, "operations": 2 * moved * parameter.size, "bytes": 4 * moved * parameter.size}}


def jobs(options):
    peaks = {"peak operations": partial(peak_operations, options), "peak bytes": partial(peak_bytes, options)}
    updates = {"SGD": partial(update, partial(ts.optim.SGD, momentum=0.9), 5, options),
               "Adam": partial(update, ts.optim.Adam, 7, options)}
    return {**peaks, **{name: partial(measure, call, options.rounds) for name, call in chosen_calls().items()}, **updates}


# The table and the roof -----------------------------------------------------------------------------------------------

def rate(part, what):
    """Giga of `what` ("operations", "bytes") a second."""
    return 1e-9 * part[what] / statistics.median(part["seconds"])


def points(rows):
    """(name, operations per byte, GFLOP/s, GB/s, share of what the roof allows there)"""
    top, slope = rate(rows["peak operations"], "operations"), rate(rows["peak bytes"], "bytes")
    for name, row in rows.items():
        for part, measured in row.items() if not name.startswith("peak") else ():
            intensity = measured["operations"] / measured["bytes"]
            speed = rate(measured, "operations")
            yield f"{name}: {part}", intensity, speed, rate(measured, "bytes"), speed / min(top, slope * intensity)


def markdown(rows):
    if not {"peak operations", "peak bytes"} <= set(rows):
        return "the peaks are missing: call again without --only"
    peaks = (f"Peaks: {rate(rows['peak operations'], 'operations'):.0f} GFLOP/s in register tiles, "
             f"{rate(rows['peak bytes'], 'bytes'):.1f} GB/s in the triad.")
    lines = [[name, f"{intensity:.2g}", f"{speed:.3g}", f"{moved:.3g}", f"{100 * share:.0f} %"]
             for name, intensity, speed, moved, share in sorted(points(rows), key=lambda point: -point[1])]
    return peaks + "\n\n" + harness.table(["kernel", "operations per byte", "GFLOP/s", "GB/s", "of the roof"], lines)


def figure(rows):
    from tinyseg.plots import new_figure

    figure = new_figure(9, 5.5)
    ax = figure.subplots()
    if not {"peak operations", "peak bytes"} <= set(rows):
        return figure
    top, slope = rate(rows["peak operations"], "operations"), rate(rows["peak bytes"], "bytes")
    found = list(points(rows))
    x = np.geomspace(min(p[1] for p in found) / 2, max(p[1] for p in found) * 2, 200)
    ax.plot(x, np.minimum(top, slope * x), color="0.2", linewidth=2)
    near = {"textcoords": "offset points"}
    ax.annotate(f"register tile: {top:.0f} GFLOP/s", (x[-1], top), ha="right", va="bottom", xytext=(0, 3), **near)
    ax.annotate(f"triad: {slope:.0f} GB/s", (x[8], slope * x[8]), ha="left", va="top", xytext=(6, -6), **near)
    for name, (marker, colour) in LOOKS.items():
        chosen = [point for point in found if look_of(point[0]) == name]
        ax.plot([p[1] for p in chosen], [p[2] for p in chosen], marker, color=colour, label=name, alpha=0.8)
    for name, (intensity, speed) in {point[0].rsplit(":", 1)[0]: point[1:3] for point in reversed(found)}.items():
        if "→" not in name:
            ax.annotate(name.removesuffix(" convolution"), (intensity, speed), fontsize=7, xytext=(5, -3), **near)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("operations for each byte of arguments and results")
    ax.set_ylabel("GFLOP/s")
    ax.grid(color="0.9")
    ax.legend(fontsize=9)
    return figure


LOOKS = {"convolution, forward": ("o", "#0072B2"), "convolution, gradient of x": ("s", "#56B4E9"),
         "convolution, gradient of w": ("^", "#009E73"), "other, forward": ("D", "#E69F00"),
         "other, backward": ("v", "#D55E00")}


def look_of(name):
    layer, part = name.rsplit(": ", 1)
    if "→" in layer or "convolution" in layer:
        return f"convolution, {part}"
    return f"other, {'forward' if part == 'forward' else 'backward'}"
