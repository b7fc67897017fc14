"""`tinyseg handout` and `tinyseg grade`"""
from __future__ import annotations

import argparse

from .common import add_command, announce_compilation

MASTER = "examples/assignment"


def add(commands: argparse._SubParsersAction) -> None:
    parser = add_command(commands, "handout", handout, "make the folders for students and instructor of an assignment")
    parser.add_argument("master", help="folder of the master copy, such as examples/assignment")
    parser.add_argument("--out", required=True, metavar="DIR", help="for student/, instructor/ and autograder.zip")

    parser = add_command(commands, "grade", grade, "grade a submission, or a folder of submissions")
    parser.add_argument("submission", help="folder of a student's files; with --csv, folder of such folders")
    parser.add_argument("--master", default=MASTER, metavar="DIR", help="the master copy (default: %(default)s)")
    parser.add_argument("--out", metavar="FILE", help="Gradescope's results (default: results.json); "
                        "with --csv, a folder for everybody's")
    parser.add_argument("--html", metavar="FILE", help="write a page too")
    parser.add_argument("--task", action="append", default=[], metavar="NAME", help="only this task (may be repeated)")
    parser.add_argument("--pace", type=float, default=1.0, metavar="X", help="factor on all time limits (default: 1)")
    parser.add_argument("--csv", metavar="FILE", help="grade every folder in SUBMISSION, and write a table")
    parser.add_argument("--similarity", metavar="FILE", help="with --csv: a table of which submissions are alike")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="submissions at a time (default: %(default)s)")


def handout(options: argparse.Namespace) -> int:
    from ..course.assignment import Assignment
    from ..course.handout import make

    for path in make(Assignment(options.master), options.out):
        print(path)
    return 0


def grade(options: argparse.Namespace) -> int:
    from ..course.assignment import Assignment
    from ..course.classroom import grade_all
    from ..course.grader import grade
    from ..files import replacing, require_writable

    if not 0.01 <= options.pace <= 100:
        raise ValueError(f"--pace {options.pace:g}: expected 0.01 to 100")
    announce_compilation()
    assignment = Assignment(options.master)
    if options.csv:
        print(grade_all(options.submission, assignment, options.csv, options.out, options.similarity, options.jobs,
                        options.pace))
        return 0
    out = options.out or "results.json"
    for path in filter(None, (out, options.html)):
        require_writable(path)
    results = grade(options.submission, assignment, out, options.task, options.pace)
    if options.html:
        with replacing(options.html) as file:
            file.write(results.page().encode())
    print(results)
    print(f"results: {out}")
    return 0
