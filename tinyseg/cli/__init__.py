"""The command line: `tinyseg COMMAND …`.

`add(commands)` of each module declares its commands and their arguments; a function `run(options)` does the work of one
and returns the exit status.  What it needs is imported there, so that `tinyseg --help` answers at once.

Bad input is the user's, not the program's: errors of value, type and files end as one line on stderr and exit status 2.
"""
from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from .. import __version__
from . import course, evaluate, predict, step, tools, train

EXIT_BAD_INPUT, EXIT_INTERRUPTED, EXIT_PIPE = 2, 130, 141
USER_ERRORS = (ValueError, TypeError, OSError, FloatingPointError, MemoryError)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; see {self.prog} --help")

    def refuse(self, arguments: Sequence[str]) -> NoReturn:
        """Say what is wrong with the arguments that nobody asked for."""
        option = arguments[0].partition("=")[0]
        near = difflib.get_close_matches(option, re.findall(r"--[\w-]+", self.format_help()), n=1)
        self.error(f"unknown argument {option}" + (f", did you mean {near[0]}?" if near else ""))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command (of sys.argv, if none are given) and return the exit status."""
    # Threads that wait for each other sleep instead of spinning: 7 % slower on an idle machine, but 2.5 times faster beside
    # one other busy program.  To be set before the first kernel starts the threads.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    parser = Parser(prog="tinyseg", description="Train, use and check segmentation networks that you can read.",
                    allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"tinyseg {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", dest="command")
    for module in (train, evaluate, predict, tools, step, course):
        module.add(commands)
    try:
        options, unknown = parser.parse_known_args(arguments)
        if unknown:
            commands.choices.get(options.command, parser).refuse(unknown)
        if options.command is None:
            parser.print_help()
            return 0
        status = options.run(options)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt as interrupt:
        return _report(f"interrupted{interrupt}", EXIT_INTERRUPTED)
    except BrokenPipeError:                               # who reads has left, such as head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())                     # Python flushes again at its exit
        return EXIT_PIPE
    except USER_ERRORS as error:
        return _report(_in_words(error), EXIT_BAD_INPUT)


def _report(message: str, status: int) -> int:
    first, _, _ = message.partition("\n\n")               # a shape that does not fit comes with a table of the layers
    print("tinyseg:", " ".join(first.split()), file=sys.stderr)
    return status


def _in_words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return f"not enough memory ({error}); use a smaller --width, --crop or --batch"
    return str(error)
