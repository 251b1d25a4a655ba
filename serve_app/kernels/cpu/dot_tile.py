"""int8 dot products of a few rows with one tile of packed weights.

LLVM does not find x86's multiply-and-add instructions in a loop: see `_add_products`.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from serve_app.kernels.cpu.packing import STRIDE, TILE
from serve_app.kernels.cpu.target import AVX2, DOT_PRODUCT
from serve_app.kernels.cpu.vectors import (
    INT8,
    INT16,
    INT32,
    call,
    constants,
    element,
    halves,
    int64,
    load,
    prefetch,
    sum_lanes,
)

AHEAD = 4096  # bytes; the CPU's own prefetcher stops at the end of a page


@intrinsic  # type: ignore[untyped-decorator]
def dot_tile(
    _: Any, rows: Any, first: Any, count: Any, qweight: Any, tile: Any, sums: Any, at: Any,  # noqa: ARG001
) -> Any:  # fmt: skip
    """Dot products of rows `first` to `first + count` with tile `tile` of `qweight` (see packing.py).

    rows [n, K], int8, K a multiple of STRIDE; count: 1, 2 or DOT_PRODUCT.rows;
    sums [n, S], int32: columns `at` to `at + TILE` are written.
    """
    index = types.intp
    return types.void(rows, index, index, qweight, index, sums, index), _generate


def _generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Emit one loop over K for each possible `count`."""
    done = builder.append_basic_block("done")
    select = builder.switch(arguments[2], done)
    for count in sorted({1, 2, DOT_PRODUCT.rows}):
        block = builder.append_basic_block(f"rows{count}")
        select.add_case(int64(count), block)
        builder.position_at_end(block)
        _dot(context, builder, signature, arguments, count)
        builder.branch(done)
    builder.position_at_end(done)
    return context.get_dummy_value()


def _dot(context: Any, builder: Any, signature: Any, arguments: Any, count: int) -> None:
    """Emit the loop over K: TILE accumulators for each of `count` rows."""
    rows_type, _, _, qweight_type, _, sums_type, _ = signature.args
    rows, first, _, qweight, tile, sums, at = arguments
    zero = int64(0)
    size = builder.extract_value(context.make_array(rows_type)(context, builder, rows).shape, 1)
    numbers = [builder.add(first, int64(row)) for row in range(count)]
    starts = [element(context, builder, rows_type, rows, row, zero) for row in numbers]
    weights = element(context, builder, qweight_type, qweight, tile, zero)
    empty = constants(0, INT32, DOT_PRODUCT.lanes // 4)
    totals = [[cgutils.alloca_once_value(builder, empty) for _ in range(TILE)] for _ in numbers]
    with cgutils.for_range_slice(builder, zero, size, int64(STRIDE)) as (k, _):
        stride = builder.gep(weights, [builder.mul(k, int64(TILE))])
        _add_stride(builder, stride, [builder.gep(start, [k]) for start in starts], totals)
    for row, by_output in zip(numbers, totals, strict=True):
        vector = sum_lanes(builder, [builder.load(total) for total in by_output])
        place = element(context, builder, sums_type, sums, row, at)
        builder.store(vector, builder.bitcast(place, vector.type.as_pointer()), align=4)


def _add_stride(builder: Any, weights: Any, rows: list[Any], totals: list[list[Any]]) -> None:
    """Add the products of STRIDE inputs, and prefetch the weights that come AHEAD bytes later.

    Loads of whole cache lines keep memory busy without: there, prefetching costs a tenth.
    """
    lanes = DOT_PRODUCT.lanes
    if lanes < STRIDE:
        for output in range(TILE):
            prefetch(builder, builder.gep(weights, [int64(AHEAD + STRIDE * output)]))
    for part in range(0, STRIDE, lanes):
        x = [load(builder, builder.gep(row, [int64(part)]), lanes, INT8, 1) for row in rows]
        for output in range(TILE):
            place = builder.gep(weights, [int64(STRIDE * output + part)])
            w = load(builder, place, lanes, INT8, 1)
            for row, by_output in zip(x, totals, strict=True):
                total = builder.load(by_output[output])
                builder.store(_add_products(builder, total, w, row), by_output[output])


def _add_products(builder: Any, total: Any, w: Any, x: Any) -> Any:
    """total + sums of four products: w is int8 plus OFFSET, x int8, neither is -128.

    VNNI has one instruction. In AVX2, vpmaddubsw takes one unsigned operand, so that the sign of x
    moves to the weight, as in llama.cpp's `mul_sum_i8_pairs`. Its sums of two products do not
    saturate: 2 * 127 * 127 < 2**15.
    """
    if DOT_PRODUCT.unsigned:
        name = f"llvm.x86.avx512.vpdpbusd.{8 * DOT_PRODUCT.lanes}"
        return call(builder, name, total.type, total, w, x)
    if DOT_PRODUCT != AVX2:
        return builder.add(total, _add_quarters(builder, w, x))
    pairs = ir.VectorType(INT16, DOT_PRODUCT.lanes // 2)
    signed = call(builder, "llvm.x86.avx2.psign.b", w.type, w, x)
    positive = call(builder, "llvm.abs.v32i8", x.type, x, ir.Constant(ir.IntType(1), 1))
    twos = call(builder, "llvm.x86.avx2.pmadd.ub.sw", pairs, positive, signed)
    ones = constants(1, INT16, pairs.count)
    return builder.add(total, call(builder, "llvm.x86.avx2.pmadd.wd", total.type, twos, ones))


def _add_quarters(builder: Any, w: Any, x: Any) -> Any:
    """Products of w and x, four of which are added: any four give the same total in the end."""
    wide = ir.VectorType(INT16, DOT_PRODUCT.lanes)
    products = builder.mul(builder.sext(w, wide), builder.sext(x, wide))
    products = builder.sext(products, ir.VectorType(INT32, DOT_PRODUCT.lanes))
    low, high = halves(builder, products)
    return builder.add(*halves(builder, builder.add(low, high)))
