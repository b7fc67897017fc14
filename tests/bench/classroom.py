"""A class of submissions, graded in parallel: time, processor time, and the memory of the largest process.

    python tests/bench/classroom.py [--submissions 60 --jobs 2 --pace 1]

The submissions are those of tests/course/wrong.py, one classic mistake each, and the solution itself for the rest.
Kernels are compiled before the clock starts, as `setup.sh` does on Gradescope.
"""
import argparse
import csv
import pathlib
import resource
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from course.wrong import WRONG  # noqa: E402

from tinyseg.course.assignment import Assignment  # noqa: E402
from tinyseg.course.classroom import grade_all  # noqa: E402
from tinyseg.course.sandbox import compile_kernels  # noqa: E402

MASTER = pathlib.Path(__file__).parents[2] / "examples" / "assignment"


def make_class(folder, assignment, count):
    """Folders of submissions; returns {name of one that has a mistake: its task}."""
    mistakes = {}
    for i in range(count):
        name = f"student_{i:02}"
        (folder / name).mkdir(parents=True)
        for task in assignment.tasks.values():
            text = (assignment.folder / task.file).read_text(encoding="utf-8")
            if i < len(WRONG) and task.name == WRONG[i].task:
                mistakes[name], text = {task.name}, text.replace(WRONG[i].line, WRONG[i].instead)
            (folder / name / task.file).write_text(text, encoding="utf-8")
    return mistakes


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--submissions", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--pace", type=float, default=1.0, help="factor on the grader's time limits, if others compute too")
    args = parser.parse_args()
    assignment = Assignment(MASTER)
    compile_kernels()
    with tempfile.TemporaryDirectory() as scratch:
        folder, table = pathlib.Path(scratch, "class"), pathlib.Path(scratch, "table.csv")
        mistakes = make_class(folder, assignment, args.submissions)
        begin = time.monotonic()
        print(grade_all(folder, assignment, table, jobs=args.jobs, pace=args.pace))
        wall, used = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
        with open(table, newline="") as file:
            rows = list(csv.DictReader(file))
    for row in rows:
        lost = {task.name for task in assignment.tasks.values() if row["problem"] or float(row[task.name]) < task.points}
        if lost != mistakes.get(row["submission"], set()):
            print(f"{row['submission']} loses points in {lost}, expected {mistakes.get(row['submission'], 'none')}")
    cpu = used.ru_utime + used.ru_stime
    print(f"{args.jobs} at a time: {wall:.0f} s; {cpu:.0f} s of processor time, {cpu / args.submissions:.1f} s a submission; "
          f"the largest process had {used.ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
