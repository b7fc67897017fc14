"""Where the time of a U-Net training step goes: op by op, kernels beside the Python around them; and what it allocates.

    python tests/bench/profile_step.py [--width 16 --depth 4 --batch 8 --size 128 --rounds 7]

Page faults are the pages of 4 KiB that the system had to give (and to clear) during the step.
"""
import argparse
import functools
import importlib
import pkgutil
import resource
import statistics
import time
from collections import defaultdict

from numba.core.dispatcher import Dispatcher
from unet_step import add_size_options, status, tinyseg_step

import tinyseg.kernels
from tinyseg.cli.common import keep_freed_memory
from tinyseg.op import REGISTRY

spent: dict[str, float] = defaultdict(float)
PASSES = ("forward", "backward")


def timed(function, label):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        start = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            spent[label] += time.perf_counter() - start
    return wrapper


def watch_everything():
    """Put a clock around every op's passes, and around every kernel that Python calls."""
    for op in REGISTRY.values():
        for part in PASSES:
            setattr(op, part, staticmethod(timed(getattr(op, part), f"{op.name} {part}")))
    for info in pkgutil.iter_modules(tinyseg.kernels.__path__):
        module = importlib.import_module(f"tinyseg.kernels.{info.name}")
        for name, kernel in list(vars(module).items()):
            if isinstance(kernel, Dispatcher) and kernel.targetoptions.get("parallel"):
                setattr(module, name, timed(kernel, "kernels"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_size_options(parser, rounds=7)
    parser.add_argument("--system-malloc", action="store_true", help="leave the allocator as it is, as the library does")
    args = parser.parse_args()
    if not args.system_malloc:
        keep_freed_memory()
    step = tinyseg_step(args)
    step()                                               # compiled, and allocated what stays
    faults, plain = [], []
    for _ in range(args.rounds):
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
        step()
        plain.append(time.perf_counter() - start)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    watch_everything()
    rows = defaultdict(list)
    for _ in range(args.rounds):
        spent.clear()
        start = time.perf_counter()
        step()
        spent["step"] = time.perf_counter() - start
        for label, seconds in spent.items():
            rows[label].append(seconds)
    ms = {label: 1e3 * statistics.median(seconds) for label, seconds in rows.items()}
    in_ops = 0.0
    print(f"{'op':22}  forward  backward  (ms)")
    for op in sorted(REGISTRY, key=lambda op: -sum(ms.get(f"{op} {part}", 0) for part in PASSES)):
        parts = [ms.get(f"{op} {part}", 0) for part in PASSES]
        in_ops += sum(parts)
        if any(parts):
            print(f"{op:22}  {parts[0]:7.1f}  {parts[1]:8.1f}")
    print(f"step {ms['step']:.1f} ms under the clock, {1e3 * statistics.median(plain):.1f} ms without; ops {in_ops:.1f}; "
          f"kernels, the optimizer's too, {ms['kernels']:.1f}; all else {100 - 100 * ms['kernels'] / ms['step']:.1f} %")
    print(f"page faults of a step: {statistics.median(faults):.0f}; peak memory {status('VmHWM'):.0f} MiB")


if __name__ == "__main__":
    main()
