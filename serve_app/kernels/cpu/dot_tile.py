"""int8 dot products of two rows with one tile of packed weights.

LLVM does not find x86's multiply-and-add instructions in a loop: vpdpbusd (AVX-512 VNNI) adds four
products of 8 bits to each lane, pmaddwd (AVX2) two products of 16 bits. Without either, the same
sums are computed by portable vector code.
"""

from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from serve_app.kernels.cpu.packing import STRIDE, TILE

_FEATURES = binding.get_host_cpu_features()
_VNNI = bool(_FEATURES.get("avx512vnni"))
ROW_TYPE = np.int8 if _VNNI else np.int16  # of a quantized row; pmaddwd takes 16 bits
_INT32 = ir.IntType(32)
_INT64 = ir.IntType(64)


@intrinsic  # type: ignore[untyped-decorator]
def dot_tile(
    _: Any, rows: Any, first: Any, second: Any, qweight: Any, tile: Any,  # noqa: ARG001
) -> Any:  # fmt: skip
    """Dot products of two rows with tile `tile` of `qweight` (see packing.py).

    rows [n, K], ROW_TYPE, K a multiple of STRIDE; first, second: indices of the two rows
    -> 2 * TILE int32: the sums of the first row, then those of the second.
    """
    sums = types.UniTuple(types.int32, 2 * TILE)  # type: ignore[attr-defined]
    return sums(rows, types.intp, types.intp, qweight, types.intp), _generate


def _generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Emit the loop over K: TILE accumulators for each of the two rows."""
    bits = signature.args[0].dtype.bitwidth
    lanes = STRIDE if bits == 8 else 16
    width = STRIDE // 4 if bits == 8 else 8
    add_products = _add_fours if bits == 8 else _add_pairs
    zero = _int64(0)
    shape = context.make_array(signature.args[0])(context, builder, arguments[0]).shape
    size = builder.extract_value(shape, 1)
    rows = [
        _element(context, builder, signature.args[0], arguments[0], arguments[row], zero)
        for row in (1, 2)
    ]
    weights = _element(context, builder, signature.args[3], arguments[3], arguments[4], zero)
    empty = ir.Constant(ir.VectorType(_INT32, width), [0] * width)
    totals = [[cgutils.alloca_once_value(builder, empty) for _ in rows] for _ in range(TILE)]
    with cgutils.for_range_slice(builder, zero, size, _int64(STRIDE)) as (at, _):
        for part in range(0, STRIDE, lanes):
            start = builder.add(at, _int64(part))
            x = [_load(builder, builder.gep(row, [start]), lanes, bits) for row in rows]
            for output, by_row in enumerate(totals):
                offset = builder.add(builder.mul(at, _int64(TILE)), _int64(STRIDE * output + part))
                w = _load(builder, builder.gep(weights, [offset]), lanes, 8)
                for row, total in zip(x, by_row, strict=True):
                    builder.store(add_products(builder, builder.load(total), w, row), total)
    sums = [_reduce(builder, by_row[row]) for row in range(2) for by_row in totals]
    return context.make_tuple(builder, signature.return_type, sums)


def _int64(value: int) -> Any:
    return ir.Constant(_INT64, value)


def _element(context: Any, builder: Any, kind: Any, array: Any, *indices: Any) -> Any:
    """Pointer to an element of `array`."""
    made = context.make_array(kind)(context, builder, array)
    return cgutils.get_item_pointer(context, builder, kind, made, list(indices))


def _load(builder: Any, pointer: Any, lanes: int, bits: int) -> Any:
    """Unaligned load of a vector of `lanes` integers."""
    vector = ir.VectorType(ir.IntType(bits), lanes)
    value = builder.load(builder.bitcast(pointer, vector.as_pointer()))
    value.align = bits // 8
    return value


def _reduce(builder: Any, pointer: Any) -> Any:
    """Sum over the lanes of the int32 vector at `pointer`."""
    vector = builder.load(pointer)
    kind = ir.FunctionType(_INT32, [vector.type])
    name = f"llvm.vector.reduce.add.v{vector.type.count}i32"
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [vector])


def _add_fours(builder: Any, total: Any, w: Any, x: Any) -> Any:
    """total [16] + sums of four products: w [64] is uint8, x [64] int8."""
    kind = ir.FunctionType(total.type, [total.type, w.type, x.type])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.vpdpbusd.512")
    return builder.call(function, [total, w, x])


def _add_pairs(builder: Any, total: Any, w: Any, x: Any) -> Any:
    """total [8] + sums of two products: w [16] is uint8, x [16] int16.

    Any pairing gives the same total.
    """
    w = builder.zext(w, x.type)
    if _FEATURES.get("avx2"):
        kind = ir.FunctionType(total.type, [x.type, x.type])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx2.pmadd.wd")
        return builder.add(total, builder.call(function, [w, x]))
    return builder.add(total, _add_halves(builder, w, x))


def _add_halves(builder: Any, w: Any, x: Any) -> Any:
    """Products of w [16] and x [16], both int16: the first eight plus the last eight, int32 [8]."""
    wide = ir.VectorType(_INT32, 16)
    products = builder.mul(builder.sext(w, wide), builder.sext(x, wide))
    unused = ir.Constant(wide, ir.Undefined)
    half = ir.VectorType(_INT32, 8)
    low = builder.shuffle_vector(products, unused, ir.Constant(half, list(range(8))))
    high = builder.shuffle_vector(products, unused, ir.Constant(half, list(range(8, 16))))
    return builder.add(low, high)
