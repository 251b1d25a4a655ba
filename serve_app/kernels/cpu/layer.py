"""What a decode step computes on a CPU, compiled by numba when first called and kept on disk.

PyTorch's products are made for more rows: for the few of a decode step they read memory at half the speed, and what
lies between them, many short operations, takes as long as the products do. Here a layer is one call. Weights are stored
as
    float32 [N, K];
    uint16 or int16 [N, K], the bits of fp16 or bf16, which numba does not know, computed with in fp32; or
    8-bit codes and a scale of each output, in `Packed`; rows are brought to 8 bits, too, each by its own magnitude.
Every row is computed by itself, in one order: its result depends on no other row. N is a multiple of TILE.
"""

from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.extending import overload
from numpy.typing import NDArray

from serve_app.kernels.cpu.functions import OPTIONS, PARALLEL, SERIAL, Floats, erf, exp
from serve_app.kernels.cpu.intrinsics import (
    OFFSET,
    ROW_TYPE,
    STRIDE,
    TILE,
    dot_tile,
    from_bits,
    widen,
)

Indices = NDArray[np.int64]
Packed = tuple[
    NDArray[np.uint8], Floats
]  # codes [N / TILE, K', TILE, STRIDE], of K' * STRIDE inputs; scales [N]
Weights = NDArray[Any] | Packed

MAX_CODE = 127
_TINY = np.float32(1e-20)
_NOT_FINITE = np.int32(0x7F800000)  # the bits of infinity; those of nan are larger
_PARTS = 16  # that threads may share


def pack(codes: NDArray[np.int8]) -> NDArray[np.uint8]:
    """int8 codes [N, K], OFFSET added, in the order in which they are read: STRIDE of each output of a tile, then the
    next ones."""
    n, size = codes.shape
    stored = np.full((n, -(-size // STRIDE) * STRIDE), OFFSET, np.uint8)
    stored[:, :size] += codes.view(np.uint8)
    return np.ascontiguousarray(stored.reshape(n // TILE, TILE, -1, STRIDE).swapaxes(1, 2))


def unpack(codes: NDArray[np.uint8], size: int) -> NDArray[np.int8]:
    """What was `pack`ed, of `size` inputs."""
    stored = codes.swapaxes(1, 2).reshape(TILE * len(codes), -1)[:, :size]
    return (stored - np.uint8(OFFSET)).view(np.int8)


def product(x: Floats, weight: Weights, bias: Floats, out: Floats, step: int, add: bool) -> None:
    """x [n, K] times weight, plus bias [N] (or [0]), put into or added to every `step`th row of out [n * step, N]."""
    _product(x, weight, bias, out, step, add)


def _multiply(x: Floats, weight: Weights, bias: Floats, out: Floats, step: int, add: bool) -> None:
    """Stands for one of the two below, by the type of the weights."""
    raise NotImplementedError


@SERIAL  # type: ignore[untyped-decorator]
def _product(x: Floats, weight: Any, bias: Floats, out: Floats, step: int, add: bool) -> None:
    _multiply(x, weight, bias, out, step, add)


@overload(_multiply, jit_options=OPTIONS, strict=False)  # type: ignore[untyped-decorator]
def _choose(x: Any, weight: Any, bias: Any, out: Any, step: Any, add: Any) -> Any:  # noqa: ARG001 - their types
    if isinstance(weight, types.BaseTuple):  # type: ignore[attr-defined]
        return lambda x, weight, bias, out, step, add: _multiply_int8(
            x, weight[0], weight[1], bias, out, step, add
        )
    return lambda x, weight, bias, out, step, add: _multiply_float(x, weight, bias, out, step, add)


@PARALLEL  # type: ignore[untyped-decorator]
def _multiply_float(
    x: Floats, weight: NDArray[Any], bias: Floats, out: Floats, step: int, add: bool
) -> None:
    """A tile of weights meets the rows in pairs: it comes from memory for the first, and from cache for the others."""
    n, size = x.shape
    for tile in numba.prange(len(weight) // TILE):
        j = TILE * tile
        w0, w1, w2, w3 = weight[j], weight[j + 1], weight[j + 2], weight[j + 3]
        for i in range(0, n, 2):
            other = min(i + 1, n - 1)
            x0, x1 = x[i], x[other]
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
    x: Floats,
    codes: NDArray[np.uint8],
    scales: Floats,
    bias: Floats,
    out: Floats,
    step: int,
    add: bool,
) -> None:
    n = len(x)
    rows, row_scales = np.zeros((n, codes.shape[1] * STRIDE), ROW_TYPE), np.empty(n, np.float32)
    excess = np.empty(n, np.int32)  # what OFFSET adds to each of a row's sums
    for i in range(n):
        row_scales[i], excess[i] = _to_codes(x[i], rows[i])
    for tile in numba.prange(len(codes)):
        j = TILE * tile
        for i in range(0, n, 2):
            other = min(i + 1, n - 1)
            sums = dot_tile(rows, i, other, codes, tile)
            s0, s1, s2, s3 = scales[j], scales[j + 1], scales[j + 2], scales[j + 3]
            for row in range(i, other + 1):
                a, b, c, d = sums[:TILE] if row == i else sums[TILE:]
                r, more = row_scales[row], excess[row]
                a, b, c, d = (
                    (a - more) * s0 * r,
                    (b - more) * s1 * r,
                    (c - more) * s2 * r,
                    (d - more) * s3 * r,
                )
                _put(out[row * step], j, a, b, c, d, bias, add)


@SERIAL  # type: ignore[untyped-decorator]
def _put(
    row: Floats, j: int, a: float, b: float, c: float, d: float, bias: Floats, add: bool
) -> None:
    if len(bias):
        a, b, c, d = a + bias[j], b + bias[j + 1], c + bias[j + 2], d + bias[j + 3]
    if add:
        a, b, c, d = a + row[j], b + row[j + 1], c + row[j + 2], d + row[j + 3]
    row[j], row[j + 1], row[j + 2], row[j + 3] = a, b, c, d


@SERIAL  # type: ignore[untyped-decorator]
def _to_codes(row: Floats, codes: NDArray[Any]) -> tuple[np.float32, np.int32]:
    """The row in 8 bits; returns its scale, which is nan where the row has one, or is not finite, and its codes' sum,
    times OFFSET."""
    most, total = np.int32(0), np.int32(0)
    bits = row.view(np.int32)
    for d in range(
        len(bits)
    ):  # without their signs, floats are ordered as their bits: this can be done in vectors
        most = max(most, bits[d] & np.int32(0x7FFFFFFF))
    if most >= _NOT_FINITE:
        return np.float32(np.nan), total
    largest = max(from_bits(most), _TINY)
    inverse = np.float32(MAX_CODE) / largest
    for d in range(len(row)):
        code = np.int32(np.rint(row[d] * inverse))
        codes[d] = code
        total += code
    return largest / np.float32(MAX_CODE), np.int32(OFFSET * total)


@SERIAL  # type: ignore[untyped-decorator]
def _norm(x: Floats, step: int, weight: Floats, bias: Floats, eps: float, out: Floats) -> None:
    """The layer norm of every `step`th row of x."""
    size = np.float32(x.shape[1])
    for i in range(len(out)):
        row, into = x[i * step], out[i]
        mean = variance = np.float32(0)
        for d in range(len(row)):
            mean += row[d]
        mean /= size
        for d in range(len(row)):
            variance += (row[d] - mean) * (row[d] - mean)
        inverse = np.float32(1) / np.sqrt(variance / size + np.float32(eps))
        for d in range(len(row)):
            into[d] = (row[d] - mean) * inverse * weight[d] + bias[d]


@PARALLEL  # type: ignore[untyped-decorator]
def _gelu(x: Floats) -> None:
    """In place; x [n, D]."""
    n, size = x.shape
    for part in numba.prange(_PARTS):
        for i in range(n):
            of_row = x[i, part * size // _PARTS : (part + 1) * size // _PARTS]
            for d in range(len(of_row)):
                of_row[d] *= np.float32(0.5) * (
                    np.float32(1) + erf(of_row[d] * np.float32(0.5**0.5))
                )


@PARALLEL  # type: ignore[untyped-decorator]
def attend(
    qkv: Floats,
    slots: Indices,
    positions: Indices,
    codes: NDArray[Any],
    scales: Floats,
    first_slot: int,
    out: Floats,
) -> None:
    """Write new positions into the cache, then attend from each to all up to itself.

    qkv [n, R, 3, H, Dh]; slots, positions [n], slots counted from `first_slot`; codes [2, S, >= R * H, L, Dh] and
    scales [2, S, >= R * H, L]: keys and values; out [n, R, H, Dh]. A code times its scale is the number; without scales
    it is the number itself.
    """
    n, rows, _, heads, size = qkv.shape
    scaled = scales.size > 0
    for i in numba.prange(n * rows * heads):
        new, row, head = i // (rows * heads), i // heads % rows, i % heads
        slot, position = first_slot + slots[new], positions[new]
        for kind in range(2):
            entry = qkv[new, row, 1 + kind, head]
            memory = codes[kind, slot, row * heads + head, position]
            if not scaled:
                memory[:] = entry
                continue
            largest = _TINY
            for d in range(size):
                largest = max(largest, abs(entry[d]))
            scale = largest / np.float32(MAX_CODE)
            scales[kind, slot, row * heads + head, position] = scale
            for d in range(size):
                memory[d] = np.rint(entry[d] / scale)
    root = np.float32(size) ** np.float32(-0.5)
    for i in numba.prange(n * rows * heads):
        new, row, head = i // (rows * heads), i // heads % rows, i % heads
        slot, length = first_slot + slots[new], positions[new] + 1
        query, into = qkv[new, row, 0, head], out[new, row, head]
        keys, values = codes[0, slot, row * heads + head], codes[1, slot, row * heads + head]
        weights = np.empty(length, np.float32)
        largest = np.float32(-np.inf)
        for p in range(length):
            score = np.float32(0)
            for d in range(size):
                score += query[d] * np.float32(keys[p, d])
            score *= root * scales[0, slot, row * heads + head, p] if scaled else root
            weights[p] = score
            largest = max(largest, score)
        total = np.float32(0)
        for p in range(length):
            weights[p] = exp(weights[p] - largest)
            total += weights[p]
        if scaled:
            for p in range(length):
                weights[p] *= scales[1, slot, row * heads + head, p]
        into[:] = 0
        for p in range(length):
            weight = weights[p] / total
            for d in range(size):
                into[d] += weight * np.float32(values[p, d])


@PARALLEL  # type: ignore[untyped-decorator]
def _attend_text(query: Floats, keys: Floats, values: Floats, mask: Floats, out: Floats) -> None:
    """query, out [n, H, Dh], as many of every slot; keys, values [B, H, tokens, Dh]; mask [B, 1, 1, tokens]: -inf
    behind a text's end."""
    n, heads, size = query.shape
    slots, _, most, _ = keys.shape
    root = np.float32(size) ** np.float32(-0.5)
    for i in numba.prange(n * heads):
        new, head = i // heads, i % heads
        slot = new * slots // n
        into, tokens = out[new, head], most
        weights = np.empty(tokens, np.float32)
        largest, total = np.float32(-np.inf), np.float32(0)
        while (
            tokens > 1 and mask[slot, 0, 0, tokens - 1] < 0
        ):  # behind the text's end anything may be
            tokens -= 1
        for t in range(tokens):
            score = np.float32(0)
            for d in range(size):
                score += query[new, head, d] * keys[slot, head, t, d]
            weights[t] = score * root
            largest = max(largest, weights[t])
        for t in range(tokens):
            weights[t] = exp(weights[t] - largest)
            total += weights[t]
        into[:] = 0
        for t in range(tokens):
            weight = weights[t] / total
            for d in range(size):
                into[d] += weight * values[slot, head, t, d]


@SERIAL  # type: ignore[untyped-decorator]
def layer_step(
    x: Floats, rows: int, heads: int, ffn_dim: int, norms: Any, eps: float, weights: Any, biases: Any, slots: Indices,
    positions: Indices, codes: NDArray[Any], scales: Floats, first_slot: int, keys: Floats, values: Floats,
    mask: Floats, without_text: Floats,
) -> None:  # fmt: skip
    """One DecoderLayer for x [n * rows, D], changed in place; see there, and `attend` and `_attend_text`.

    norms: weight and bias of each of the three; weights, biases: of qkv, out, cross-attention's q and out, fc1 and fc2;
    without_text [D] or [0]: what rows but the first get from cross-attention.
    """
    n, size = x.shape
    new = n // rows
    y, qkv = np.empty((n, size), np.float32), np.empty((n, 3 * size), np.float32)
    _norm(x, 1, norms[0], norms[1], eps, y)
    _multiply(y, weights[0], biases[0], qkv, 1, False)
    shape = (new, rows, heads, size // heads)
    attend(qkv.reshape((new, rows, 3, heads, size // heads)), slots, positions, codes, scales, first_slot,
           y.reshape(shape))  # fmt: skip
    _multiply(y, weights[1], biases[1], x, 1, True)

    y, query = np.empty((new, size), np.float32), np.empty((new, size), np.float32)
    _norm(x, rows, norms[2], norms[3], eps, y)
    _multiply(y, weights[2], biases[2], query, 1, False)
    shape_text = (new, heads, size // heads)
    _attend_text(query.reshape(shape_text), keys, values, mask, y.reshape(shape_text))
    _multiply(y, weights[3], biases[3], x, rows, True)
    if len(without_text):
        for i in range(n):
            if i % rows:
                x[i] += without_text

    y, wide = np.empty((n, size), np.float32), np.empty((n, ffn_dim), np.float32)
    _norm(x, 1, norms[4], norms[5], eps, y)
    _multiply(y, weights[4], biases[4], wide, 1, False)
    _gelu(wide)
    _multiply(wide, weights[5], biases[5], x, 1, True)
