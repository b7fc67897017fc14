"""The grader's side of the sandbox: a student's module whose functions run in a worker, arrays in and arrays out."""
from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numba.core.caching import _CacheLocator

from .. import nn
from ..backends import conv2d
from ..functional import cross_entropy
from ..graph import no_grad
from ..inference import evaluating
from ..kernels import conv
from ..models import UNet
from ..optim import SGD, AdamW
from ..tensor import Tensor
from . import worker
from .assignment import Assignment, Task

MEMORY = 1 << 30                             # bytes of address space of a worker
START = 120                                  # seconds in which a worker must have loaded its libraries, at pace 1
PATIENCE = 2                                 # seconds of waiting for one of processor time: on half a processor
PASSED_ON = ("PATH", "LANG", "LD_LIBRARY_PATH", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")
THREADS = ("NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
TINYSEG = Path(__file__).resolve().parents[1]


class StudentError(AssertionError):
    """What student code did instead of returning an answer, in words for the student."""


class Forbidden(StudentError):
    """Student code tried what the sandbox does not allow."""


class OutOfTime(StudentError):
    """Student code did not come to an end."""


class Worker:
    """One process with one module: `call` runs a function in it, until `end`.

    seconds: of processor time;  start: in which it must have loaded its libraries.  answer: what a call of a stand-in
    leads to;  stand_ins: modules and their functions.
    """

    def __init__(self, task: Task, source: Path, seconds: float, start: float, answer: Callable[..., Any],
                 stand_ins: dict[str, list[str]]):
        self.task, self.answer = task, answer
        self.folder = Path(os.path.realpath(tempfile.mkdtemp(prefix="tinyseg-grade-")))
        private = not _others_can_read(sys.prefix, sys.base_prefix, TINYSEG)
        user = 100_000 + secrets.randbelow(1 << 24) if can_change_user(private) else 0
        for path in (source, *task.given):
            shutil.copyfile(path, self.folder / path.name)
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        environment |= {"HOME": str(self.folder)} | dict.fromkeys(THREADS, "1")
        if task.engine:
            environment["NUMBA_CACHE_DIR"] = str(_copy_kernels(self.folder / "kernels"))
        if user:
            for path in (self.folder, *self.folder.rglob("*")):
                os.chown(path, user, user)
        settings = {"folder": str(self.folder), "engine": str(TINYSEG.parent) if task.engine else "",
                    "readable": [str(TINYSEG)] if task.engine else [], "stand_ins": stand_ins, "user": user,
                    "private": private, "memory": MEMORY, "seconds": seconds}
        command = [sys.executable, "-I", "-B", worker.__file__, json.dumps(settings)]
        self.process = subprocess.Popen(command, cwd=self.folder, env=environment, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
        for pipe in (self.process.stdin, self.process.stdout):
            os.set_blocking(pipe.fileno(), False)        # type: ignore[union-attr]
        try:
            self._read(f"{task.name}: the start", time.monotonic() + start)   # no line of the student's has run yet
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Kill the process, and remove its folder."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            pipe.close()                                 # type: ignore[union-attr]
        shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, function: str, wait: float, args: tuple, kwargs: dict[str, Any]) -> Any:
        """What the function returns within `wait` seconds, else StudentError, in words; then `alive` may be False."""
        name, deadline = f"{self.task.name}.{function}", time.monotonic() + wait
        message: dict[str, Any] = {"module": self.task.name, "function": function}
        value: Any = (args, kwargs)
        while True:
            self._write(worker.pack(message, value), name, deadline)
            reply, value = self._read(name, deadline)
            if reply.get("kind") != "call":
                return self._judge(reply, value, name)
            try:
                message, value = {"kind": "result"}, self.answer(reply["module"], reply["function"], *value)
            except (StudentError, LookupError, TypeError) as error:
                message, value = {"kind": "error", "text": str(error)}, None

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def _judge(self, reply: dict[str, Any], value: Any, name: str) -> Any:
        kind = reply.get("kind")
        if kind == "forbidden":
            raise Forbidden(f"{name}: the code {reply.get('text')}. That is not allowed here: no points for this task.")
        if kind == "error":
            raise StudentError(_error_in_words(reply, name))
        if kind != "result":
            raise StudentError(f"{name}: the answer is none that the grader understands.")
        if reply.get("mutated"):
            raise StudentError(f"{name}: it changes its arguments (array {reply['mutated'][0] + 1}): work on a copy.")
        if reply.get("shared"):
            raise StudentError(f"{name}: the result is a view of an argument, not an array of its own: return a copy.")
        return value

    def _write(self, data: bytes, name: str, deadline: float) -> None:
        view, fd = memoryview(data), self.process.stdin.fileno()              # type: ignore[union-attr]
        while view:
            if not select.select([], [fd], [], max(0, deadline - time.monotonic()))[1]:
                raise self._timeout(name)
            try:
                view = view[os.write(fd, view):]
            except OSError:
                raise self._death(name) from None

    def _read(self, name: str, deadline: float) -> tuple[dict[str, Any], Any]:
        size = struct.unpack(">Q", self._take(8, name, deadline))[0]
        if size > worker.MESSAGE_LIMIT:
            self.process.kill()
            raise StudentError(f"{name}: the answer is larger than {worker.MESSAGE_LIMIT >> 20} MiB.")
        try:
            return worker.unpack(self._take(size, name, deadline))
        except ValueError as error:
            self.process.kill()
            raise StudentError(f"{name}: the answer is none that the grader understands, {str(error)[:99]}.") from None

    def _take(self, size: int, name: str, deadline: float) -> bytes:
        parts, fd = [], self.process.stdout.fileno()                          # type: ignore[union-attr]
        while size:
            if not select.select([fd], [], [], max(0, deadline - time.monotonic()))[0]:
                raise self._timeout(name)
            part = os.read(fd, min(size, 1 << 20))
            if not part:
                raise self._death(name)
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _timeout(self, name: str) -> StudentError:
        self.process.kill()
        self.process.wait()
        return OutOfTime(f"{name}: no answer in time: an endless loop, or waiting for something?")

    def _death(self, name: str) -> StudentError:
        try:
            status = self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return StudentError(f"{name}: the process closed its pipes without an answer.")
        if status == -signal.SIGXCPU:
            return OutOfTime(f"{name}: out of processor time: an endless loop?")
        if status == -signal.SIGKILL:
            return OutOfTime(f"{name}: killed, out of processor time or memory.")
        if status < 0:
            crash = signal.Signals(-status).name
            return StudentError(f"{name}: the process crashed ({crash}): out of stack or memory?")
        return StudentError(f"{name}: the process ended (os._exit, status {status}) before it returned an answer.")


def _error_in_words(reply: dict[str, Any], name: str) -> str:
    kind, text, where = reply.get("type"), reply.get("text"), "; ".join(map(str, reply.get("where", [])))
    words = {"NotImplementedError": f"not written yet ({text})",
             "SystemExit": f"it ends the program (sys.exit, {text})",
             "KeyboardInterrupt": "it raises KeyboardInterrupt",
             "RecursionError": "endless recursion: it calls itself without an end",
             "MemoryError": f"out of memory: more than {MEMORY >> 20} MiB"}
    return f"{name}: {words.get(str(kind), f'{kind}: {text}')}" + (f"\n    {where}" if where else "")


def _others_can_read(*paths: str | Path) -> bool:
    """Can a user who owns nothing read these folders?"""
    return all(os.stat(folder).st_mode & 0o005 == 0o005 or folder == Path("/") for path in paths
               for folder in (Path(path).resolve(), *Path(path).resolve().parents))


def can_change_user(private: bool) -> bool:
    """May a worker become a user of its own?  private: Python lies where only root can read, and root must pass that on."""
    if os.geteuid() or not private:
        return not os.geteuid()
    with contextlib.suppress(OSError):                   # Linux only, and there not in every container
        effective = re.search(r"^CapEff:\s*(\w+)$", Path("/proc/self/status").read_text(), re.M)
        return bool(effective and int(effective[1], 16) & worker.READ_ALL)
    return False


@cache
def compile_kernels() -> None:
    """Train a network for one step and use it: what students' networks need is then compiled, once per machine."""
    model = nn.Sequential(UNet(4, width=8, depth=2), nn.Conv2d(4, 4, 3, padding=1, groups=4),
                          nn.ConvTranspose2d(4, 4, 4, stride=2, padding=1, bias=False))
    images, masks = Tensor(np.ones((2, 3, 64, 64), np.float32)), np.zeros((2, 128, 128), np.uint8)   # large: more kernels
    for algorithm in ("fast", "im2col"):
        with conv2d(algorithm):
            for make in (SGD, partial(SGD, momentum=0.9), AdamW):
                optimizer = make(model.parameters(), lr=0.1)
                for labels in (masks, masks.astype(np.int64)):
                    optimizer.zero_grad()
                    cross_entropy(model(images), labels).backward()
                    optimizer.step()
            with evaluating(model), no_grad():
                model(images)


def _copy_kernels(folder: Path) -> Path:
    """The compiled kernels of this machine in a cache of the worker's own: what it writes there harms nobody."""
    compile_kernels()
    target = folder / _CacheLocator.get_suitable_cache_subpath(conv.__file__)
    source = Path(conv.conv2d.stats.cache_path or "")
    target.mkdir(parents=True)
    for path in (*source.glob("*.nbi"), *source.glob("*.nbc")):
        shutil.copyfile(path, target / path.name)
    return folder


class Module:
    """A student's module as the tests see it: `module.function(arrays)` runs in a worker, after a crash in another."""

    def __init__(self, assignment: Assignment, task: Task, source: Path, pace: float = 1.0):
        self._assignment, self._task, self._source = assignment, task, source
        self._left, self._pace = PATIENCE * task.seconds * pace, pace      # seconds of waiting
        self._worker: Worker | None = None
        self._references: dict[str, Module] = {}
        self.forbidden = ""                                      # what the code tried

    def __getattr__(self, function: str) -> Callable[..., Any]:
        if function.startswith("_"):
            raise AttributeError(function)
        return lambda *args, **kwargs: self._call(function, *args, **kwargs)

    def _call(self, function: str, *args: Any, **kwargs: Any) -> Any:
        if self.forbidden:
            raise StudentError(self.forbidden)
        if self._left <= 0:
            raise StudentError(f"{self._task.name}: not run, the task has used up its time.")
        if self._worker and not self._worker.alive:
            self._end()
        if self._worker is None:
            stand_ins = {name: self._assignment.functions(name) for name in self._task.depends}
            self._worker = Worker(self._task, self._source, self._left / PATIENCE, START * max(1.0, self._pace),
                                  self._answer, stand_ins)
        begin = time.monotonic()
        try:
            return self._worker.call(function, self._left, args, kwargs)
        except Forbidden as error:
            self.forbidden = str(error)
            raise
        except OutOfTime:
            self._left = 0.0
            raise
        except StudentError:
            raise
        except Exception:                                        # amid a conversation, which can't be taken up again
            self._end()
            raise
        finally:
            self._left -= time.monotonic() - begin

    def _answer(self, module: str, function: str, args: Any, kwargs: Any) -> Any:
        """A function of a task that this one depends on: the master's, in a worker of its own."""
        if module not in self._task.depends or function not in self._assignment.functions(module):
            raise LookupError(f"{self._task.name} has no {module}.{function} to call")
        if module not in self._references:
            task = self._assignment.tasks[module]
            self._references[module] = Module(self._assignment, task, self._assignment.folder / task.file, self._pace)
        return self._references[module]._call(function, *args, **kwargs)

    def _end(self) -> None:
        """End the workers."""
        for reference in self._references.values():
            reference._end()
        if self._worker:
            self._worker.end()
            self._worker = None
