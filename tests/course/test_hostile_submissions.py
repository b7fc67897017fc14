"""Whatever a submission does, it gets no points, the grader goes on, and its results are valid."""
import ctypes
import os
import re
import shutil
import sys

import pytest
from course.pace import BRIEF, PATIENT
from course.schema import read
from course.together import two_at_a_time

from tinyseg.cli import main
from tinyseg.course import grader, sandbox
from tinyseg.course.grader import grade

RIGHT = """
def labels(scores):
    attack(scores)
    return scores.argmax(axis=1)


def confusion_matrix(prediction, target, num_classes):
    attack(prediction)
    valid = target != 255
    pairs = num_classes * target[valid].astype(np.int64) + prediction[valid]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def mean_iou(confusion):
    attack(confusion)
    intersection = np.diag(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - intersection
    return (intersection[union > 0] / union[union > 0]).mean()
"""

# What takes longest stands first, and is graded together.
ATTACKS = {                       # name: (what is done before the right answer is returned, what the student reads)
    "endless loop": ("while True: pass", "processor time|no answer in time"),
    "sleep": ("import time; time.sleep(1e6)", "no answer in time"),
    "closes all pipes": ("import os; os.closerange(0, 64)\nwhile True: pass",
                         "closed its pipes|processor time|the process ended"),
    "recursion without a limit": ("import sys; sys.setrecursionlimit(10**9); attack(x)", "memory|crashed|time"),
    "hard exit": ("import os; os._exit(0)", "the process ended"),
    "crash by a signal": ("import faulthandler; faulthandler._sigsegv()", "crashed \\(SIGSEGV\\)"),
    "message that fails": ("raise type('E', (Exception,), {'__str__': lambda e: 1 / 0})", "the process ended"),
    "memory bomb in steps": ("all = []\nwhile True: all.append(bytes(10**8))", "memory"),
    "exit": ("import sys; sys.exit(0)", "it ends the program"),
    "interrupt": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "endless recursion": ("attack(x)", "endless recursion"),
    "memory bomb at once": ("np.ones(10**10)", "memory"),
    "fork bomb": ("import os\nwhile True: os.fork()", "starts a process"),
    "threads": ("import threading\nfor i in range(10**4): threading.Thread(target=threading.Event().wait).start()",
                "thread|memory|time"),
    "subprocess": ("import subprocess; subprocess.run(['ls'])", "runs a command"),
    "shell": ("import os; os.system('touch /tmp/x')", "runs a command"),
    "forged results file": ("open(OUT, 'w').write('{\"score\": 100}')", "writes to"),
    "forged results file, quietly": ("try: open(OUT, 'w').write('{}')\nexcept BaseException: pass", "writes to"),
    "file outside": ("import os; os.open('/tmp/tinyseg-was-here', os.O_CREAT | os.O_WRONLY)", "writes to"),
    "removes results": ("import os; os.remove(OUT)", "writes to"),
    "reads the solution": ("open(MASTER + '/metrics.py').read()", "opens .*metrics.py"),
    "reads the tests": ("import os; [open(MASTER + '/tests/' + n) for n in os.listdir(MASTER + '/tests')]", "opens .*tests"),
    "links to the solution": ("import os; os.symlink(MASTER + '/metrics.py', 'mine.py'); open('mine.py')", "makes a link"),
    "network": ("import socket; socket.create_connection(('127.0.0.1', 22))", "network"),
    "kills the grader": ("import os; os.kill(os.getppid(), 9)", "sends a signal"),
    "C library": ("import ctypes; ctypes.CDLL(None).fork()", "C library"),
    "C library by another door": ("import ctypes; ctypes.pythonapi.system(b'ls')", "C library"),
    "database": ("import sqlite3; sqlite3.connect(OUT).execute('create table x (y)')", "database"),
    "imports the answer": ("import tinyseg.metrics", "imports tinyseg"),
    "writes to the channel": ("import os\nfor fd in range(3, 9):\n  try: os.write(fd, b'\\0' * 99)\n  except OSError: pass",
                              "none that the grader understands"),
    "claims a huge answer": ("import os, struct\nfor fd in range(3, 9):\n  try: os.write(fd, struct.pack('>Q', 1 << 60))\n"
                             "  except OSError: pass", "larger than"),
    "forges an answer": ("import os, json, struct\n"
                         "text = json.dumps({'kind': 'result', 'mutated': 'x', 'value': [], 'sizes': [9]}).encode()\n"
                         "body = struct.pack('>I', len(text)) + text\nfor fd in range(3, 9):\n"
                         "  try: os.write(fd, struct.pack('>Q', len(body)) + body)\n  except OSError: pass", "none that"),
    "large file": ("open('large', 'wb').write(bytes(10**8))", "File too large|crashed"),
    "many files": ("all = [open(f'{i}', 'w') for i in range(1000)]", "Too many open files"),
    "endless message": ("raise ValueError('x' * 10**7)", "ValueError"),
    "looks for the grader": ("import gc; gc.get_objects()", "looks through"),
    "changes its argument": ("x[:] = 0", "changes its arguments"),
}
ENDLESS = {"endless loop", "sleep", "closes all pipes", "recursion without a limit"}     # only a limit of time ends them
ANSWERS = {                       # name: (what is returned, what the student reads)
    "forged output": ("(print('{\"score\": 100, \"tests\": []}', flush=True), 0)[1]", "expected"),
    "NaN": ("float('nan')", "NaN|expected"),
    "nothing": ("...", "expected arrays"),
    "objects": ("np.array([print], dtype=object)", "array of object"),
    "wrong dtype": ("np.zeros((2, 3, 4))", "expected integers"),
    "wrong shape": ("np.zeros((1, 1), int)", "shape"),
    "too large": ("np.zeros(40 << 20)", "can be sent|out of memory"),
    "equal to everything": ("type('Yes', (np.ndarray,), {'__eq__': lambda *a: True})(3)", "expected"),
    "monkey-patched NumPy": ("(vars(np).update(allclose=lambda *a, **k: True, isclose=lambda *a, **k: True), 0)[1]",
                             "expected"),
}


def submit(folder, attack="pass", answer="", out="", master=""):
    body = "\n    ".join(attack.splitlines())
    head = f"import numpy as np\nOUT, MASTER = {str(out)!r}, {str(master)!r}\n\n\ndef attack(x):\n    {body}\n"
    functions = RIGHT.replace("attack(", f"return {answer}\n    attack(") if answer else RIGHT
    (folder / "metrics.py").write_text(head + functions, encoding="utf-8")


def check(folder, assignment, out, message):
    assert grade(folder, assignment, out, only=["metrics"], pace=PATIENT).score == 0
    check_written(out, message)


def check_written(out, message):
    written = read(out)
    assert written["score"] == 0 and all(test["score"] == 0 for test in written["tests"])
    assert any(re.search(message, test["output"]) for test in written["tests"]), {test["output"] for test in written["tests"]}


@pytest.fixture(scope="module")
def attacked(assignment, tmp_path_factory, request):
    """The score of an attack, and the folder with its submission and the grader's results."""
    root = tmp_path_factory.mktemp("attacks")

    def attack(name):
        folder, submission = root / name, root / name / "submission"
        out = folder / "out" / "results.json"
        for path in (folder, submission, out.parent):
            path.mkdir()
        submit(submission, ATTACKS[name][0], out=out, master=assignment.folder)
        pace = BRIEF if name in ENDLESS else PATIENT
        return grade(submission, assignment, out, only=["metrics"], pace=pace).score, folder
    return two_at_a_time(attack, request, "name")


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_earns_nothing(name, attacked):
    """And comes to an end: no clock is needed to see that."""
    score, folder = attacked(name)
    assert score == 0
    check_written(folder / "out" / "results.json", ATTACKS[name][1])
    assert os.listdir(folder / "out") == ["results.json"] and os.listdir(folder / "submission") == ["metrics.py"]


@pytest.fixture(scope="module")
def answered(assignment, tmp_path_factory, request):
    """The score of a wrong answer, and the grader's results."""
    root = tmp_path_factory.mktemp("answers")

    def answer(name):
        folder, out = root / name, root / f"{name}.json"
        folder.mkdir()
        submit(folder, answer=ANSWERS[name][0])
        return grade(folder, assignment, out, only=["metrics"], pace=PATIENT).score, out
    return two_at_a_time(answer, request, "name")


@pytest.mark.parametrize("name", ANSWERS)
def test_a_wrong_answer_earns_nothing(name, answered):
    score, out = answered(name)
    assert score == 0
    check_written(out, ANSWERS[name][1])


def test_without_an_attack_the_same_code_earns_all(assignment, tmp_path):
    submit(tmp_path)
    assert grade(tmp_path, assignment, only=["metrics"], pace=PATIENT).score == 8


@pytest.mark.parametrize("name", ["hard exit", "forged results file"])
def test_an_attack_costs_its_own_task_only(name, assignment, tmp_path):
    submit(tmp_path, ATTACKS[name][0], out=tmp_path / "results.json")
    for other in ("loss", "pooling"):
        shutil.copy(assignment.folder / f"{other}.py", tmp_path)
    grade(tmp_path, assignment, tmp_path / "results.json", only=["loss", "metrics", "pooling"], pace=PATIENT)
    assert read(tmp_path / "results.json")["extra_data"]["tasks"] == {"pooling": 12, "loss": 10, "metrics": 0}


def test_a_grader_that_is_stopped_leaves_what_it_has(assignment, tmp_path, monkeypatch):
    def stopped(task, *rest, grade_task=grader._grade_task):
        if task.name == "metrics":
            raise KeyboardInterrupt
        grade_task(task, *rest)
    monkeypatch.setattr(grader, "_grade_task", stopped)
    with pytest.raises(KeyboardInterrupt):
        grade(assignment.folder, assignment, tmp_path / "results.json", only=["loss", "metrics"], pace=PATIENT)
    results = read(tmp_path / "results.json")
    assert results["score"] == 10 and {test["output"] for test in results["tests"] if test["tags"] == ["metrics"]} == {
        "not run: the grader was stopped before"}


def test_the_result_must_not_be_a_view_of_the_input(assignment, tmp_path):
    (tmp_path / "loss.py").write_text("def softmax(scores):\n    return scores[::-1]\n")
    results = grade(tmp_path, assignment, only=["loss"], pace=PATIENT)
    assert "view of an argument" in results.outcomes[0].message


@pytest.mark.parametrize("content, message", [
    (b"def labels(:\n", "SyntaxError"), (b"\0\0\0", "null bytes"), (b"\xff\xfe\xff", "SyntaxError"), (b"", "AttributeError"),
    (b"#" * (2 << 20), "KiB"), (None, "missing")])
def test_files_that_are_no_modules(content, message, assignment, tmp_path):
    if content is not None:
        (tmp_path / "metrics.py").write_bytes(content)
    check(tmp_path, assignment, tmp_path / "results.json", message)


def test_links_and_folders_and_pipes_are_not_read(assignment, tmp_path):
    (tmp_path / "metrics.py").symlink_to(assignment.folder / "metrics.py")
    check(tmp_path, assignment, tmp_path / "results.json", "is a link")
    (tmp_path / "metrics.py").unlink()
    (tmp_path / "deep").symlink_to(assignment.folder)
    check(tmp_path, assignment, tmp_path / "results.json", "is a link")
    os.mkfifo(tmp_path / "metrics.py")
    check(tmp_path, assignment, tmp_path / "results.json", "not a file")


def test_what_a_task_depends_on_shows_no_more_than_its_functions(assignment, tmp_path):
    (tmp_path / "bilinear.py").write_text(
        "import transposed\n\n\ndef bilinear_kernel(size):\n    return transposed.secret(size)\n")
    results = grade(tmp_path, assignment, only=["bilinear"], pace=PATIENT)
    assert results.score == 0 and "has no attribute 'secret'" in results.outcomes[0].message


def test_what_a_task_depends_on_has_its_limits_too(assignment, tmp_path):
    """Else whoever calls it with large arrays has all the time of the world."""
    (tmp_path / "bilinear.py").write_text(
        "import numpy as np\nimport transposed\n\n\ndef upsample(x, stride):\n"
        "    return transposed.conv_transpose2d_forward(np.ones((1, 8, 10**6, 1)), np.ones((8, 8, 3, 3)))\n")
    results = grade(tmp_path, assignment, only=["bilinear"], pace=BRIEF)
    assert results.score == 0
    assert any(re.search("out of processor time|no answer in time", outcome.message) for outcome in results.outcomes)


DOORS = {                         # what a network's __init__ does: what the student reads
    "open(MASTER + '/decoder.py')": "opens .*decoder.py", "open(OUT, 'w')": "writes to", "import os; os.fork()": "process",
    "import ctypes; ctypes.pythonapi.system(b'ls')": "C library", "import ctypes; ctypes.CDLL(None)": "C library",
    "import numpy; x = [numpy.empty(10**7) for i in range(99)]": "memory", "import socket; socket.socket()": "network"}


@pytest.fixture(scope="module")
def tried(assignment, tmp_path_factory, request):
    root, solution = tmp_path_factory.mktemp("doors"), (assignment.folder / "decoder.py").read_text()

    def attempt(attack):
        folder = root / str(list(DOORS).index(attack))
        folder.mkdir()
        head = f"MASTER, OUT = {str(assignment.folder)!r}, {str(folder / 'results.json')!r}\n"
        (folder / "decoder.py").write_text(head + solution.replace("super().__init__()", f"super().__init__(); {attack}", 1))
        return grade(folder, assignment, only=["decoder"], pace=PATIENT)
    return two_at_a_time(attempt, request, "attack")


@pytest.mark.parametrize("attack", DOORS)
def test_where_tinyseg_is_allowed_nothing_else_is(attack, tried):
    results = tried(attack)
    assert results.score == 0
    assert any(re.search(DOORS[attack], outcome.message) for outcome in results.outcomes), results


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock is Linux's")
def test_files_are_out_of_reach_of_c_code_too(assignment, tmp_path):
    """The hook sees what Python opens; here it is readline's C code."""
    libc = ctypes.CDLL(None)
    if libc.syscall(444, None, ctypes.c_size_t(0), 1) < 1:
        pytest.skip("this kernel has no Landlock")
    pytest.importorskip("readline")
    (tmp_path / "secret").write_text("secret\n")
    (tmp_path / "metrics.py").write_text(
        f"import readline\n\n\ndef labels(x):\n    readline.read_history_file({str(tmp_path / 'secret')!r})\n")
    results = grade(tmp_path, assignment, only=["metrics"], pace=PATIENT)
    assert "PermissionError" in results.outcomes[0].message


def changes_user():
    return sandbox.can_change_user(not sandbox._others_can_read(sys.prefix, sys.base_prefix, sandbox.TINYSEG))


@pytest.mark.skipif(not changes_user(), reason="only root can start other users' processes")
def test_student_code_runs_as_a_user_of_its_own(assignment, tmp_path):
    (tmp_path / "metrics.py").write_text(
        "import os\n\n\ndef labels(x):\n    ids = os.getresuid() + os.getresgid()\n    try:\n        os.setuid(0)\n"
        "    except PermissionError:\n        raise ValueError(ids)\n")
    message = grade(tmp_path, assignment, only=["metrics"], pace=PATIENT).outcomes[0].message
    (user,) = set(re.search(r"ValueError: \((.*?)\)", message)[1].split(", "))
    assert int(user) >= 100_000


@pytest.mark.skipif(not changes_user() and os.geteuid() == 0, reason="the kernel does not limit root's processes")
def test_no_process_is_started_by_a_door_without_a_hook(assignment, tmp_path):
    (tmp_path / "metrics.py").write_text(
        "import multiprocessing\n\n\ndef labels(x):\n"
        "    multiprocessing.get_context('spawn').Process(target=print).start()\n    return x.argmax(axis=1)\n")
    results = grade(tmp_path, assignment, only=["metrics"], pace=PATIENT)
    assert results.score == 0 and "BlockingIOError" in results.outcomes[0].message


def test_the_command_ends_with_status_0(assignment, tmp_path, capsys):
    submit(tmp_path, "import os; os._exit(1)")
    out = tmp_path / "results.json"
    assert main(["grade", str(tmp_path), "--master", str(assignment.folder), "--out", str(out), "--task", "metrics",
                 f"--pace={PATIENT}"]) == 0
    assert read(out)["score"] == 0 and "the process ended" in capsys.readouterr().out


def test_there_are_enough_of_them():
    assert len(ATTACKS) + len(ANSWERS) >= 25
