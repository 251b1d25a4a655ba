"""Self-attention over a KV cache, and cross-attention to a text.

The cache holds fp32 numbers, or int8 ones with a scale for each key and each value of a head.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from serve_app.kernels.cpu.compilation import PARALLEL, SERIAL, Floats, Indices
from serve_app.kernels.cpu.functions import exp
from serve_app.kernels.cpu.packing import MAX_INT8
from serve_app.kernels.cpu.products import TINY


@PARALLEL  # type: ignore[untyped-decorator]
def attend(
    qkv: Floats, slots: Indices, positions: Indices, cache: NDArray[Any], scales: Floats,
    first_slot: int, out: Floats,
) -> None:  # fmt: skip
    """Write new positions into the cache, then attend from each position up to itself.

    qkv [n, R, 3, H, Dh]; slots, positions [n], slots counted from `first_slot`;
    cache [2, S, >= R * H, L, Dh]: keys and values, fp32, or int8 with scales [2, S, >= R * H, L]
    (otherwise scales.size is 0); out [n, R, H, Dh].
    """
    n, rows, _, heads, _ = qkv.shape
    for i in numba.prange(n * rows * heads):
        new = i // (rows * heads)
        row = i // heads % rows
        head = i % heads
        slot = first_slot + slots[new]
        position = positions[new]
        for kind in range(2):
            entry = qkv[new, row, 1 + kind, head]
            stored = cache[kind, slot, row * heads + head, position]
            if scales.size:
                scales[kind, slot, row * heads + head, position] = _quantize(entry, stored)
            else:
                stored[:] = entry
    for i in numba.prange(n * rows * heads):
        new = i // (rows * heads)
        row = i // heads % rows
        head = i % heads
        slot = first_slot + slots[new]
        keys = cache[0, slot, row * heads + head]
        values = cache[1, slot, row * heads + head]
        weights = np.empty(positions[new] + 1, np.float32)
        _score(qkv[new, row, 0, head], keys, weights)
        if scales.size:
            _scale(weights, scales[0, slot, row * heads + head])
        total = _exponentiate(weights)
        if scales.size:
            _scale(weights, scales[1, slot, row * heads + head])
        _mix(weights, total, values, out[new, row, head])


@PARALLEL  # type: ignore[untyped-decorator]
def cross_attend(query: Floats, keys: Floats, values: Floats, mask: Floats, out: Floats) -> None:
    """Attend from the same number of positions of every slot to the slot's text.

    query, out [n, H, Dh]; keys, values [B, H, tokens, Dh]; mask [B, 1, 1, tokens]: -inf beyond the
    end of a text.
    """
    n, heads, _ = query.shape
    slots = len(keys)
    for i in numba.prange(n * heads):
        new = i // heads
        head = i % heads
        slot = new * slots // n
        weights = np.empty(_text_length(mask[slot, 0, 0]), np.float32)
        _score(query[new, head], keys[slot, head], weights)
        total = _exponentiate(weights)
        _mix(weights, total, values[slot, head], out[new, head])


@SERIAL  # type: ignore[untyped-decorator]
def _text_length(mask: Floats) -> int:
    """Tokens before the mask's end; at least 1.

    Entries beyond it are never read: they may hold anything.
    """
    tokens = len(mask)
    while tokens > 1 and mask[tokens - 1] < 0:
        tokens -= 1
    return tokens


@SERIAL  # type: ignore[untyped-decorator]
def _quantize(entry: Floats, stored: NDArray[Any]) -> np.float32:
    """Write entry [Dh] as int8 -> its scale."""
    largest = TINY
    for d in range(len(entry)):
        largest = max(largest, abs(entry[d]))
    scale = largest / np.float32(MAX_INT8)
    for d in range(len(entry)):
        stored[d] = np.rint(entry[d] / scale)
    return scale


@SERIAL  # type: ignore[untyped-decorator]
def _score(query: Floats, keys: NDArray[Any], scores: Floats) -> None:
    """scores [n] = query [Dh] . keys [>= n, Dh] / sqrt(Dh)"""
    size = len(query)
    root = np.float32(size) ** np.float32(-0.5)
    for p in range(len(scores)):
        score = np.float32(0)
        for d in range(size):
            score += query[d] * np.float32(keys[p, d])
        scores[p] = score * root


@SERIAL  # type: ignore[untyped-decorator]
def _scale(weights: Floats, scales: Floats) -> None:
    for p in range(len(weights)):
        weights[p] *= scales[p]


@SERIAL  # type: ignore[untyped-decorator]
def _exponentiate(weights: Floats) -> np.float32:
    """Replace scores by exp(score - largest) -> their sum, by which softmax divides."""
    largest = np.float32(-np.inf)
    for p in range(len(weights)):
        largest = max(largest, weights[p])
    total = np.float32(0)
    for p in range(len(weights)):
        weights[p] = exp(weights[p] - largest)
        total += weights[p]
    return total


@SERIAL  # type: ignore[untyped-decorator]
def _mix(weights: Floats, total: np.float32, values: NDArray[Any], out: Floats) -> None:
    """out [Dh] = weights [n] / total @ values [>= n, Dh]"""
    out[:] = 0
    for p in range(len(weights)):
        weight = weights[p] / total
        for d in range(len(out)):
            out[d] += weight * np.float32(values[p, d])
