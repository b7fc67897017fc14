"""Everything in a training step but the convolutions, tinyseg beside PyTorch (eager, CPU), in one process, in turns.

    python tests/bench/ops_beside_torch.py [--rounds 15] [--only NAME …]

Each function runs twice a turn, and the second call counts.
"""
import argparse
import statistics
import time

import numpy as np
import torch
import torch.nn.functional as TF

import tinyseg as ts
from tinyseg import functional as F

LARGE, MIDDLE = (8, 16, 128, 128), (4, 64, 64, 64)
PARAMETERS = [(32, 16, 3, 3)] * 20 + [(256, 256, 3, 3)] * 3 + [(64,)] * 30             # 1.95 M in all


def norm_relu(torch_like, x, w, b):
    if torch_like:
        return TF.relu(TF.batch_norm(x, None, None, w, b, training=True))
    return F.batch_norm(x, None, None, w, b, training=True, activation="relu")


def cases():
    """{name: (function(torch_like, *tensors), arrays)}"""
    def pick(torch_function, own):
        return lambda torch_like, *args: (torch_function if torch_like else own)(*args)

    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    labels = rng.integers(0, 12, (8, 128, 128))
    given = torch.from_numpy(labels)
    for shape in (LARGE, MIDDLE):
        size = "x".join(map(str, shape))
        half = (*shape[:2], shape[2] // 2, shape[3] // 2)
        yield f"batch norm + ReLU {size}", norm_relu, [normal(*shape), normal(shape[1]), normal(shape[1])]
        yield f"ReLU {size}", pick(TF.relu, F.relu), [normal(*shape)]
        yield f"max pool 2x2 {size}", pick(lambda x: TF.max_pool2d(x, 2), lambda x: F.max_pool2d(x, 2)), [normal(*shape)]
        yield f"max pool 3x3/2 {size}", pick(lambda x: TF.max_pool2d(x, 3, 2, 1), lambda x: F.max_pool2d(x, 3, 2, 1)), [
            normal(*shape)]
        yield f"concat 2 x {size}", pick(lambda a, b: torch.cat([a, b], 1), lambda a, b: F.cat([a, b], 1)), [
            normal(*shape), normal(*shape)]
        yield f"add {size}", pick(lambda a, b: a + b, lambda a, b: a + b), [normal(*shape), normal(*shape)]
        for mode in ("bilinear", "nearest"):
            yield f"{mode} to {size}", pick(lambda x, m=mode: TF.interpolate(x, scale_factor=2, mode=m),
                                            lambda x, m=mode: F.interpolate(x, scale_factor=2, mode=m)), [
                normal(*half)]
        yield f"group norm {size}", pick(lambda *args: TF.group_norm(args[0], 4, *args[1:]),
                                         lambda *args: F.group_norm(args[0], 4, *args[1:])), [
            normal(*shape), normal(shape[1]), normal(shape[1])]
    yield "cross-entropy 8x12x128x128", pick(lambda x: TF.cross_entropy(x, given), lambda x: F.cross_entropy(x, labels)), [
        normal(8, 12, 128, 128)]


def passes(torch_like, function, arrays):
    """Seconds (forward, backward) of one call."""
    if torch_like:
        leaves = [torch.from_numpy(array).requires_grad_() for array in arrays]
    else:
        leaves = [ts.Tensor(array, requires_grad=True) for array in arrays]
        for leaf in leaves:
            leaf._memory.handed_out = False               # as the output of a layer before it: no checksums
    start = time.perf_counter()
    out = function(torch_like, *leaves)
    middle = time.perf_counter()
    upstream = np.ones(tuple(out.shape), np.float32)
    upstream = torch.from_numpy(upstream) if torch_like else upstream
    begin = time.perf_counter()
    out.backward(upstream)
    return middle - start, time.perf_counter() - begin


def optimizer_step(torch_like, name, settings):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in PARAMETERS]
    if torch_like:
        parameters = [torch.nn.Parameter(torch.from_numpy(array)) for array in arrays]
        for parameter in parameters:
            parameter.grad = torch.ones_like(parameter)
        return getattr(torch.optim, name)(parameters, **settings).step
    parameters = [ts.nn.Parameter(array) for array in arrays]
    for parameter in parameters:
        parameter.grad = np.ones(parameter.shape, np.float32)
    return getattr(ts.optim, name)(parameters, **settings).step


def show(name, theirs, ours):
    theirs, ours = (1e3 * statistics.median(seconds) for seconds in (theirs, ours))
    print(f"{name:40}  {theirs:8.2f}  {ours:8.2f}  {theirs / ours:6.2f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", nargs="+", default=[""], metavar="NAME", help="what begins like this")
    args = parser.parse_args()
    torch.set_num_threads(2)
    print(f"{'':40}  torch ms   ours ms   ratio")
    for name, function, arrays in cases():
        if not name.startswith(tuple(args.only)):
            continue
        seconds = {True: [], False: []}
        for _ in range(args.rounds):
            for torch_like, times in seconds.items():
                passes(torch_like, function, arrays)
                times.append(passes(torch_like, function, arrays))
        for i, which in enumerate(("forward", "backward")):
            show(f"{name}, {which}", [t[i] for t in seconds[True]], [t[i] for t in seconds[False]])
    for name, settings in [("SGD", {"lr": 0.01, "momentum": 0.9}), ("Adam", {"lr": 1e-3}), ("AdamW", {"lr": 1e-3})]:
        if name.startswith(tuple(args.only)):
            steps = {torch_like: optimizer_step(torch_like, name, settings) for torch_like in (True, False)}
            seconds = {True: [], False: []}
            for _ in range(args.rounds):
                for torch_like, step in steps.items():
                    step()
                    start = time.perf_counter()
                    step()
                    seconds[torch_like].append(time.perf_counter() - start)
            show(f"{name} of 1.95 M parameters", seconds[True], seconds[False])


if __name__ == "__main__":
    main()
