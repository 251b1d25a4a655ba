"""Matrix products of a few rows with stored weights.

They are memory-bound: a narrower weight is a faster one.

PyTorch's products are made for many rows: for the few of a decode step they read memory at half the
speed. Weights [N, K], N a multiple of TILE, are stored as
    float32;
    uint16 or int16: the bits of fp16 or bf16, which numba does not know, computed with in fp32;
    (qweight, scales): packed int8 (see packing.py) with one fp32 scale for each output. Rows are
    quantized to 8 bits, too, each by its own magnitude.
Every row is computed by itself, in a fixed order: its result depends on no other row.
"""

from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.extending import overload
from numpy.typing import NDArray

from serve_app.kernels.cpu.compilation import OPTIONS, PARALLEL, SERIAL, Floats
from serve_app.kernels.cpu.dot_tile import ROW_TYPE, dot_tile
from serve_app.kernels.cpu.intrinsics import from_bits, widen
from serve_app.kernels.cpu.packing import MAX_INT8, OFFSET, STRIDE, TILE

QuantizedWeight = tuple[NDArray[np.uint8], Floats]  # qweight, scales [N]
Weight = NDArray[Any] | QuantizedWeight

# Lower bound of a row's maximum, so that an all-zero row does not divide by zero.
TINY = np.float32(1e-20)
_INFINITY_BITS = np.int32(0x7F800000)  # those of a NaN are larger
_SIGN_MASK = np.int32(0x7FFFFFFF)


def product(x: Floats, weight: Weight, bias: Floats, out: Floats, step: int, add: bool) -> None:
    """Write x [n, K] @ weight.T + bias to every `step`th row of out [n * step, N].

    add: add to the row instead; bias [N], or [0] for none.
    """
    _product(x, weight, bias, out, step, add)


def multiply(x: Floats, weight: Weight, bias: Floats, out: Floats, step: int, add: bool) -> None:
    """`product` inside kernels.

    Overload stub: numba selects the kernel by the weight's type at compile time.
    """
    raise NotImplementedError


@SERIAL  # type: ignore[untyped-decorator]
def _product(x: Floats, weight: Any, bias: Floats, out: Floats, step: int, add: bool) -> None:
    multiply(x, weight, bias, out, step, add)


@overload(multiply, jit_options=OPTIONS, strict=False)  # type: ignore[untyped-decorator]
def _select(
    x: Any, weight: Any, bias: Any, out: Any, step: Any, add: Any,  # noqa: ARG001 - their types
) -> Any:  # fmt: skip
    if isinstance(weight, types.BaseTuple):  # type: ignore[attr-defined]
        return lambda x, weight, bias, out, step, add: _multiply_int8(
            x, weight[0], weight[1], bias, out, step, add
        )
    return lambda x, weight, bias, out, step, add: _multiply_float(x, weight, bias, out, step, add)


@PARALLEL  # type: ignore[untyped-decorator]
def _multiply_float(
    x: Floats, weight: NDArray[Any], bias: Floats, out: Floats, step: int, add: bool
) -> None:
    """Process rows in pairs: a tile's weights come from memory once, then from the cache."""
    n, size = x.shape
    for tile in numba.prange(len(weight) // TILE):
        j = TILE * tile
        w0, w1, w2, w3 = weight[j], weight[j + 1], weight[j + 2], weight[j + 3]
        for i in range(0, n, 2):
            other = min(i + 1, n - 1)
            x0 = x[i]
            x1 = x[other]
            a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = np.float32(0)
            for d in range(size):
                v0, v1, v2, v3 = widen(w0[d]), widen(w1[d]), widen(w2[d]), widen(w3[d])
                a0 += v0 * x0[d]
                a1 += v1 * x0[d]
                a2 += v2 * x0[d]
                a3 += v3 * x0[d]
                b0 += v0 * x1[d]
                b1 += v1 * x1[d]
                b2 += v2 * x1[d]
                b3 += v3 * x1[d]
            _put(out[i * step], j, a0, a1, a2, a3, bias, add)
            if other > i:
                _put(out[other * step], j, b0, b1, b2, b3, bias, add)


@PARALLEL  # type: ignore[untyped-decorator]
def _multiply_int8(
    x: Floats, qweight: NDArray[np.uint8], scales: Floats, bias: Floats, out: Floats, step: int,
    add: bool,
) -> None:  # fmt: skip
    n = len(x)
    rows = np.zeros((n, qweight.shape[1] * STRIDE), ROW_TYPE)
    row_scales = np.empty(n, np.float32)
    excess = np.empty(n, np.int32)  # part of each sum that is due to OFFSET
    for i in range(n):
        row_scales[i], excess[i] = _quantize_row(x[i], rows[i])
    for tile in numba.prange(len(qweight)):
        j = TILE * tile
        for i in range(0, n, 2):
            other = min(i + 1, n - 1)
            sums = dot_tile(rows, i, other, qweight, tile)
            s0, s1, s2, s3 = scales[j], scales[j + 1], scales[j + 2], scales[j + 3]
            for row in range(i, other + 1):
                a, b, c, d = sums[:TILE] if row == i else sums[TILE:]
                scale = row_scales[row]
                more = excess[row]
                a = (a - more) * s0 * scale
                b = (b - more) * s1 * scale
                c = (c - more) * s2 * scale
                d = (d - more) * s3 * scale
                _put(out[row * step], j, a, b, c, d, bias, add)


@SERIAL  # type: ignore[untyped-decorator]
def _put(
    row: Floats, j: int, a: float, b: float, c: float, d: float, bias: Floats, add: bool
) -> None:
    """Write four neighbouring outputs from column j on."""
    if len(bias):
        a, b, c, d = a + bias[j], b + bias[j + 1], c + bias[j + 2], d + bias[j + 3]
    if add:
        a, b, c, d = a + row[j], b + row[j + 1], c + row[j + 2], d + row[j + 3]
    row[j], row[j + 1], row[j + 2], row[j + 3] = a, b, c, d


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
    if largest_bits >= _INFINITY_BITS:
        return np.float32(np.nan), total
    largest = max(from_bits(largest_bits), TINY)
    inverse = np.float32(MAX_INT8) / largest
    for d in range(len(row)):
        value = np.int32(np.rint(row[d] * inverse))
        quantized[d] = value
        total += value
    return largest / np.float32(MAX_INT8), np.int32(OFFSET * total)
