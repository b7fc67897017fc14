"""tinyseg's benchmarks, side by side with PyTorch (and JAX, if installed) on this machine.

    python tests/bench/run.py train --out bench                     # all rows, printed and kept in bench/train.*
    python tests/bench/run.py layers --out bench --seconds 80       # stops in time; the same again goes on
    python tests/bench/run.py train --only U-Net memory             # rows whose names hold any of these words

Ratios are PyTorch's time divided by tinyseg's: above 1, tinyseg is faster.  PyTorch is eager, in the better of its two
layouts of memory; --compile adds torch.compile, which needs a C++ compiler.  All run in one process in turns, each called
twice and timed the second time; a ratio is the median over the rounds, with its quartiles.  Nothing else may run meanwhile.

Each row is kept in OUT/COMMAND.jsonl as soon as it is known; a call measures what is missing, and the exit status is 3 if
something still is.  The table goes to OUT/COMMAND.md, the numbers to COMMAND.json, the picture to COMMAND.png.
"""
import argparse
import importlib
import json
import os
import pathlib
import sys
import time

import harness

COMMANDS = {
    "train": "a training step of every system: time and peak memory",
    "inference": "one image of 360 x 480 through every system",
    "layers": "every convolution of these systems: forward and both gradients",
    "scaling": "time and memory against the batch and against pixels",
    "accuracy": "errors of float32 convolutions, by algorithm",
    "curves": "trainings with and without what loses a digit, on several seeds",
    "cold": "compiling, importing, the first convolution: seconds of whole processes",
    "shares": "where the time of a U-Net's step goes",
    "roofline": "what every kernel reaches of this machine's peaks",
}
DISTURBED = 0.1                          # the share of the CPUs from which on a row is named at the end


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="\n".join(f"{name:10} {text}" for name, text in COMMANDS.items()))
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("bench"))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", nargs="+", metavar="WORD", default=[""])
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no row after so long")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--malloc", choices=("default", "raised"), default="default",
                        help="raised: glibc keeps freed memory (both libraries then allocate faster)")
    parser.add_argument("--compile", action="store_true", help="torch.compile as well")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(jobs, rows, args):
    """Run the jobs that are missing; returns the names of those for which there was no time."""
    started, left = time.perf_counter(), []
    for name, job in jobs.items():
        if name in rows or not any(word in name for word in args.only):
            continue
        if time.perf_counter() - started > args.seconds:
            left.append(name)
            continue
        began, before = time.perf_counter(), harness.work_of_others()
        row = job()
        others = (harness.work_of_others() - before) / (time.perf_counter() - began) / os.cpu_count()
        rows.add(name, row, others)
        print(f"{time.perf_counter() - started:6.1f} s  {name}", file=sys.stderr, flush=True)
    return left


def report(module, rows, args):
    """Print the table, and write it, the numbers and the picture."""
    from tinyseg.plots import save

    text = module.markdown(rows)
    where = str(rows.path.with_suffix(""))
    text = f"{harness.machine(args.threads)}; rounds: {args.rounds}\n\n{text}\n"
    disturbed = [name for name, share in rows.others.items() if share > DISTURBED and not name.startswith("memory")]
    if disturbed and args.command not in ("accuracy", "curves"):
        text += f"\nOther processes used more than {DISTURBED:.0%} of the CPUs during: {'; '.join(disturbed)}.\n"
    numbers = json.dumps({"setting": rows.setting, "rows": rows}, indent=1)
    pathlib.Path(where + ".md").write_text(text, encoding="utf-8")
    pathlib.Path(where + ".json").write_text(numbers, encoding="utf-8")
    save(module.figure(rows), where + ".png", dpi=80)
    print(text)


def main():
    args = options()
    if args.malloc == "raised" and harness.malloc() != "raised":
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **harness.RAISED})
    module = importlib.import_module(args.command)
    harness.set_threads(args.threads, torch_too=not args.peak or args.peak[1].startswith("torch"))
    if args.peak:
        name, peer = args.peak
        print(json.dumps(harness.peak_of(module.peers(module.SYSTEMS[name])[peer])))
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    setting = {"code": harness.sources(), "threads": args.threads, "malloc": harness.malloc(), "rounds": args.rounds}
    rows = harness.Rows(args.out / f"{args.command}{'-raised' * (args.malloc == 'raised')}.jsonl", setting)
    left = measure(module.jobs(args), rows, args)
    if rows:
        report(module, rows, args)
    if left:
        print(f"{len(left)} rows are missing, the next is {left[0]!r}: call again", file=sys.stderr)
    return 3 if left else 0


if __name__ == "__main__":
    sys.exit(main())
