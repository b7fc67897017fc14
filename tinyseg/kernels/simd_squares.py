"""Intrinsics on squares: transposition between channels and columns, and M · d · Mᵀ for a small constant matrix M.

An image (C, H, W) has its columns side by side in memory.  An algorithm that does the same to every channel, and a different
thing to every column, wants the channels side by side: `lanes` of them, a vector for each position.  Transposing a square of
lanes x lanes values takes log2(lanes) shuffles for each of its vectors, and no arithmetic.

As in `simd.py`, arrays are one-dimensional and C-contiguous, and nothing checks an index.
"""
from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .simd import INDEX, Emitter, Vector


def transposed(emit, vectors):
    """Lane j of vector i becomes lane i of vector j: blocks of 1, 2, 4, … values that face each other are exchanged."""
    count, block = len(vectors), 1
    while block < count:
        low = emit.lanes([count + k - block if k & block else k for k in range(count)])
        high = emit.lanes([count + k if k & block else k + block for k in range(count)])
        pairs = [(vectors[i & ~block], vectors[i | block], high if i & block else low) for i in range(count)]
        vectors = [emit.builder.shuffle_vector(*pair) for pair in pairs]
        block *= 2
    return vectors


@intrinsic
def spread_columns(typing, to, places, first, at, source, start, pitch, rows):
    """to[at + places[first + j] + i] = source[start + min(i, rows - 1)·pitch + j] for i, j < lanes."""
    def generate(context, builder, signature, values):
        emit = Emitter(context, builder, signature, values, Vector(to.dtype))
        last = builder.sub(values[7], INDEX(1))
        vectors = []
        for i in range(emit.vector.lanes):
            row = builder.select(builder.icmp_signed("<", INDEX(i), last), INDEX(i), last)
            vectors.append(emit.load(4, values[5], builder.mul(row, values[6])))
        for j, vector in enumerate(transposed(emit, vectors)):
            emit.store(vector, 0, values[3], emit.item(1, values[2], j))
        return context.get_dummy_value()
    return types.void(to, places, first, at, source, start, pitch, rows), generate


def columns_gatherer(Emitter):
    """A function for kernels, which stores as the emitter does:

    to[start + i·pitch + j] = source[at + places[first + j] + i] + bias[channel + i] for i < rows, j < lanes.
    """
    @intrinsic
    def gather(typing, to, start, pitch, rows, bias, channel, source, places, first, at):
        def generate(context, builder, signature, values):
            emit = Emitter(context, builder, signature, values, Vector(to.dtype))
            vectors = [emit.load(6, values[9], emit.item(7, values[8], j)) for j in range(emit.vector.lanes)]
            for i, vector in enumerate(transposed(emit, vectors)):
                with builder.if_then(builder.icmp_signed("<", INDEX(i), values[3])):
                    shift = emit.broadcast(emit.item(4, values[5], i))
                    emit.store(builder.fadd(vector, shift), 0, values[1], builder.mul(values[2], INDEX(i)))
            return context.get_dummy_value()
        return types.void(to, start, pitch, rows, bias, channel, source, places, first, at), generate
    return gather


gather_columns = columns_gatherer(Emitter)


def combination(emit, row, vectors):
    """Σ_k row[k] · vectors[k], in as few instructions as there are coefficients other than 0."""
    terms = sorted(((c, v) for c, v in zip(row, vectors) if c != 0), key=lambda term: term[0] != 1)
    total = None
    for coefficient, vector in terms:
        factor = ir.Constant(emit.type, [float(coefficient)] * emit.vector.lanes)
        if total is None:
            total = vector if coefficient == 1 else emit.builder.fmul(factor, vector)
        elif abs(coefficient) == 1:
            total = (emit.builder.fadd if coefficient == 1 else emit.builder.fsub)(total, vector)
        else:
            total = emit.multiply_add(factor, vector, total)
    return total


def two_sided(*factors):
    """A function for kernels: to[at + i·rows + j·cols …] = (M · d · Mᵀ)[i, j], d[i, j] = source[start + i·row + j·col …].

    Each d[i, j] is a vector.  M is the product of `factors`, matrices in lists, so that what its rows share is computed once.
    """
    def multiply(emit, vectors):
        for factor in reversed(factors):
            vectors = [combination(emit, row, vectors) for row in factor]
        return vectors

    size = len(factors[-1][0])

    @intrinsic
    def transform(typing, to, at, rows, cols, source, start, row, col):
        def generate(context, builder, signature, values):
            emit = Emitter(context, builder, signature, values, Vector(to.dtype))
            d = [[emit.load(4, values[5], builder.mul(values[6], INDEX(i)), builder.mul(values[7], INDEX(j)))
                  for i in range(size)] for j in range(size)]
            columns = [multiply(emit, column) for column in d]
            for i, line in enumerate(zip(*columns)):
                for j, vector in enumerate(multiply(emit, line)):
                    emit.store(vector, 0, values[1], builder.mul(values[2], INDEX(i)), builder.mul(values[3], INDEX(j)))
            return context.get_dummy_value()
        return types.void(to, at, *[types.int64] * 2, source, start, *[types.int64] * 2), generate
    return transform


def transpose(*factors):
    """The factors of Mᵀ, as `two_sided` takes them."""
    return [list(map(list, zip(*factor))) for factor in reversed(factors)]
