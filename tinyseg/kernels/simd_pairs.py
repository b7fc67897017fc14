"""Intrinsics on pairs of vectors: two channels of values that alternate in memory, as the columns of an image do at stride 2.

The values of a vector of each are those of two vectors in memory, the *halves*, which may lie apart: a vector of positions may
go over the end of a row.  As in `simd.py`, arrays are one-dimensional and C-contiguous, and nothing checks an index.
"""
from __future__ import annotations

from numba import types
from numba.extending import intrinsic

from .simd import INDEX, Emitter, Vector


@intrinsic
def unzip(typing, evens, at, odds, to, source, start, next_start):
    """evens[at + l], odds[to + l] = the values 2·l and 2·l + 1 of source[start …] and, behind them, source[next_start …]"""
    def generate(context, builder, signature, values):
        emit = Emitter(context, builder, signature, values, Vector(source.dtype))
        low, high = emit.load(4, values[5]), emit.load(4, values[6])
        for odd, (position, place) in enumerate(((0, 1), (2, 3))):
            numbers = emit.lanes([*range(odd, 2 * emit.vector.lanes, 2)])
            emit.store(builder.shuffle_vector(low, high, numbers), position, values[place])
        return context.get_dummy_value()
    return types.void(evens, at, odds, to, source, start, next_start), generate


def zipped_store(Emitter):
    """A function for kernels, which stores as the emitter does:

    Rows r = (c, u, v) of a tile, v < 2, to column 2·j + v, row u of a channel c, where j runs along a vector.

    array[at + (row + r) // 2 // kernel_h · plane + (row + r) // 2 % kernel_h · pitch + halves[first + n, 0 or 1] …]  =
    tile[r, n] and tile[r + 1, n] by turns, + bias[row + r …], for the first `count` rows; `row` and `count` are even.
    """
    @intrinsic(prefer_literal=True)
    def store(typing, tile, rows, array, at, kernel_h, plane, pitch, halves, first, bias, row, count):
        def generate(context, builder, signature, values):
            emit = Emitter(context, builder, signature, values, tile.dtype)
            vectors, cols, width = emit.tile(0), tile.count // rows.literal_value, tile.dtype.lanes
            for r in range(0, rows.literal_value, 2):
                with builder.if_then(builder.icmp_signed("<", INDEX(r), values[11])):
                    pair = builder.udiv(builder.add(values[10], INDEX(r)), INDEX(2))
                    place = builder.add(builder.mul(builder.udiv(pair, values[4]), values[5]),
                                        builder.mul(builder.urem(pair, values[4]), values[6]))
                    even, odd = (emit.broadcast(emit.item(9, values[10], r + k)) for k in range(2))
                    for n in range(cols):
                        a = builder.fadd(vectors[r * cols + n], even)
                        b = builder.fadd(vectors[(r + 1) * cols + n], odd)
                        for half in range(2):
                            numbers = [k for i in range(half * width // 2, (half + 1) * width // 2) for k in (i, width + i)]
                            to = emit.item(7, builder.mul(values[8], INDEX(2)), 2 * n + half)
                            emit.store(builder.shuffle_vector(a, b, emit.lanes(numbers)), 2, values[3], place, to)
            return context.get_dummy_value()
        return types.void(tile, rows, array, at, kernel_h, plane, pitch, halves, first, bias, row, count), generate
    return store


store_zipped = zipped_store(Emitter)
