"""A parallel loop over tasks whose body is compiled once.

For `for task in prange(count): body(task, …)` Numba makes five functions, one around the other: the body, the loop, two that
translate between ways of calling, and the one that Python calls.  Each goes through the optimizer with all that it contains.
Here the loop is a function of its own, `run`, which all kernels share.  It calls what it is given the address of:

    each_task(body, count, (a, b, …))               # body(task, a, b, …) for 0 ≤ task < count, divided between all threads

The body is an `inner` function.  What Python calls is its launcher, compiled for each combination of types: it keeps the
arguments in a struct, and contains the body, within a function that takes them out of it again.

As with prange, tasks may not depend on each other, and each is the only one to write what it writes.
"""
from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import FunctionType
from typing import Any

from llvmlite import ir
from numba import get_num_threads, njit, prange, types
from numba.core import cgutils, config
from numba.extending import intrinsic

from .inner import stamped

INDEX = ir.IntType(64)
SIGNATURE = [types.int64, types.voidptr]              # of what `run` calls: the task, and where its arguments are


@intrinsic
def call_address(typing, address, task, arguments):
    """Calls a function of this signature, which returns nothing; what it raises is raised."""
    def generate(context, builder, signature, values):
        function = builder.inttoptr(values[0], context.call_conv.get_function_type(types.none, SIGNATURE).as_pointer())
        values = [values[1], builder.inttoptr(values[2], cgutils.voidptr_t)]
        status, _ = context.call_conv.call_function(builder, function, types.none, SIGNATURE, values)
        with cgutils.if_unlikely(builder, status.is_error):
            context.call_conv.return_status_propagate(builder, status)
        return context.get_dummy_value()
    return types.void(types.int64, types.int64, types.int64), generate


@njit(cache=True, parallel=True, nogil=True)
def run(address, count, arguments):
    for task in prange(count):
        call_address(address, task, arguments)


def borrowed(context, builder, kind, value):
    """The argument, with arrays that do not own what they show: the caller does, as long as tasks run.

    A view of an owner counts itself there, in the one place that all threads would wait for.
    """
    if isinstance(kind, types.BaseTuple):
        parts = zip(kind, cgutils.unpack_tuple(builder, value))
        return context.make_tuple(builder, kind, [borrowed(context, builder, *part) for part in parts])
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        array.meminfo, array.parent = (ir.Constant(owner.type, None) for owner in (array.meminfo, array.parent))
        return array._getvalue()
    return value


@intrinsic
def kept(typing, body, arguments):
    """(address of a function(task, address of a struct), address of the struct): it calls body(task, *arguments)."""
    signature_of_body = body.get_call_type(typing, (types.int64, *arguments), {})

    def generate(context, builder, signature, values):
        struct = cgutils.alloca_once_value(builder, values[1])
        outer = ir.Function(builder.module, context.call_conv.get_function_type(types.none, SIGNATURE),
                            builder.module.get_unique_name("task"))
        outer.linkage = "internal"
        inside = ir.IRBuilder(outer.append_basic_block())
        task, address = context.call_conv.get_arguments(outer)
        held = borrowed(context, inside, arguments, inside.load(inside.bitcast(address, struct.type)))
        call = context.get_function(body, signature_of_body)
        call(inside, [task, *cgutils.unpack_tuple(inside, held)])
        context.call_conv.return_value(inside, context.get_dummy_value())
        return context.make_tuple(builder, signature.return_type,
                                  [builder.ptrtoint(outer, INDEX), builder.ptrtoint(struct, INDEX)])
    return types.UniTuple(types.int64, 2)(body, arguments), generate


def launch(count, *arguments):
    function, struct = kept(body, arguments)                                                        # noqa: F821
    run(function, count, struct)


@lru_cache(maxsize=None)
def launcher(body: Any) -> Callable:
    """`launch` for this body, as a function of the body's file, beside which Numba keeps it."""
    here = body.py_func.__code__
    code = launch.__code__.replace(co_filename=here.co_filename, co_firstlineno=here.co_firstlineno, co_name=here.co_name)
    function = FunctionType(code, {"kept": kept, "run": run, "body": body, "__name__": body.__module__})
    function.__qualname__ = body.__qualname__
    get_num_threads()                # starts the threads, which a launcher from the cache, itself without a loop, does not
    return stamped(njit(cache=True, nogil=True, no_cfunc_wrapper=True)(function))           # type: ignore[call-overload]


def each_task(body: Any, count: int, arguments: tuple) -> None:
    """body(task, *arguments) for 0 ≤ task < count, divided between all threads; body: an `inner` function without a result."""
    if not config.DISABLE_JIT:                                                           # type: ignore[attr-defined]
        return launcher(body)(count, *arguments)
    for task in range(count):
        body(task, *arguments)
