"""Every convolution and transposed convolution of the lecture's systems, each once: forward, and the gradients of x and w.

They are taken from the systems' own layers, at the batch that trains them, with MobileNet's for the depthwise ones; those
that no system has are added by hand.
"""
from __future__ import annotations

import importlib.util
import statistics
import time
from functools import partial
from typing import Any, NamedTuple

import harness
import numpy as np
from systems import CLASSES, SYSTEMS, System

import tinyseg as ts
from tinyseg import backends, nn
from tinyseg.models.receptive_field import run_empty
from tinyseg.sizes import pair, same_padding

KINDS = ("3x3", "1x1", "dilated, strided, 7x7", "transposed", "grouped, depthwise")
MOBILENET = System(partial(ts.models.FCN, CLASSES, width=32, encoder="mobilenet_v1"), batch=4)


class Layer(NamedTuple):
    """What a convolution computes, whoever computes it.

    x (N, C, H, W); weight as the library's; image: is x an image, whose gradient nobody wants?
    """

    x: tuple[int, ...]
    weight: tuple[int, ...]
    stride: tuple[int, ...] = (1, 1)
    padding: tuple[int, ...] = (1, 1)
    dilation: tuple[int, ...] = (1, 1)
    groups: int = 1
    transposed: bool = False
    image: bool = False

    def __str__(self) -> str:
        n, c, h, w = self.x
        outputs = self.weight[1] * self.groups if self.transposed else self.weight[0]
        parts = ["transposed " * self.transposed + "x".join(map(str, self.weight[2:])), f"{c}→{outputs}", f"{n}·{h}x{w}"]
        parts += [f"{name} {value[0]}" for name, value in (("stride", self.stride), ("rate", self.dilation)) if value != (1, 1)]
        parts += [f"groups {self.groups}"] * (self.groups > 1) + ["of the image"] * self.image
        return ", ".join(parts)

    @property
    def kind(self) -> str:
        if self.groups > 1:
            return KINDS[4]
        if self.transposed:
            return KINDS[3]
        plain = self.stride == self.dilation == (1, 1)
        return {(3, 3): KINDS[0], (1, 1): KINDS[1]}.get(self.weight[2:], KINDS[2]) if plain else KINDS[2]

    @property
    def settings(self) -> dict[str, Any]:
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}

    @property
    def multiply_adds(self) -> int:
        """Of the forward pass; of each gradient too."""
        n, c, h, w = self.x
        if self.transposed:
            return n * c * h * w * int(np.prod(self.weight[1:]))
        ho, wo = ((size + 2 * p - d * (k - 1) - 1) // s + 1 for size, p, d, k, s
                  in zip((h, w), self.padding, self.dilation, self.weight[2:], self.stride))
        return n * ho * wo * int(np.prod(self.weight))


BY_HAND = [
    Layer((4, 64, 32, 32), (64, 16, 3, 3), groups=4),
    Layer((4, 128, 32, 32), (128, 4, 3, 3), groups=32),
    Layer((4, 32, 64, 64), (32, 8, 5, 5), padding=(2, 2), groups=4),
    Layer((4, 32, 64, 64), (64, 32, 3, 3), stride=(2, 2)),
    Layer((4, 32, 64, 64), (32, 32, 3, 3), padding=(4, 4), dilation=(4, 4)),
    Layer((4, 32, 64, 64), (32, 1, 3, 3), padding=(2, 2), dilation=(2, 2), groups=32),
    Layer((4, 32, 32, 32), (32, 32, 4, 4), stride=(2, 2), transposed=True),
]


def layers_of(system: System) -> list[Layer]:
    """In the order of the calls."""
    image, _, calls = run_empty(system.build(), (1, 3, system.size, system.size))
    found = []
    for call in calls:
        layer, size = call.layer, call.images[0].shape[2:]
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)) and min(size) > 1:
            padding = layer.padding
            if padding == "same":
                padding = tuple(same_padding(k, d)[0] for k, d in zip(layer.kernel_size, layer.dilation))
            padding = pair("padding", padding, minimum=0)
            channels = sum(x.shape[1] for x in call.images)
            found.append(Layer((system.batch, channels, *size), layer.weight.shape, layer.stride, padding, layer.dilation,
                               layer.groups, isinstance(layer, nn.ConvTranspose2d), call.images[0] is image))
    return found


def all_layers() -> dict[str, Layer]:
    """Each once, with the first system that has it."""
    found: dict[Layer, str] = {}
    for name, system in {**SYSTEMS, "MobileNet 32": MOBILENET}.items():
        for layer in layers_of(system):
            found.setdefault(layer, name)
    for layer in BY_HAND:
        found.setdefault(layer, "by hand")
    return {f"{name}: {layer}": layer for layer, name in found.items()}


# Both libraries -------------------------------------------------------------------------------------------------------

def data_of(layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal(shape).astype(np.float32) for shape in (layer.x, layer.weight))


class Parts:
    """A call that notes the seconds of its forward pass; `in_turns` measures the whole."""

    def __init__(self, forward, backward):
        self.forward, self.backward, self.seconds = forward, backward, []

    def __call__(self):
        started = time.perf_counter()
        y = self.forward()
        self.seconds.append(time.perf_counter() - started)
        self.backward(y)


def tinyseg_call(layer: Layer) -> Parts:
    x, w = (nn.Parameter(array) for array in data_of(layer))      # as in a network: nobody else holds them, so no checksums
    x.requires_grad = not layer.image
    function = ts.functional.conv_transpose2d if layer.transposed else ts.functional.conv2d
    dy = np.random.default_rng(1).standard_normal(function(x, w, **layer.settings).shape).astype(np.float32)

    def backward(y: ts.Tensor) -> None:
        x.grad = w.grad = None
        y.backward(dy)
    return Parts(lambda: function(x, w, **layer.settings), backward)


def torch_call(layer: Layer, channels_last: bool) -> Parts:
    import torch

    layout = torch.channels_last if channels_last else torch.contiguous_format
    x, w = (torch.from_numpy(array).to(memory_format=layout) for array in data_of(layer))
    x.requires_grad_(not layer.image), w.requires_grad_()
    function = torch.nn.functional.conv_transpose2d if layer.transposed else torch.nn.functional.conv2d
    y = function(x, w, **layer.settings)
    dy = torch.randn_like(y)

    def backward(y: Any) -> None:
        x.grad = w.grad = None
        y.backward(dy)
    return Parts(lambda: function(x, w, **layer.settings), backward)


def algorithm_of(layer: Layer) -> str:
    """The one that the library chooses for the forward pass."""
    (x, w), chosen = data_of(layer), []
    before = backends.Choice.algorithm

    def note(choice: Any, work: Any) -> Any:
        chosen.append(before(choice, work))
        return chosen[-1]

    backends.Choice.algorithm = note                                    # type: ignore[method-assign]
    try:
        function = ts.functional.conv_transpose2d if layer.transposed else ts.functional.conv2d
        function(ts.Tensor(x), ts.Tensor(w), **layer.settings)
    finally:
        backends.Choice.algorithm = before                              # type: ignore[method-assign]
    return chosen[0].name


def jobs(options):
    return {name: partial(measure, layer, options.rounds) for name, layer in all_layers().items()}


def measure(layer: Layer, rounds: int) -> harness.Row:
    calls = {"tinyseg": tinyseg_call(layer)}
    if importlib.util.find_spec("torch"):
        calls |= {"torch": torch_call(layer, False), "torch channels_last": torch_call(layer, True)}
    if importlib.util.find_spec("jax"):
        import jax_models
        calls |= {"jax": jax_models.convolution(layer)}
    seconds = harness.in_turns(calls, rounds)
    forward = {name: call.seconds[2::2] for name, call in calls.items() if isinstance(call, Parts)}
    return {"seconds": seconds, "forward": forward, "algorithm": algorithm_of(layer), "kind": layer.kind,
            "gflop": 2e-9 * layer.multiply_adds * (3 - layer.image)}


# The table ------------------------------------------------------------------------------------------------------------

def ratios(rows):
    return {name: harness.ratio(row["seconds"][harness.best(row["seconds"])], row["seconds"]["tinyseg"])
            for name, row in rows.items() if "torch" in row["seconds"]}


def summary(rows):
    """Geometric mean and minimum, one for all layers and one for each system."""
    medians = {name: value.median for name, value in ratios(rows).items()}
    parts = {"all": list(medians.values())}
    for name, value in medians.items():
        parts.setdefault(name.split(":")[0], []).append(value)
    return [[name, len(values), f"{statistics.geometric_mean(values):.2f}", f"{min(values):.2f}", sum(v >= 1 for v in values)]
            for name, values in parts.items()]


def markdown(rows):
    lines, all_ratios = [], ratios(rows)
    for name, row in sorted(rows.items(), key=lambda item: all_ratios[item[0]].median if item[0] in all_ratios else 0):
        seconds, forward = row["seconds"], row["forward"]
        line = [name, row["algorithm"], harness.milliseconds(seconds["tinyseg"])]
        if "torch" in seconds:
            peer = harness.best(seconds)
            backward = {which: np.subtract(seconds[which], forward[which]) for which in ("tinyseg", peer)}
            line += [harness.milliseconds(seconds[peer]), peer.removeprefix("torch") or "contiguous", all_ratios[name],
                     f"{harness.ratio(forward[peer], forward['tinyseg']).median:.2f}",
                     f"{harness.ratio(backward[peer], backward['tinyseg']).median:.2f}"]
        if "jax" in seconds:
            line.append(f"{harness.ratio(seconds['jax'], seconds['tinyseg']).median:.2f}")
        lines.append(line)
    header = ["layer", "algorithm", "tinyseg ms", "PyTorch ms", "layout", "ratio (quartiles)", "forward", "gradients", "JAX"]
    table = harness.table(header[:len(lines[0])], lines)
    if not all_ratios:
        return table
    return harness.table(["layers of", "number", "geometric mean", "minimum", "at 1 or above"], summary(rows)) + "\n\n" + table


def figure(rows):
    """All ratios in order, coloured by the kind of layer."""
    from tinyseg.plots import new_figure

    found = sorted((value.median, value.low, value.high, rows[name]["kind"]) for name, value in ratios(rows).items())
    figure = new_figure(9, 4)
    ax = figure.subplots()
    for colour, kind in zip(("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"), KINDS):
        places = [i for i, (*_, which) in enumerate(found) if which == kind]
        middle = [found[i][0] for i in places]
        spread = [[found[i][0] - found[i][1] for i in places], [found[i][2] - found[i][0] for i in places]]
        if places:
            ax.errorbar(places, middle, spread, fmt="o", color=colour, markersize=4, elinewidth=1,
                        label=f"{kind} ({len(places)})")
    ax.axhline(1, color="0.2", linewidth=1)
    ax.set_yscale("log")
    ticks = [0.5, 0.7, 1, 1.5, 2, 3, 5, 10]
    ax.set_yticks(ticks, ticks)
    ax.minorticks_off()
    ax.set_xticks([])
    ax.set_xlabel("layers, in the order of their ratio")
    ax.set_title("forward and both gradients: PyTorch's time / tinyseg's")
    ax.grid(axis="y", color="0.9")
    ax.legend()
    return figure
