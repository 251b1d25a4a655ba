"""Matrix products in fp32 of many rows, tile by tile: the accumulators of a tile stay in registers.

LLVM keeps no tile in registers when it vectorizes loops, and reaches a fifth of this speed. A tile
is TILE_ROWS rows by PANEL outputs: 24 accumulators of AVX-512's 32 registers, 12 of AVX2's 16.
Weights [N, K] are packed in panels of PANEL outputs (see `pack_panels`), N a multiple of PANEL.
An output is one chain of fused multiply-adds over the inputs in their order, whichever tile it is in.
"""

from typing import Any

import numpy as np
from numba.core import types
from numba.extending import intrinsic

from serve_app.kernels.cpu.compilation import SERIAL, Floats
from serve_app.kernels.cpu.float_vectors import (
    LANES,
    Loop,
    broadcast,
    element,
    int64,
    load,
    multiply_add,
    store,
)
from serve_app.kernels.cpu.target import FEATURES

_WIDE = bool(FEATURES.get("avx512f"))
TILE_ROWS = 12 if _WIDE else 6
PANEL = 2 * LANES if _WIDE else LANES


def pack_panels(weight: Floats) -> Floats:
    """weight [N, K] -> [N / PANEL, K, PANEL], flat: the order in which tiles read it"""
    n, size = weight.shape
    by_panel = weight.reshape(n // PANEL, PANEL, size).swapaxes(1, 2)
    return np.ascontiguousarray(by_panel).reshape(-1)


@SERIAL  # type: ignore[untyped-decorator]
def multiply_rows(
    x: Floats, x_at: int, x_step: int, rows: int, depth: int, weight: Floats, weight_at: int,
    start: Floats, start_at: int, start_step: int, out: Floats, out_at: int, out_step: int,
) -> None:  # fmt: skip
    """Multiply `rows` rows by one panel and add `start`. All arrays are flat.

    Row i of x is the `depth` values from x_at + i * x_step on, so that rows may overlap; row i of
    start and of out are the PANEL values from start_at + i * start_step and out_at + i * out_step.
    """
    tiles = -(-rows // TILE_ROWS)
    first = 0
    for tile in range(
        tiles
    ):  # of equal height, but for a row: a low tile takes as long as a high one
        last = rows * (tile + 1) // tiles
        _multiply_tile(
            last - first, x, x_at + first * x_step, x_step, depth, weight, weight_at,
            start, start_at + first * start_step, start_step,
            out, out_at + first * out_step, out_step,
        )  # fmt: skip
        first = last


@intrinsic  # type: ignore[untyped-decorator]
def _multiply_tile(
    _: Any, rows: Any, x: Any, x_at: Any, x_step: Any, depth: Any, weight: Any, weight_at: Any,  # noqa: ARG001
    start: Any, start_at: Any, start_step: Any, out: Any, out_at: Any, out_step: Any,  # noqa: ARG001
) -> Any:  # fmt: skip
    """Multiply a tile of at most TILE_ROWS rows: see `multiply_rows`."""
    index = types.intp
    arguments = (
        index, x, index, index, index, weight, index, start, index, index, out, index, index,
    )  # fmt: skip
    return types.void(*arguments), _generate


def _generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Emit a loop over the depth for each number of rows."""
    done = builder.append_basic_block("done")
    select = builder.switch(arguments[0], done)
    for rows in range(1, TILE_ROWS + 1):
        block = builder.append_basic_block(f"rows{rows}")
        select.add_case(int64(rows), block)
        builder.position_at_end(block)
        _tile(context, builder, signature, arguments, rows)
        builder.branch(done)
    builder.position_at_end(done)
    return context.get_dummy_value()


def _tile(context: Any, builder: Any, signature: Any, arguments: Any, rows: int) -> None:
    """Emit the loop over the depth, with accumulators for each row and LANES outputs."""
    at = [element(context, builder, signature, arguments, array) for array in (1, 5, 7, 10)]
    x, weight, start, out = at
    parts = range(0, PANEL, LANES)
    initial = [
        load(builder, row, part)
        for row in _rows(builder, start, arguments[9], rows)
        for part in parts
    ]
    sums = iter(_multiply(builder, rows, x, arguments[3], arguments[4], weight, initial))
    for row in _rows(builder, out, arguments[12], rows):
        for part in parts:
            store(builder, next(sums), row, part)


def _multiply(
    builder: Any, rows: int, x: Any, step: Any, depth: Any, weight: Any, initial: list[Any]
) -> list[Any]:
    """Emit the loop; return the accumulators after it, those of a row side by side.

    Every third row has a pointer of its own: x86 has no registers for twelve.
    """
    bases = _rows(builder, x, step, rows)[::3]
    steps = [int64(0), step, builder.mul(step, int64(2))]
    loop = Loop(builder, depth, 1, [weight, *bases, *initial], unroll=rows <= TILE_ROWS // 2)
    column = loop.carried[0]
    inputs = loop.carried[1 : 1 + len(bases)]
    sums = loop.carried[1 + len(bases) :]
    parts = [load(builder, column, part) for part in range(0, PANEL, LANES)]
    after = []
    for row in range(rows):
        value = builder.load(builder.gep(inputs[row // 3], [steps[row % 3]]))
        values = broadcast(builder, value)
        for i, part in enumerate(parts):
            after.append(multiply_add(builder, values, part, sums[row * len(parts) + i]))
    following = [builder.gep(pointer, [int64(1)]) for pointer in inputs]
    next_column = builder.gep(column, [int64(PANEL)])
    return loop.close([next_column, *following, *after])[1 + len(bases) :]


def _rows(builder: Any, pointer: Any, step: Any, rows: int) -> list[Any]:
    """Pointers to the starts of rows."""
    return [builder.gep(pointer, [builder.mul(step, int64(row))]) for row in range(rows)]
