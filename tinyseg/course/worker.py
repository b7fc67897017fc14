"""What runs student code: a process of its own, that receives arrays, calls one function, and sends arrays back.

    python -I worker.py '{"folder": …}'

The file stands alone (the standard library and NumPy), since it runs where nothing else of the grader is to be found.
Before the first line of student code it limits itself, in three layers: the kernel's limits on time, memory, processes,
files and, where there is Landlock, on what can be read at all; a user of its own, if it was started by root; and a hook
on every file, process, socket and module that Python opens, which ends the process and says what was tried.
"""
from __future__ import annotations

import contextlib
import ctypes
import importlib
import io
import json
import linecache
import math
import os
import resource
import struct
import sys
import tokenize
import traceback
import types
from collections import deque
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

MESSAGE_LIMIT = 256 << 20                    # bytes
FILE_LIMIT, OPEN_FILES = 16 << 20, 64
READ_ALL = 1 << 2                            # Linux's CAP_DAC_READ_SEARCH
OTHERS = {"tinyseg", "numba", "torch", "torchvision", "tensorflow", "jax", "scipy", "sklearn", "skimage", "cv2", "PIL"}


def pack(message: dict[str, Any], value: Any) -> bytes:
    """A message and a value (arrays, numbers, strings, lists, tuples and dicts of them) as bytes.

    The length; the length of the text; the text, JSON; and the arrays one after the other, as .npy without pickle.
    """
    blobs: list[bytes] = []
    text = json.dumps({**message, "value": _encode(value, blobs), "sizes": list(map(len, blobs))}).encode()
    body = struct.pack(">I", len(text)) + text + b"".join(blobs)
    if len(body) > MESSAGE_LIMIT:
        raise ValueError(f"{len(body) >> 20} MiB of arrays are too many, {MESSAGE_LIMIT >> 20} MiB can be sent")
    return struct.pack(">Q", len(body)) + body


def unpack(body: bytes) -> tuple[dict[str, Any], Any]:
    """The message and the value of `pack`, without its first 8 bytes.  ValueError if it is not one."""
    try:
        start = 4 + struct.unpack(">I", body[:4])[0]
        message = json.loads(body[4:start])
        arrays = []
        for size in message.pop("sizes"):
            arrays.append(_read_array(body[start:start + size]))
            start += size
        return message, _decode(message.pop("value"), arrays)
    except (struct.error, LookupError, TypeError, AttributeError, RecursionError, MemoryError, SyntaxError,
            tokenize.TokenError) as error:                       # the last two of NumPy's reading of the header
        raise ValueError(f"not a message: {type(error).__name__}") from None


def _read_array(blob: bytes) -> np.ndarray:
    """One .npy; its header may claim anything, so it is held against the number of bytes before they are used."""
    file = io.BytesIO(blob)
    np.lib.format.read_magic(file)
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    data = blob[file.tell():]
    if dtype.kind not in "biuf" or len(data) != dtype.itemsize * int(np.prod([int(n) for n in shape], dtype=object)):
        raise ValueError(f"not an array of {dtype} and shape {shape}")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C").copy()


def _encode(value: Any, blobs: list[bytes]) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        if value.dtype.kind not in "biuf":
            raise TypeError(f"an array of {value.dtype}, expected numbers")
        file = io.BytesIO()
        np.lib.format.write_array(file, np.asarray(value), version=(1, 0), allow_pickle=False)
        blobs.append(file.getvalue())
        return {"array": len(blobs) - 1}
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"plain": value}
    if isinstance(value, (list, tuple)):
        return {type(value).__name__ if type(value) in (list, tuple) else "tuple": [_encode(v, blobs) for v in value]}
    if isinstance(value, dict):
        return {"dict": {str(key): _encode(v, blobs) for key, v in value.items()}}
    raise TypeError(f"a {type(value).__name__}, expected arrays")


def _decode(value: Any, arrays: list[np.ndarray]) -> Any:
    (kind, content), = value.items()
    if kind == "array":
        return arrays[content]
    if kind == "dict":
        return {key: _decode(v, arrays) for key, v in content.items()}
    if kind in ("list", "tuple"):
        return {"list": list, "tuple": tuple}[kind](_decode(v, arrays) for v in content)
    return content


class Channel:
    """The pipes to the grader, moved away from stdin and stdout: student code may print what it likes."""

    def __init__(self) -> None:
        self.requests, self.replies = os.dup(0), os.dup(1)
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)

    def send(self, message: dict[str, Any], value: Any = None) -> None:
        data = memoryview(pack(message, value))
        while data:
            data = data[os.write(self.replies, data):]

    def receive(self) -> tuple[dict[str, Any], Any]:
        return unpack(self._read(struct.unpack(">Q", self._read(8))[0]))

    def _read(self, size: int) -> bytes:
        parts = []
        while size:
            part = os.read(self.requests, min(size, 1 << 20))
            if not part:
                os._exit(0)                              # the grader has nothing more to ask
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def main() -> NoReturn:
    settings = json.loads(sys.argv[1])
    channel = Channel()
    sys.dont_write_bytecode = True
    if settings["engine"]:
        sys.path.insert(0, settings["engine"])
        _start_engine()
        sys.path.remove(settings["engine"])
    for name, functions in settings["stand_ins"].items():
        sys.modules[name] = _stand_in(channel, name, functions)
    sys.path.insert(0, settings["folder"])
    confine(settings, channel.send)
    channel.send({"kind": "ready"})
    while True:
        request, (args, kwargs) = channel.receive()
        _answer(channel, settings["folder"], request["module"], request["function"], args, kwargs)


def _start_engine() -> None:
    """Import tinyseg and run a kernel: Numba's threads and libraries are loaded while that is still allowed."""
    import tinyseg

    for module in ("data", "inference", "models"):
        importlib.import_module(f"tinyseg.{module}")
    x, w = (tinyseg.Tensor(np.ones(shape, np.float32), requires_grad=True) for shape in ((1, 2, 8, 8), (2, 2, 1, 1)))
    tinyseg.functional.conv2d(x, w).sum().backward()


def _answer(channel: Channel, folder: str, module: str, name: str, args: tuple, kwargs: dict[str, Any]) -> None:
    arrays = [a for a in [*args, *kwargs.values()] if isinstance(a, np.ndarray)]
    before = [a.tobytes() for a in arrays]
    try:
        function = getattr(importlib.import_module(module), name)
        result = function(*args, **kwargs)
        parts = result if isinstance(result, (tuple, list)) else [result]
        own = [part for part in parts if isinstance(part, np.ndarray)]
        channel.send({"kind": "result", "mutated": [i for i, a in enumerate(arrays) if a.tobytes() != before[i]],
                      "shared": any(np.may_share_memory(part, a) for part in own for a in arrays)}, result)
    except BaseException as error:                       # SystemExit and KeyboardInterrupt are answers too
        frames = ((frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__))
        last = deque((place for place in frames if place[0].startswith(folder)), maxlen=1)     # of millions, perhaps
        where = [f"{os.path.basename(file)}, line {line}: {linecache.getline(file, line).strip()}" for file, line in last]
        if isinstance(error, SyntaxError):
            where = [f"{os.path.basename(error.filename or '')}, line {error.lineno}: {(error.text or '').strip()}"]
        channel.send({"kind": "error", "type": type(error).__name__, "text": str(error)[:500], "where": where})


def _stand_in(channel: Channel, module: str, functions: list[str]) -> types.ModuleType:
    """A module whose functions are called elsewhere: what a task depends on, and must not read."""
    def far(name: str) -> Callable[..., Any]:
        def function(*args: Any, **kwargs: Any) -> Any:
            channel.send({"kind": "call", "module": module, "function": name}, (args, kwargs))
            reply, value = channel.receive()
            if reply["kind"] == "error":
                raise ValueError(reply["text"])
            return value
        return function
    stand_in = types.ModuleType(module)
    vars(stand_in).update({name: far(name) for name in functions})
    return stand_in


# The walls ---------------------------------------------------------------------------------------------------------


def confine(settings: dict[str, Any], send: Callable[..., None]) -> None:
    """From here on: little time, memory and few files, no other process, no network, no file but those of `folder`."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = math.ceil(used.ru_utime + used.ru_stime + settings["seconds"])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    for kind, limit in [(resource.RLIMIT_AS, settings["memory"]), (resource.RLIMIT_FSIZE, FILE_LIMIT),
                        (resource.RLIMIT_NOFILE, OPEN_FILES), (resource.RLIMIT_CORE, 0)]:
        resource.setrlimit(kind, (limit, limit))
    readable = [sys.prefix, sys.base_prefix, "/usr", "/lib", "/lib64", "/etc", "/proc", "/sys", "/dev",
                __file__, settings["folder"], *settings["readable"], *filter(os.path.exists, sys.path)]
    readable = [os.path.realpath(path) for path in readable]
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "linux":
        landlock(libc, readable, settings["folder"])
    if settings["user"]:
        become(libc, settings["user"], settings["private"])
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    sys.addaudithook(guard(settings["folder"], readable, not settings["engine"], send))


def become(libc: Any, user: int, private: bool) -> None:
    """Another user without a network.  private: who may read what only root may, as Python lies there."""
    libc.unshare(0x40000000)                             # CLONE_NEWNET: a network without a way out
    libc.prctl(8, int(private), 0, 0, 0)                 # PR_SET_KEEPCAPS
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    if private:                                          # of all that root may, this is kept: version 3, two words a set
        sets = struct.pack("=6I", READ_ALL, READ_ALL, 0, 0, 0, 0)
        if libc.capset(struct.pack("=Ii", 0x2008_0522, 0), sets):
            raise OSError(ctypes.get_errno(), "capset")


def landlock(libc: Any, readable: list[str], writable: str) -> None:
    """Linux 5.13 and later: files elsewhere cannot be opened, nor processes outside be signalled, by whatever code."""
    create, add, restrict = 444, 445, 446
    version = libc.syscall(create, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return
    read, every_file = 0b1101, 0b110_0000_0000_0111
    everything = (1 << (13 if version < 2 else 14 if version < 3 else 15)) - 1
    every_file &= everything
    rules = struct.pack("QQQ", everything, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    ruleset = libc.syscall(create, rules, ctypes.c_size_t(8 if version < 4 else 16 if version < 6 else 24), 0)
    for path, access in [*((path, read) for path in readable), ("/dev/null", 0b110), (writable, everything)]:
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_PATH)
            allowed = access if os.path.isdir(path) else access & every_file
            libc.syscall(add, ruleset, 1, struct.pack("=Qi", allowed, fd), 0)
            os.close(fd)
    libc.prctl(38, 1, 0, 0, 0)                           # PR_SET_NO_NEW_PRIVS
    libc.syscall(restrict, ruleset, 0)
    os.close(ruleset)


def guard(folder: str, readable: list[str], numpy_only: bool,
          send: Callable[..., None]) -> Callable[[str, tuple], None]:
    """The hook: it ends the process at the first forbidden thing, so that catching the exception is of no use.

    All that it uses is bound here, where student code cannot put something else in its place.
    """
    folder = os.path.realpath(folder)
    inside = tuple(path.rstrip("/") + "/" for path in [*readable, folder])
    writable = (folder + "/", "/dev/null")
    refused = {"os.fork": "starts a process", "os.forkpty": "starts a process", "os.posix_spawn": "starts a process",
               "os.exec": "starts another program", "os.system": "runs a command", "os.spawn": "runs a command",
               "subprocess.Popen": "runs a command", "pty.spawn": "runs a command", "os.kill": "sends a signal",
               "os.killpg": "sends a signal", "os.link": "makes a link", "os.symlink": "makes a link",
               "gc.get_objects": "looks through the grader's objects", "ctypes.dlopen": "calls the C library",
               "gc.get_referrers": "looks through the grader's objects", "sqlite3.connect": "opens a database"}
    changes = {"os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.chmod", "os.chown", "os.truncate", "os.utime"}
    realpath, fsdecode, startswith, exit_now = os.path.realpath, os.fsdecode, str.startswith, os._exit
    is_instance, string, raw, whole, length = isinstance, str, bytes, int, len
    write_flags = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    busy = []

    def refuse(what: str) -> None:
        busy.append(1)
        send({"kind": "forbidden", "text": what})
        exit_now(77)

    def hook(event: str, args: tuple) -> None:
        if busy:
            return
        if event == "open" or event in changes or event in ("os.listdir", "os.scandir", "os.chdir"):
            path = args[0]
            if not is_instance(path, (string, raw)):
                return
            busy.append(1)
            real = realpath(fsdecode(path))
            busy.pop()
            flags = args[2] if length(args) > 2 and is_instance(args[2], whole) else 0
            if event in changes or (event == "open" and flags & write_flags):
                if not startswith(real + ("/" if real == folder else ""), writable):
                    refuse(f"writes to {real}")
            elif not startswith(real + "/", inside):
                refuse(f"opens {real}")
        elif event in refused:
            refuse(refused[event])
        elif startswith(event, "socket.") and event != "socket.gethostname":
            refuse("opens a network connection")
        elif numpy_only and event == "import" and args[0].partition(".")[0] in OTHERS:
            refuse(f"imports {args[0]}: in this task, NumPy is all you need")
        elif startswith(event, "ctypes.") and (
                numpy_only or event == "ctypes.dlsym" and not startswith(args[1], "LLVMPY_")):
            refuse("calls the C library")
    return hook


if __name__ == "__main__":
    main()
