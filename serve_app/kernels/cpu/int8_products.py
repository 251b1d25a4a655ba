"""Products with int8 weights and rows quantized to 8 bits, each by its own magnitude."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve_app.kernels.cpu.compilation import SERIAL, Floats
from serve_app.kernels.cpu.dot_tile import dot_tile
from serve_app.kernels.cpu.intrinsics import from_bits
from serve_app.kernels.cpu.packing import MAX_INT8, OFFSET, STRIDE, TILE
from serve_app.kernels.cpu.target import DOT_PRODUCT
from serve_app.kernels.cpu.team import Team, begin, proceed
from serve_app.kernels.cpu.weight_parts import put, tiles_and_share

# Lower bound of a row's maximum, so that an all-zero row does not divide by zero.
TINY = np.float32(1e-20)
_BLOCK = DOT_PRODUCT.rows
_INFINITY_BITS = np.int32(0x7F800000)  # those of a NaN are larger
_SIGN_MASK = np.int32(0x7FFFFFFF)


@SERIAL  # type: ignore[untyped-decorator]
def multiply_int8(
    team: Team, x: Floats, qweight: NDArray[np.uint8], scales: Floats, bias: Floats, out: Floats,
    step: int, activate: bool, add: bool,
) -> None:  # fmt: skip
    """Run the phase of `products.multiply`. Every thread quantizes all rows: they are few."""
    n = len(x)
    tiles, share = tiles_and_share(team, qweight)
    parts = -(-tiles // share)
    rows, row_scales, excess = _quantize(x, qweight.shape[1] * STRIDE)
    sums = np.empty((n, share * TILE), np.int32)
    values = np.empty(share * TILE, np.float32)
    part = begin(team, parts)
    while part >= 0:
        first = part * share
        last = min(first + share, tiles)
        for tile in range(first, last):
            _dot_rows(rows, qweight, tile, sums, (tile - first) * TILE)
        columns = slice(first * TILE, last * TILE)
        for i in range(n):
            _rescale(sums[i], excess[i], scales[columns], row_scales[i], values)
            put(values, bias[columns], activate, add, out[i * step, columns])
        part = proceed(team, parts)


@SERIAL  # type: ignore[untyped-decorator]
def _dot_rows(
    rows: NDArray[np.int8], qweight: NDArray[np.uint8], tile: int, sums: NDArray[np.int32], at: int
) -> None:
    """Multiply in blocks of rows: the weights come from memory once, then from the cache."""
    n = len(rows)
    row = 0
    while row < n:
        count = _BLOCK if n - row >= _BLOCK else min(2, n - row)
        dot_tile(rows, row, count, qweight, tile, sums, at)
        row += count


@SERIAL  # type: ignore[untyped-decorator]
def _rescale(
    sums: NDArray[np.int32], excess: np.int32, scales: Floats, scale: np.float32, values: Floats
) -> None:
    for j in range(len(scales)):
        values[j] = np.float32(sums[j] - excess) * scales[j] * scale


@SERIAL  # type: ignore[untyped-decorator]
def _quantize(x: Floats, width: int) -> Any:
    """Quantize rows x [n, K] -> int8 [n, width], scales [n], part of a sum due to OFFSET [n]."""
    n = len(x)
    rows = np.empty((n, width), np.int8)
    scales = np.empty(n, np.float32)
    excess = np.empty(n, np.int32)
    for i in range(n):
        scales[i], excess[i] = _quantize_row(x[i], rows[i])
    return rows, scales, excess


@SERIAL  # type: ignore[untyped-decorator]
def _quantize_row(row: Floats, quantized: NDArray[Any]) -> tuple[np.float32, np.int32]:
    """Quantize a row to 8 bits -> its scale, and OFFSET times the sum of the quantized values.

    The scale is NaN for a row with a NaN or an infinity, so that all its products are NaN.
    """
    largest_bits = np.int32(0)
    total = np.int32(0)
    bits = row.view(np.int32)
    # Without signs, floats are ordered as their bits are: LLVM vectorizes an integer maximum.
    for d in range(len(bits)):
        largest_bits = max(largest_bits, bits[d] & _SIGN_MASK)
    quantized[len(row) :] = 0
    if largest_bits >= _INFINITY_BITS:
        quantized[:] = 0
        return np.float32(np.nan), total
    largest = max(from_bits(largest_bits), TINY)
    inverse = np.float32(MAX_INT8) / largest
    for d in range(len(row)):
        value = np.int32(np.rint(row[d] * inverse))
        quantized[d] = value
        total += value
    return largest / np.float32(MAX_INT8), np.int32(OFFSET * total)
