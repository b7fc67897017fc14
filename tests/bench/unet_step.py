"""A U-Net training step, tinyseg beside PyTorch (eager, CPU): time in one process, in turns; peak memory in one process each.

    python tests/bench/unet_step.py [--width 16 --depth 4 --batch 8 --size 128 --rounds 15]
"""
import argparse
import pathlib
import statistics
import subprocess
import sys
import time

import numpy as np

CLASSES = 12


def batch(args):
    rng = np.random.default_rng(0)
    return (rng.standard_normal((args.batch, 3, args.size, args.size)).astype(np.float32),
            rng.integers(0, CLASSES, (args.batch, args.size, args.size)))


def tinyseg_step(args):
    import tinyseg as ts
    model = ts.models.UNet(CLASSES, width=args.width, depth=args.depth)
    optimizer = ts.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images, masks = batch(args)

    def step():
        optimizer.zero_grad()
        ts.functional.cross_entropy(model(ts.Tensor(images)), ts.Tensor(masks)).backward()
        optimizer.step()
    return step


def torch_step(args):
    import torch
    from torch_unet import UNet
    torch.set_num_threads(args.threads)
    model = UNet(CLASSES, width=args.width, depth=args.depth)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images, masks = map(torch.from_numpy, batch(args))

    def step():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), masks).backward()
        optimizer.step()
    return step


STEPS = {"tinyseg": tinyseg_step, "torch": torch_step}


def in_turns(steps, rounds):
    """Seconds of each call: {name: [rounds]}, every round calling each twice and timing the second call."""
    seconds = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            step()
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def status(field):
    """MiB, from Linux's account of this process."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def peak_memory(name):
    """MiB resident at the most in three steps, of a process of its own: interpreter, library, model and step (Linux)."""
    done = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--only", name], capture_output=True, text=True, check=True)
    return float(done.stdout)


def add_size_options(parser, rounds):
    for option, default in [("width", 16), ("depth", 4), ("batch", 8), ("size", 128), ("rounds", rounds), ("threads", 2)]:
        parser.add_argument(f"--{option}", type=int, default=default)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_size_options(parser, rounds=15)
    parser.add_argument("--only", choices=STEPS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        step = STEPS[args.only](args)
        step()                                                         # compiled, and allocated what stays
        pathlib.Path("/proc/self/clear_refs").write_text("5")          # forget the peak so far
        for _ in range(3):
            step()
        print(status("VmHWM"))
        return
    seconds = in_turns({name: make(args) for name, make in STEPS.items()}, args.rounds)
    ratios = sorted(t / o for t, o in zip(seconds["torch"], seconds["tinyseg"]))
    for name, times in seconds.items():
        print(f"{name:8} {1e3 * statistics.median(times):7.0f} ms a step   peak memory {peak_memory(name):6.0f} MiB")
    print(f"ratio torch / tinyseg: {statistics.median(ratios):.2f} (from {ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
