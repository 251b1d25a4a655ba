"""Instructions for `cpu_kernels` that numba has no words for.

After a change here, touch that file: numba keeps what it has compiled of it until the file itself changes.
"""

from typing import Any

from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

TILE = 4  # outputs at once
STRIDE = 16  # inputs at once, of int8 weights


@intrinsic  # type: ignore[untyped-decorator]
def widen(_: Any, bits: Any) -> Any:
    """A stored weight as fp32: a float32 itself, a uint16 as the bits of an fp16, an int16 as those of a bf16."""

    def generate(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        [value], [kind] = arguments, signature.args
        if kind == types.uint16:
            return builder.fpext(builder.bitcast(value, ir.HalfType()), ir.FloatType())
        if kind == types.int16:
            high = builder.shl(builder.zext(value, ir.IntType(32)), ir.Constant(ir.IntType(32), 16))
            return builder.bitcast(high, ir.FloatType())
        return value

    return types.float32(bits), generate


@intrinsic  # type: ignore[untyped-decorator]
def dot_tile(_: Any, rows: Any, first: Any, second: Any, codes: Any, tile: Any, sums: Any) -> Any:  # noqa: ARG001
    """The dot products of two of `rows` [n, K], int16, with a tile of `pack`ed int8 codes -> sums [TILE, 2], int32.

    Compilers find no use for x86's instruction that multiplies 16 pairs of 16 bits and adds them two by two.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def element(array: int, *indices: Any) -> Any:
            kind = signature.args[array]
            made = context.make_array(kind)(context, builder, arguments[array])
            return cgutils.get_item_pointer(context, builder, kind, made, list(indices))

        def load(pointer: Any, bits: int) -> Any:
            vector = ir.VectorType(ir.IntType(bits), STRIDE)
            value = builder.load(builder.bitcast(pointer, vector.as_pointer()))
            value.align = bits // 8
            return value

        def constant(value: int) -> Any:
            return ir.Constant(ir.IntType(64), value)

        shape = context.make_array(signature.args[0])(context, builder, arguments[0]).shape
        size, zero = builder.extract_value(shape, 1), constant(0)
        ours = [element(0, arguments[row], zero) for row in (1, 2)]
        theirs = element(3, arguments[4], zero)
        width = STRIDE // 2
        empty = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
        totals = [[cgutils.alloca_once_value(builder, empty) for _ in ours] for _ in range(TILE)]
        with cgutils.for_range_slice(builder, zero, size, constant(STRIDE)) as (at, _):
            x = [load(builder.gep(row, [at]), 16) for row in ours]
            for number, by_row in enumerate(totals):
                offset = builder.add(builder.mul(at, constant(TILE)), constant(STRIDE * number))
                w = builder.sext(load(builder.gep(theirs, [offset]), 8), x[0].type)
                for row, total in zip(x, by_row, strict=True):
                    builder.store(builder.add(builder.load(total), _pair_sums(builder, row, w)), total)
        for number, by_row in enumerate(totals):
            for row, total in enumerate(by_row):
                lanes = builder.load(total)
                parts = [builder.extract_element(lanes, ir.Constant(ir.IntType(32), i)) for i in range(width)]
                builder.store(_sum(builder, parts), element(5, constant(number), constant(row)))
        return context.get_dummy_value()

    return types.void(rows, types.intp, types.intp, codes, types.intp, sums), generate


def _pair_sums(builder: Any, x: Any, y: Any) -> Any:
    """x, y: 16 numbers of 16 bits -> the 8 sums of two products, of 32 bits. Which two does not matter."""
    narrow = ir.VectorType(ir.IntType(32), STRIDE // 2)
    if binding.get_host_cpu_features().get("avx2"):
        kind = ir.FunctionType(narrow, [x.type, x.type])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx2.pmadd.wd"), [x, y])
    wide = ir.VectorType(ir.IntType(32), STRIDE)
    products, none = builder.mul(builder.sext(x, wide), builder.sext(y, wide)), ir.Constant(wide, ir.Undefined)
    lanes = [ir.Constant(narrow, list(range(start, start + STRIDE // 2))) for start in (0, STRIDE // 2)]
    return builder.add(*(builder.shuffle_vector(products, none, half) for half in lanes))


def _sum(builder: Any, values: list[Any]) -> Any:
    total = values[0]
    for value in values[1:]:
        total = builder.add(total, value)
    return total
