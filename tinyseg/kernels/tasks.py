"""A parallel loop over tasks whose body is compiled once.

For `for task in prange(count): body(task, …)` Numba makes five functions, one around the other: the body, the loop, two that
translate between ways of calling, and the one that Python calls.  Each goes through the optimizer with all that it contains,
and that is most of the time of a first run.  Here the loop is a function of its own, `run`.  All kernels share it, and it
calls what it is given the address of:

    each_task(body, count, (a, b, …))               # body(task, a, b, …) for 0 ≤ task < count, divided between all threads

`launch`, which is compiled for each combination of types, keeps the arguments in a struct, and adds a function that takes
them out of it again and calls the body.  Since an address does not say what it expects, `launch` refuses one that was
compiled for other types than it is called with.

As with prange, tasks may not depend on each other, and each is the only one to write what it writes.
"""
from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import get_num_threads, njit, prange, typeof, types
from numba.core import cgutils, config
from numba.extending import intrinsic

INDEX = ir.IntType(64)
SIGNATURE = [types.int64, types.voidptr]              # of what `run` calls: the task, and where its arguments are

latest: dict[Callable, tuple[int, int]] = {}          # the types that a body was called with last, and its address for them
addresses: dict[tuple[Callable, int], int] = {}       # of all bodies, for all types that they were called with


def emit_call(context, builder, address, argument_types, values):
    """Calls the function at an address, which returns nothing; what it raises is raised."""
    function = builder.inttoptr(address, context.call_conv.get_function_type(types.none, argument_types).as_pointer())
    status, _ = context.call_conv.call_function(builder, function, types.none, argument_types, values)
    with cgutils.if_unlikely(builder, status.is_error):
        context.call_conv.return_status_propagate(builder, status)


@intrinsic
def call_address(typing, address, task, arguments):
    def generate(context, builder, signature, values):
        emit_call(context, builder, values[0], SIGNATURE, [values[1], builder.inttoptr(values[2], cgutils.voidptr_t)])
        return context.get_dummy_value()
    return types.void(types.int64, types.int64, types.int64), generate


@njit(cache=True, parallel=True, nogil=True)
def run(address, count, arguments):
    for task in prange(count):
        call_address(address, task, arguments)


@intrinsic
def types_of(typing, arguments):
    """A number that stands for their types."""
    number = zlib.crc32(str(arguments).encode())
    return types.int64(arguments), lambda *_: INDEX(number)


@intrinsic
def kept(typing, body, arguments):
    """(address of a function(task, address of a struct), address of the struct): it calls body(task, *arguments)."""
    argument_types = [types.int64, *arguments]

    def generate(context, builder, signature, values):
        struct = cgutils.alloca_once_value(builder, cgutils.pack_struct(builder, values))
        outer = ir.Function(builder.module, context.call_conv.get_function_type(types.none, SIGNATURE),
                            builder.module.get_unique_name("task"))
        outer.linkage = "internal"
        inside = ir.IRBuilder(outer.append_basic_block())
        task, address = context.call_conv.get_arguments(outer)
        address_of_body, held = cgutils.unpack_tuple(inside, inside.load(inside.bitcast(address, struct.type)))
        emit_call(context, inside, address_of_body, argument_types, [task, *cgutils.unpack_tuple(inside, held)])
        context.call_conv.return_value(inside, context.get_dummy_value())
        return context.make_tuple(builder, signature.return_type,
                                  [builder.ptrtoint(outer, INDEX), builder.ptrtoint(struct, INDEX)])
    return types.UniTuple(types.int64, 2)(types.int64, arguments), generate


@njit(cache=True, nogil=True)
def launch(expected, body, count, arguments):
    """The number of the arguments' types; if it is not the expected one, nothing is done."""
    found = types_of(arguments)
    if found == expected:
        function, struct = kept(body, arguments)
        run(function, count, struct)
    return found


def address_of(body: Any, arguments: tuple) -> int:
    """Where the code of an njit function is, compiled for a task and these arguments."""
    signature = (types.int64, *map(typeof, arguments))
    body.compile(signature)
    compiled = body.overloads[signature]
    return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)


def each_task(body: Any, count: int, arguments: tuple) -> None:
    """body(task, *arguments) for 0 ≤ task < count, divided between all threads; `body` is an njit function without a result."""
    if config.DISABLE_JIT:                                                               # type: ignore[attr-defined]
        for task in range(count):
            body(task, *arguments)
        return
    if not latest:
        get_num_threads()              # starts the threads, which `launch` from the cache, itself without a loop, does not
    expected, address = latest.get(body, (0, 0))
    found = launch(expected, address, count, arguments)
    if found != expected:
        if (body, found) not in addresses:
            addresses[body, found] = address_of(body, arguments)
        latest[body] = found, addresses[body, found]
        launch(*latest[body], count, arguments)
