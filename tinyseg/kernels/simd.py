"""Vectors and register tiles for kernels: what the CPU's own instructions do, as a type and a few functions of Numba.

A CPU multiplies and adds whole vectors (16 values of float32 on AVX-512, 8 on AVX2, 4 elsewhere), and is fast where what it
works on stays in its registers.  The best it can do for a matrix product is a *tile* of R x N accumulators, each a vector:

    tile[r, n] += a[r] · x[n]          r < R, n < N

R + N values loaded pay for R·N multiplications.  R = 4 and N = 6 fill the 32 registers of AVX-512 (24 accumulators, 6 vectors
x, 1 value a); with 16 registers N = 3.  A tile is a tuple of R·N vectors: LLVM keeps it in registers throughout a loop.

All arrays here are one-dimensional and C-contiguous, and indices are not checked: these functions are for kernels alone.
"""
from __future__ import annotations

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.core.registry import cpu_target
from numba.extending import intrinsic, models, register_model

# Python has no vectors, and nothing here checks bounds: then `backends.py` chooses kernels without them.
COMPILED = not (config.DISABLE_JIT or config.BOUNDSCHECK)         # type: ignore[attr-defined]
INDEX = ir.IntType(64)


def registers() -> tuple[int, int]:
    """Bits of a vector register and how many there are, for the CPU that Numba compiles for.

    The compiler itself is asked (names of CPUs and their features are legion): what would it make of 16 multiplications?
    """
    triple, cpu, features = cpu_target.target_context.codegen().magic_tuple()
    vector = "<16 x float>"
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features, opt=1)
    assembly = machine.emit_assembly(llvm.parse_assembly(
        f"define {vector} @f({vector} %a) {{ %b = fmul {vector} %a, %a ret {vector} %b }}"))
    if "zmm" in assembly:
        return 512, 32
    if "ymm" in assembly:
        return 256, 16
    return 128, 32 if triple.startswith("aarch64") else 16


BITS, REGISTERS = registers() if COMPILED else (128, 16)
ROWS = 4                                          # R of the tile
COLS = 6 if REGISTERS == 32 else 3                # N of the tile
TILE = ROWS * COLS


def lanes_of(array) -> int:
    """How many values of a NumPy array a vector holds; within kernels, `lanes` says it."""
    return BITS // 8 // array.itemsize


class Vector(types.Type):
    """As many values of `dtype` as one register holds."""

    def __init__(self, dtype: types.Float):
        self.dtype, self.lanes = dtype, BITS // dtype.bitwidth
        super().__init__(name=f"Vector({dtype}, {self.lanes})")

    def tile(self, size: int) -> types.UniTuple:
        return types.UniTuple(self, size)


def llvm_vector(vector: Vector) -> ir.VectorType:
    return ir.VectorType(ir.FloatType() if vector.dtype == types.float32 else ir.DoubleType(), vector.lanes)


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector):
        super().__init__(manager, vector, llvm_vector(vector))


class Emitter:
    """Writes the instructions of one intrinsic; arguments of the intrinsic are attributes by their position: `value(0)`."""

    def __init__(self, context, builder, signature, values, vector):
        self.context, self.builder, self.signature, self.values = context, builder, signature, values
        self.vector, self.type = vector, llvm_vector(vector)

    def tile(self, position):
        return cgutils.unpack_tuple(self.builder, self.values[position])

    def result(self, vectors):
        return self.context.make_tuple(self.builder, self.vector.tile(len(vectors)), vectors)

    def pointer(self, position, *terms):
        """To array[sum of terms], which are IR values or Python's own integers; the array is the argument at `position`."""
        array = self.context.make_array(self.signature.args[position])(self.context, self.builder, self.values[position])
        pointer = array.data
        for term in terms:
            pointer = self.builder.gep(pointer, [INDEX(term) if isinstance(term, int) else term])
        return pointer

    def item(self, position, *terms):
        return self.builder.load(self.pointer(position, *terms))

    def load(self, position, *terms):
        pointer = self.pointer(position, *terms)
        vector = self.builder.load(self.builder.bitcast(pointer, self.type.as_pointer()))
        vector.align = self.vector.dtype.bitwidth // 8                # that of a value: a vector may begin anywhere
        return vector

    def store(self, vector, position, *terms):
        pointer = self.builder.bitcast(self.pointer(position, *terms), self.type.as_pointer())
        self.builder.store(vector, pointer).align = self.vector.dtype.bitwidth // 8

    def broadcast(self, value):
        undefined = ir.Constant(self.type, ir.Undefined)
        first = self.builder.insert_element(undefined, value, ir.IntType(32)(0))
        return self.builder.shuffle_vector(first, undefined, self.lanes([0] * self.vector.lanes))

    def multiply_add(self, a, b, c):
        """a·b + c, in one instruction where there is one (llvm.fma would be a slow library call where there is none)."""
        name = f"llvm.fmuladd.v{self.vector.lanes}f{self.vector.dtype.bitwidth}"
        function = cgutils.get_or_insert_function(self.builder.module, ir.FunctionType(self.type, [self.type] * 3), name)
        return self.builder.call(function, [a, b, c])

    def lanes(self, numbers):
        return ir.Constant(ir.VectorType(ir.IntType(32), len(numbers)), numbers)

    def sums(self, vectors):
        """One vector whose lane k is the sum over all lanes of vectors[k] (0 beyond the last): halves are added in pairs."""
        half = self.vector.lanes
        vectors = [*vectors, *[ir.Constant(self.type, None)] * (half - len(vectors))]
        while len(vectors) > 1:
            whole, half = half, half // 2
            starts = range(0, 2 * self.vector.lanes, whole)
            low, high = (self.lanes([s + i for s in starts for i in range(part, part + half)]) for part in (0, half))
            vectors = [self.builder.fadd(self.builder.shuffle_vector(a, b, low), self.builder.shuffle_vector(a, b, high))
                       for a, b in zip(vectors[::2], vectors[1::2])]
        return vectors[0]


@intrinsic
def lanes(typing, array):
    """How many values of the array's dtype a vector holds."""
    def generate(context, builder, signature, values):
        return INDEX(BITS // array.dtype.bitwidth)
    return types.int64(array), generate


@intrinsic(prefer_literal=True)
def zero_tile(typing, array, size):
    """`size` vectors of zeros, of the array's dtype."""
    tile = Vector(array.dtype).tile(size.literal_value)

    def generate(context, builder, signature, values):
        emit = Emitter(context, builder, signature, values, tile.dtype)
        return emit.result([ir.Constant(emit.type, None)] * tile.count)
    return tile(array, size), generate


@intrinsic(prefer_literal=True)
def add_products(typing, tile, rows, a, at, x, starts, first, offset):
    """tile[r, n] += a[at + r] · x[starts[first + n] + offset …]"""
    def generate(context, builder, signature, values):
        emit = Emitter(context, builder, signature, values, tile.dtype)
        total, cols = emit.tile(0), tile.count // rows.literal_value
        vectors = [emit.load(4, emit.item(5, values[6], n), values[7]) for n in range(cols)]
        for r in range(rows.literal_value):
            value = emit.broadcast(emit.item(2, values[3], r))
            for n in range(cols):
                total[r * cols + n] = emit.multiply_add(value, vectors[n], total[r * cols + n])
        return emit.result(total)
    return tile(tile, rows, a, at, x, starts, first, offset), generate


@intrinsic(prefer_literal=True)
def add_lane_products(typing, tile, rows, a, at, x, starts, first, offset):
    """tile[r, n] += a[at + r·lanes …] · x[starts[first + n] + offset …], lane by lane; `add_sums` adds the lanes up."""
    def generate(context, builder, signature, values):
        emit = Emitter(context, builder, signature, values, tile.dtype)
        total, cols = emit.tile(0), tile.count // rows.literal_value
        left = [emit.load(2, values[3], r * tile.dtype.lanes) for r in range(rows.literal_value)]
        for n in range(cols):
            right = emit.load(4, emit.item(5, values[6], n), values[7])
            for r in range(rows.literal_value):
                total[r * cols + n] = emit.multiply_add(left[r], right, total[r * cols + n])
        return emit.result(total)
    return tile(tile, rows, a, at, x, starts, first, offset), generate


@intrinsic(prefer_literal=True)
def add_outer(typing, tile, rows, a, at, step, x, start, pitch):
    """tile[r, n] += a[at + r·step] · x[start + n·pitch …]"""
    def generate(context, builder, signature, values):
        emit = Emitter(context, builder, signature, values, tile.dtype)
        total, cols = emit.tile(0), tile.count // rows.literal_value
        vectors = [emit.load(5, values[6], builder.mul(values[7], INDEX(n))) for n in range(cols)]
        for r in range(rows.literal_value):
            value = emit.broadcast(emit.item(2, values[3], builder.mul(values[4], INDEX(r))))
            for n in range(cols):
                total[r * cols + n] = emit.multiply_add(value, vectors[n], total[r * cols + n])
        return emit.result(total)
    return tile(tile, rows, a, at, types.int64, x, start, pitch), generate


@intrinsic(prefer_literal=True)
def add_inner(typing, tile, rows, a, at, step, x, start, pitch):
    """tile[r, n] += a[at + r·step …] · x[start + n·pitch …], lane by lane; `add_sums` adds the lanes up."""
    def generate(context, builder, signature, values):
        emit = Emitter(context, builder, signature, values, tile.dtype)
        total, cols = emit.tile(0), tile.count // rows.literal_value
        vectors = [emit.load(5, values[6], builder.mul(values[7], INDEX(n))) for n in range(cols)]
        for r in range(rows.literal_value):
            left = emit.load(2, values[3], builder.mul(values[4], INDEX(r)))
            for n in range(cols):
                total[r * cols + n] = emit.multiply_add(left, vectors[n], total[r * cols + n])
        return emit.result(total)
    return tile(tile, rows, a, at, step, x, start, pitch), generate


@intrinsic(prefer_literal=True)
def add_picked(typing, tile, rows, a, starts, first, offset, x, at):
    """tile[r, n] += a[starts[first + r] + offset] · x[at + n·lanes …]"""
    def generate(context, builder, signature, values):
        emit = Emitter(context, builder, signature, values, tile.dtype)
        total, cols = emit.tile(0), tile.count // rows.literal_value
        vectors = [emit.load(6, values[7], n * tile.dtype.lanes) for n in range(cols)]
        for r in range(rows.literal_value):
            value = emit.broadcast(emit.item(2, emit.item(3, values[4], r), values[5]))
            for n in range(cols):
                total[r * cols + n] = emit.multiply_add(value, vectors[n], total[r * cols + n])
        return emit.result(total)
    return tile(tile, rows, a, starts, first, offset, x, at), generate


@intrinsic
def add_tile(typing, tile, array, at):
    """tile[k] + array[at + k·lanes …]"""
    def generate(context, builder, signature, values):
        emit = Emitter(context, builder, signature, values, tile.dtype)
        return emit.result([builder.fadd(vector, emit.load(1, values[2], k * tile.dtype.lanes))
                            for k, vector in enumerate(emit.tile(0))])
    return tile(tile, array, at), generate


@intrinsic
def store_tile(typing, tile, array, at):
    """array[at + k·lanes …] = tile[k]"""
    def generate(context, builder, signature, values):
        emit = Emitter(context, builder, signature, values, tile.dtype)
        for k, vector in enumerate(emit.tile(0)):
            emit.store(vector, 1, values[2], k * tile.dtype.lanes)
        return context.get_dummy_value()
    return types.void(tile, array, at), generate


def rows_store(Emitter):
    """A function for kernels, which stores as the emitter does, the first `count` rows of a tile:

    array[at + r·pitch + places[first + n] …] = tile[r, n] + bias[channel + r]
    """
    @intrinsic(prefer_literal=True)
    def store(typing, tile, rows, array, at, pitch, places, first, bias, channel, count):
        def generate(context, builder, signature, values):
            emit = Emitter(context, builder, signature, values, tile.dtype)
            vectors, cols = emit.tile(0), tile.count // rows.literal_value
            for r in range(rows.literal_value):
                with builder.if_then(builder.icmp_signed("<", INDEX(r), values[9])):
                    shift = emit.broadcast(emit.item(7, values[8], r))
                    row = builder.mul(values[4], INDEX(r))
                    for n in range(cols):
                        place = emit.item(5, values[6], n)
                        emit.store(builder.fadd(vectors[r * cols + n], shift), 2, values[3], row, place)
            return context.get_dummy_value()
        return types.void(tile, rows, array, at, pitch, places, first, bias, channel, count), generate
    return store


store_rows = rows_store(Emitter)


@intrinsic
def add_sums(typing, tile, array, at):
    """array[at + k] += the sum of tile[k]'s lanes; the array has room for a whole number of vectors."""
    def generate(context, builder, signature, values):
        emit = Emitter(context, builder, signature, values, tile.dtype)
        vectors, width = emit.tile(0), tile.dtype.lanes
        for k in range(0, len(vectors), width):
            emit.store(builder.fadd(emit.load(1, values[2], k), emit.sums(vectors[k:k + width])), 1, values[2], k)
        return context.get_dummy_value()
    return types.void(tile, array, at), generate


@intrinsic
def copy_run(typing, to, at, source, start, count):
    """to[at:at + count] = source[start:start + count], where count may not be negative."""
    def generate(context, builder, signature, values):
        ends = []
        for position in (0, 2):
            array = context.make_array(signature.args[position])(context, builder, values[position])
            ends.append(builder.gep(array.data, [values[position + 1]]))
        cgutils.raw_memcpy(builder, *ends, values[4], INDEX(to.dtype.bitwidth // 8))
        return context.get_dummy_value()
    return types.void(to, at, source, start, count), generate
