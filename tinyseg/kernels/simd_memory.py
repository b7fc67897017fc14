"""What a kernel lets the memory know: which lines it will need, and which results will not be needed soon.

A store to a line of memory brings it to the cache first, for the part that is not written to, and drives another one out.  Of a
result larger than the caches near a core, both is in vain: when the next operation reads its first line, that is gone again.
A vector that is a whole line may be *streamed*, past the caches.
"""
from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .inner import inner
from .simd import BITS, Emitter, Vector, lanes, rows_store
from .simd_pairs import zipped_store
from .simd_squares import columns_gatherer

LINE = 64                 # bytes
NEAR = 1 << 21            # bytes: second-level caches do not hold more


@intrinsic(prefer_literal=True)
def prefetch(typing, array, at, writes):
    """Asks for the line of the cache that holds array[at], to write to it or not; there need not be such a value."""
    def generate(context, builder, signature, values):
        emit, number = Emitter(context, builder, signature, values, Vector(array.dtype)), ir.IntType(32)
        pointer = builder.bitcast(emit.pointer(0, values[1]), cgutils.voidptr_t)
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(function, [pointer, number(writes.literal_value), number(3), number(1)])       # all caches; data, not code
        return context.get_dummy_value()
    return types.void(array, at, writes), generate


@inner
def should_stream(array, row):
    """Is it larger than the caches near a core, and are the vectors of its rows whole lines?"""
    return BITS == 8 * LINE and array.nbytes >= NEAR and array.ctypes.data % LINE == 0 and row % lanes(array) == 0


class Streamer(Emitter):
    """Stores vectors past the caches."""

    def store(self, vector, position, *terms):
        pointer = self.builder.bitcast(self.pointer(position, *terms), self.type.as_pointer())
        store = self.builder.store(vector, pointer)
        store.align = BITS // 8
        store.set_metadata("nontemporal", self.builder.module.add_metadata([ir.IntType(32)(1)]))


stream_rows, stream_zipped, stream_columns = rows_store(Streamer), zipped_store(Streamer), columns_gatherer(Streamer)


@intrinsic
def stream_vector(typing, to, at, source, start):
    """to[at …] = source[start …], a vector that is a whole line of `to`."""
    def generate(context, builder, signature, values):
        emit = Streamer(context, builder, signature, values, Vector(to.dtype))
        emit.store(emit.load(2, values[3]), 0, values[1])
        return context.get_dummy_value()
    return types.void(to, at, source, start), generate


@inner
def stream_run(to, at, source):
    """to[at:at + source.size] = source, whole lines."""
    for k in range(0, source.size, lanes(to)):
        stream_vector(to, at + k, source, k)


@intrinsic
def end_streams(typing):
    """All threads see what was streamed before they see what is stored after this."""
    def generate(context, builder, signature, values):
        builder.fence("seq_cst")
        return context.get_dummy_value()
    return types.void(), generate
