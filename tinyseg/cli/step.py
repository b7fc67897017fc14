"""`tinyseg step`"""
from __future__ import annotations

import argparse
import inspect
import os
import re
import shutil
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
from numba.core import event

from .common import CompilationAnnouncer, add_command

HELP = "step through an operation, number by number: in the terminal, as a page, as pictures"
SUFFIXES = {".npy", ".csv", ".txt"}


def add(commands: argparse._SubParsersAction) -> None:
    parser = add_command(commands, "step", run, HELP)
    parser.formatter_class = WithSteppers
    parser.epilog = ("The line of code below a frame is from the operation's definition. In it, sh and sw are the stride "
                     "down and across, kh and kw the kernel's size, dh and dw the dilation, dilated(k, d) the pixels that the "
                     "kernel spans; xg, wg and yg are image, kernel and output; n counts images, c and o channels in and out, "
                     "u and v the kernel's rows and columns.")
    parser.add_argument("stepper", nargs="?", metavar="STEPPER",
                        help="which one, of the list below (default: the list, with what each takes)")
    for name, (read, metavar, help) in ARGUMENTS.items():
        parser.add_argument(option(name), type=read, metavar=metavar, help=help)
    parser.add_argument("--frames", type=_frame_numbers, metavar="LIST", help="only these frames, such as 1,4,9-12")
    parser.add_argument("--html", metavar="FILE", help="write a page with slider and play, that works offline")
    parser.add_argument("--gif", metavar="FILE", help="write an animated GIF")
    parser.add_argument("--png", metavar="FILE", help="write all frames as one picture; one alone large, for a slide")
    parser.add_argument("--seconds", type=float, default=1.5, help="a frame of the GIF stays (default: %(default)s)")


class WithSteppers(argparse.HelpFormatter):
    """Help that ends with the steppers; they are imported only when it is printed."""

    def format_help(self) -> str:
        from ..steps import STEPPERS

        lines = [f"  {name:21}  {_summary(stepper).partition(':')[0]}" for name, stepper in STEPPERS.items()]
        return "\n".join([super().format_help(), "steppers:", *lines, ""])


def run(options: argparse.Namespace) -> int:
    from ..files import require_writable
    from ..steps import STEPPERS, terminal

    if options.stepper is None:
        print(_list(STEPPERS))
        return 0
    if options.stepper not in STEPPERS:
        raise ValueError(f"step {options.stepper}: no such stepper; there are {', '.join(STEPPERS)}")
    if not 0.02 <= options.seconds <= 600:
        raise ValueError(f"--seconds {options.seconds:g}: expected 0.02 to 600")
    files = {kind: getattr(options, kind) for kind in ("html", "gif", "png") if getattr(options, kind)}
    for path in files.values():
        require_writable(path)
    stepper, given = STEPPERS[options.stepper], {name: getattr(options, name) for name in ARGUMENTS}
    given = {name: value for name, value in given.items() if value is not None}
    takes = inspect.signature(stepper).parameters
    for name in given:
        if name not in takes:
            raise ValueError(f"step {options.stepper}: takes no {option(name)}; it takes "
                             f"{', '.join(map(option, takes))}")
    with event.install_listener("numba:compile", CompilationAnnouncer()):
        steps = stepper(**given)
    if options.frames:
        steps = steps.choose(options.frames)
    for kind, path in files.items():
        if kind == "gif":
            steps.save_gif(path, options.seconds)
        else:
            getattr(steps, f"save_{kind}")(path)
        print(f"{len(steps)} frames in {path}")
    if not files:
        if terminal.can_show():
            terminal.show(steps)
        else:
            print(steps.text())
    return 0


def option(name: str) -> str:
    """kernel_size -> --kernel-size"""
    return "--" + name.replace("_", "-")


def _list(steppers: dict[str, Callable[..., Any]]) -> str:
    """Each stepper with the first sentence of its documentation and the options that it takes."""
    lines, columns = ["tinyseg step STEPPER …"], shutil.get_terminal_size().columns
    for name, stepper in steppers.items():
        options = " ".join(map(option, inspect.signature(stepper).parameters))
        lines += ["", name, *textwrap.wrap(_summary(stepper), columns - 4, initial_indent="    ", subsequent_indent="    "),
                  f"    {options}"]
    return "\n".join(lines)


def _summary(stepper: Callable[..., Any]) -> str:
    """The first line of its documentation."""
    return (inspect.getdoc(stepper) or "").partition("\n")[0]


def _numbers(text: str) -> np.ndarray:
    """Rows of numbers: "0 1; 2 3", or the name of a file that holds them."""
    if os.path.splitext(text)[1].lower() in SUFFIXES or os.path.isfile(text):
        return _read(text)
    rows = [re.split(r"[\s,]+", row.strip(" ,")) for row in text.strip("; \n").split(";")]
    try:
        values = [[float(part) for part in row] for row in rows]
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} is neither numbers, such as "0 1; 2 3", nor a file of '
                                         f"them") from None
    if len({len(row) for row in values}) > 1:
        raise argparse.ArgumentTypeError(f"{text!r} has rows of {', '.join(str(len(row)) for row in values)} numbers; "
                                         f"expected as many in each")
    return np.array(values)


def _read(path: str) -> np.ndarray:
    try:
        if path.lower().endswith(".npy"):
            return np.load(path, allow_pickle=False)
        with open(path, encoding="utf-8") as file:
            lines = [re.sub(r"[,;\t]", " ", line) for line in file if line.strip()]
        if not lines:
            raise argparse.ArgumentTypeError(f"{path}: holds no numbers")
        return np.loadtxt(lines, ndmin=2)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path}: {error.strerror or error}") from None
    except (ValueError, EOFError) as error:
        raise argparse.ArgumentTypeError(f"{path}: not rows of numbers ({error})") from None


def _pair(text: str) -> Any:
    """2, or 2,1: for both axes, or for height and width."""
    try:
        values = [int(part) for part in re.split(r"[\s,x]+", text.strip())]
    except ValueError:
        values = []
    if len(values) not in (1, 2):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor two, for height and width, such as 2,1")
    return values[0] if len(values) == 1 else (values[0], values[1])


def _yes_or_no(text: str) -> bool:
    if text not in ("yes", "no"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither yes nor no")
    return text == "yes"


def _frame_numbers(text: str) -> list[int]:
    """1,4,9-12, counted from 1."""
    numbers: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if not match or int(match[1]) < 1 or int(match[2] or match[1]) < int(match[1]):
            raise argparse.ArgumentTypeError(f"{text!r} is no list of frames such as 1,4,9-12")
        numbers.extend(range(int(match[1]), int(match[2] or match[1]) + 1))
    return numbers


NUMBERS, PAIR = '"0 1; 2 3"|FILE', "N|H,W"
ARGUMENTS: dict[str, tuple[Callable[[str], Any], str, str]] = {
    "input": (_numbers, NUMBERS, "the image: numbers, or a file .txt, .csv or .npy"),
    "kernel": (_numbers, NUMBERS, "the kernel"),
    "stride": (_pair, PAIR, "of the window, or of the upsampling"),
    "padding": (_pair, PAIR, "zeros on every side; conv-transpose: rows and columns cut off on every side"),
    "dilation": (_pair, PAIR, "distance between the kernel's taps"),
    "output_padding": (_pair, PAIR, "more rows and columns at the bottom and the right of a transposed convolution"),
    "kernel_size": (_pair, PAIR, "of the pooling window"),
    "size": (_pair, PAIR, "of the output of an interpolation"),
    "align_corners": (_yes_or_no, "yes|no", "do the corner pixels' centres stay in place?"),
    "logits": (_numbers, '"N N …"|FILE', "a pixel's scores, one for each class"),
    "label": (int, "K", "the pixel's class; 255 is void"),
    "probabilities": (_numbers, NUMBERS, "of class 1, a number for each pixel"),
    "w1": (float, "W", "weight of the CRF's appearance kernel"),
    "theta_alpha": (float, "PIXELS", "its reach in pixels"),
    "theta_beta": (float, "LEVELS", "its reach in grey levels"),
    "w2": (float, "W", "weight of the CRF's smoothness kernel"),
    "theta_gamma": (float, "PIXELS", "its reach in pixels"),
    "prediction": (_numbers, NUMBERS, "the predicted class of each pixel"),
    "target": (_numbers, NUMBERS, "the true class of each pixel; 255 is void"),
}
