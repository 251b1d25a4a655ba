"""Instructions for `cpu_kernels` that numba has no words for.

After a change here, remove `__pycache__`: numba keeps what it has compiled until `cpu_kernels` itself changes.
"""

from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

TILE = 4  # outputs at once
STRIDE = 64  # inputs at once, of int8 weights
OFFSET = 128  # of a stored int8 code: the fastest instruction wants one of its two sides unsigned
_FEATURES = binding.get_host_cpu_features()
_VNNI = bool(_FEATURES.get("avx512vnni"))
ROW_TYPE = np.int8 if _VNNI else np.int16  # of the inputs' codes; the narrower, the fewer loads


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
def from_bits(_: Any, bits: Any) -> Any:  # noqa: ARG001
    """The float32 whose bits an int32 has."""

    def generate(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@intrinsic  # type: ignore[untyped-decorator]
def dot_tile(_: Any, rows: Any, first: Any, second: Any, codes: Any, tile: Any) -> Any:  # noqa: ARG001
    """The dot products of two of `rows` [n, K], ROW_TYPE, with a tile of `pack`ed codes: TILE of the first row, then
    TILE of the second, int32.

    Compilers find no use for x86's instructions that multiply pairs (or fours) of numbers and add them up.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def element(array: int, *indices: Any) -> Any:
            kind = signature.args[array]
            made = context.make_array(kind)(context, builder, arguments[array])
            return cgutils.get_item_pointer(context, builder, kind, made, list(indices))

        def load(pointer: Any, bits: int) -> Any:
            vector = ir.VectorType(ir.IntType(bits), lanes)
            value = builder.load(builder.bitcast(pointer, vector.as_pointer()))
            value.align = bits // 8
            return value

        def constant(value: int) -> Any:
            return ir.Constant(ir.IntType(64), value)

        bits = signature.args[0].dtype.bitwidth
        lanes, width = (STRIDE, STRIDE // 4) if bits == 8 else (16, 8)
        add_products = _add_fours if bits == 8 else _add_pairs
        shape = context.make_array(signature.args[0])(context, builder, arguments[0]).shape
        size, zero = builder.extract_value(shape, 1), constant(0)
        ours = [element(0, arguments[row], zero) for row in (1, 2)]
        theirs = element(3, arguments[4], zero)
        empty = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
        totals = [[cgutils.alloca_once_value(builder, empty) for _ in ours] for _ in range(TILE)]
        with cgutils.for_range_slice(builder, zero, size, constant(STRIDE)) as (at, _):
            for part in range(0, STRIDE, lanes):
                x = [
                    load(builder.gep(row, [builder.add(at, constant(part))]), bits) for row in ours
                ]
                for number, by_row in enumerate(totals):
                    offset = builder.add(
                        builder.mul(at, constant(TILE)), constant(STRIDE * number + part)
                    )
                    w = load(builder.gep(theirs, [offset]), 8)
                    for row, total in zip(x, by_row, strict=True):
                        builder.store(add_products(builder, builder.load(total), w, row), total)
        kind = ir.FunctionType(ir.IntType(32), [empty.type])
        add_up = cgutils.get_or_insert_function(
            builder.module, kind, f"llvm.vector.reduce.add.v{width}i32"
        )
        sums = [
            builder.call(add_up, [builder.load(by_row[row])])
            for row in range(2)
            for by_row in totals
        ]
        return context.make_tuple(builder, signature.return_type, sums)

    sums = types.UniTuple(types.int32, 2 * TILE)  # type: ignore[attr-defined]
    return sums(rows, types.intp, types.intp, codes, types.intp), generate


def _add_fours(builder: Any, total: Any, w: Any, x: Any) -> Any:
    """total [16] + the sums of four products of w [64], unsigned, and x [64], signed, 8 bits each."""
    kind = ir.FunctionType(total.type, [total.type, w.type, x.type])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.vpdpbusd.512")
    return builder.call(function, [total, w, x])


def _add_pairs(builder: Any, total: Any, w: Any, x: Any) -> Any:
    """total [8] + the sums of two products of w [16], 8 bits, unsigned, and x [16], 16 bits. Which two does not
    matter."""
    w = builder.zext(w, x.type)
    if _FEATURES.get("avx2"):
        kind = ir.FunctionType(total.type, [x.type, x.type])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx2.pmadd.wd")
        return builder.add(total, builder.call(function, [w, x]))
    wide = ir.VectorType(ir.IntType(32), 16)
    products, none = (
        builder.mul(builder.sext(w, wide), builder.sext(x, wide)),
        ir.Constant(wide, ir.Undefined),
    )
    halves = [ir.Constant(total.type, list(range(start, start + 8))) for start in (0, 8)]
    return builder.add(
        total, builder.add(*(builder.shuffle_vector(products, none, half) for half in halves))
    )
