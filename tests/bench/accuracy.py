"""Errors of float32 convolutions: max |error| / max |value| against the readable kernels in float64, for every algorithm.

Inputs are as behind a ReLU, weights as He et al. draw them, upstream gradients normal.
"""
from __future__ import annotations

import importlib.util
from functools import partial

import harness
import numpy as np
from layers import Layer

import tinyseg as ts
from tinyseg import backends

SHAPES = {**{f"3x3, {c}→{c}, 4·{n}x{n}": Layer((4, c, n, n), (c, c, 3, 3))
             for c, n in ((3, 128), (16, 128), (32, 64), (64, 32), (128, 16), (256, 16), (512, 16))},
          "1x1, 256→256, 4·16x16": Layer((4, 256, 16, 16), (256, 256, 1, 1), padding=(0, 0)),
          "7x7, 128→256, 4·8x8": Layer((4, 128, 8, 8), (256, 128, 7, 7), padding=(3, 3)),
          "3x3, 64→64, 4·32x32, rate 2": Layer((4, 64, 32, 32), (64, 64, 3, 3), padding=(2, 2), dilation=(2, 2))}
RESULTS = ("forward", "gradient of x", "gradient of w")


def settings():
    """"fast", which is what runs unless told otherwise, and every other setting that `backends` knows."""
    known = []
    for name in dict.fromkeys(("fast", "accurate", "im2col", *(algorithm.name for algorithm in backends.conv2d.table))):
        try:
            with backends.conv2d(name):
                known.append(name)
        except ValueError:
            continue
    return known


def jobs(options):
    return {name: partial(measure, layer) for name, layer in SHAPES.items()}


def data(layer):
    rng = np.random.default_rng(0)
    x = np.maximum(rng.standard_normal(layer.x), 0)
    w = rng.standard_normal(layer.weight) * np.sqrt(2 / np.prod(layer.weight[1:]))
    return x, w, rng.standard_normal((layer.x[0], layer.weight[0], *layer.x[2:]))


def ours(layer, arrays, dtype):
    x, w, dy = (array.astype(dtype) for array in arrays)
    x, w = ts.Tensor(x, requires_grad=True), ts.Tensor(w, requires_grad=True)
    y = ts.functional.conv2d(x, w, **layer.settings)
    y.backward(dy)
    return y.numpy(), x.grad, w.grad


def theirs(layer, arrays):
    import torch

    x, w, dy = (torch.from_numpy(array.astype(np.float32)) for array in arrays)
    y = torch.nn.functional.conv2d(x.requires_grad_(), w.requires_grad_(), **layer.settings)
    y.backward(dy)
    return y.detach().numpy(), x.grad.numpy(), w.grad.numpy()


def measure(layer):
    """{who: [error of each of RESULTS]}, on numbers that float32 holds exactly.

    Of settings that give the same bits only the first is there.
    """
    arrays = tuple(array.astype(np.float32) for array in data(layer))
    with backends.conv2d("im2col"):
        exact = ours(layer, arrays, np.float64)
    found = {}
    for setting in settings():
        with backends.conv2d(setting):
            results = ours(layer, arrays, np.float32)
        if not any(all(map(np.array_equal, results, others)) for others in found.values()):
            found[setting] = results
    if importlib.util.find_spec("torch"):
        found["torch"] = theirs(layer, arrays)
    return {who: [float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(results, exact)]
            for who, results in found.items()}


def who_of(rows):
    """The settings, and PyTorch last."""
    return sorted(dict.fromkeys(name for row in rows.values() for name in row), key=lambda name: name == "torch")


def markdown(rows):
    who, tables = who_of(rows), []
    for i, result in enumerate(RESULTS):
        lines = [[name, *(f"{row[w][i]:.1e}" if w in row else "" for w in who)] for name, row in rows.items()]
        tables.append(harness.table([result, *who], lines))
    return "\n\n".join(tables)


def figure(rows):
    from tinyseg.plots import new_figure

    figure = new_figure(13, 4.5)
    for i, (ax, result) in enumerate(zip(figure.subplots(1, 3, sharey=True, sharex=True), RESULTS)):
        for who, marker in zip(who_of(rows), "os^vDPX<>"):
            ax.plot([row[who][i] if who in row else np.nan for row in rows.values()], range(len(rows), 0, -1), marker,
                    label=who, alpha=0.7)
        ax.set_yticks(range(len(rows), 0, -1), rows)
        ax.set_xscale("log")
        ax.set_title(f"{result}: max |error| / max |value|")
        ax.grid(color="0.9")
    ax.legend()
    return figure
