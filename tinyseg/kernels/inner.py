"""Functions that are compiled together with the kernels that call them.

What Numba compiles is complete: optimized, in machine code, with two more functions around it that translate between ways of
calling, and kept on disk.  What calls it takes the result in, and all of it goes through the optimizer again: a helper four
calls deep did so four times, and that was half of the time of a first run.  An `inner` function is translated and tidied up,
and no more.  The kernel at the top takes in what it calls, and what that calls, and the whole is optimized once.

    @inner
    def add_row(total, tap, x):
        ...

Called from Python, it is the plain Python function that it was written as.
"""
from __future__ import annotations

import gc
import hashlib
import pathlib
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from numba.core import config, event, types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.registry import CPUDispatcher


class Uncollected(event.Listener):
    """While Numba compiles, Python does not look for garbage: going through all that is in use takes a tenth of the time."""

    def __init__(self) -> None:
        self.depth, self.was_enabled = 0, False              # changed under the lock that Numba holds while it compiles

    def on_start(self, event: event.Event) -> None:
        if self.depth == 0:
            self.was_enabled = gc.isenabled()
            gc.disable()
        self.depth += 1

    def on_end(self, event: event.Event) -> None:
        self.depth -= 1
        if self.depth == 0 and self.was_enabled:
            gc.enable()


event.register("numba:compile", Uncollected())


class InnerLibrary(JITCodeLibrary):
    """Code that nobody runs as it is: it waits for those who take it in."""

    def _optimize_final_module(self):
        pass

    def _finalize_final_module(self):
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name):
        return 0                                                            # there is no machine code

    @property
    def codegen(self):
        return self

    def set_env(self, name, environment):
        """For calls from Python, of which there are none."""


class InnerCompiler(Compiler):
    def define_pipelines(self):
        self.state.library = InnerLibrary(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
        return super().define_pipelines()


class Inner(CPUDispatcher):
    def __call__(self, *arguments):
        return self.py_func(*arguments)

    def get_call_template(self, arguments, names):
        """A number that stands in the call is a number: nothing is compiled anew for its value."""
        return super().get_call_template(tuple(map(types.unliteral, arguments)), names)


def inner(function: Callable | None = None, **options: Any) -> Any:
    """Decorator of a function that kernels call; options as those of numba.njit, as in @inner(fastmath={"contract"})."""
    if function is None:
        return partial(inner, **options)
    if config.DISABLE_JIT:                                                               # type: ignore[attr-defined]
        return function
    options = {"nopython": True, "boundscheck": None, "no_cpython_wrapper": True, "no_cfunc_wrapper": True, **options}
    return Inner(function, {}, options, InnerCompiler)


def stamped(kernel: Any) -> Any:
    """Decorator of a kernel with parts from other files: a change of any file of this folder makes Numba compile it anew.

    Numba stamps what it keeps on disk with the time and size of the kernel's own file, and knows nothing of what it took in.
    """
    if not config.DISABLE_JIT:                                                           # type: ignore[attr-defined]
        kept = kernel._cache._cache_file
        kept._source_stamp = kept._source_stamp, stamp()
    return kernel


@lru_cache(maxsize=None)
def stamp() -> str:
    """Of all files of this folder, as they are now."""
    files = [(file.name, file.stat()) for file in sorted(pathlib.Path(__file__).parent.glob("*.py"))]
    times = [(name, status.st_mtime_ns, status.st_size) for name, status in files]
    return hashlib.sha256(repr(times).encode()).hexdigest()
