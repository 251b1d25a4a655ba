"""Self-attention over a KV cache, and cross-attention to a text.

The cache holds fp32 numbers, or int8 ones with a scale for each key and each value of a head.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from serve_app.kernels.cpu.compilation import PARALLEL, SERIAL, Floats, Indices
from serve_app.kernels.cpu.functions import exp
from serve_app.kernels.cpu.head import GROUP, HEAD_DIM, mix_head, score_head
from serve_app.kernels.cpu.int8_products import TINY
from serve_app.kernels.cpu.packing import MAX_INT8
from serve_app.kernels.cpu.team import Team, begin, gather, join, proceed, wait


@PARALLEL  # type: ignore[untyped-decorator]
def attend(
    threads: int, qkv: Floats, slots: Indices, positions: Indices, cache: NDArray[Any],
    scales: Floats, first_slot: int, out: Floats,
) -> None:  # fmt: skip
    """Write new positions into the cache, then attend from each position up to itself.

    qkv [n, R, 3, H, Dh]; slots, positions [n], slots counted from `first_slot`;
    cache [2, S, >= R * H, L, Dh]: keys and values, fp32, or int8 with scales [2, S, >= R * H, L]
    (otherwise scales.size is 0); out [n, R, H, Dh].
    """
    shared = gather(threads)
    for _ in numba.prange(threads):
        attend_together(join(shared), qkv, slots, positions, cache, scales, first_slot, out)


@SERIAL  # type: ignore[untyped-decorator]
def attend_together(
    team: Team, qkv: Floats, slots: Indices, positions: Indices, cache: NDArray[Any],
    scales: Floats, first_slot: int, out: Floats,
) -> None:  # fmt: skip
    """`attend` inside kernels: two phases of a team. qkv must be complete: see `team.wait`."""
    n, rows, _, heads, _ = qkv.shape
    parts = n * rows
    part = begin(team, parts)
    while part >= 0:
        new = part // rows
        row = part % rows
        slot = first_slot + slots[new]
        _store(qkv[new, row], cache[:, slot], scales, slot, row * heads, positions[new])
        part = proceed(team, parts)
    wait(team)
    parts = n * rows * heads
    part = begin(team, parts)
    while part >= 0:
        new = part // (rows * heads)
        row = part // heads % rows
        head = part % heads
        slot = first_slot + slots[new]
        stored = row * heads + head
        weights = np.empty(positions[new] + 1, np.float32)
        _score(qkv[new, row, 0, head], cache[0, slot, stored], weights)
        if scales.size:
            _scale(weights, scales[0, slot, stored])
        total = _exponentiate(weights)
        if scales.size:
            _scale(weights, scales[1, slot, stored])
        _mix(weights, total, cache[1, slot, stored], out[new, row, head])
        part = proceed(team, parts)


@SERIAL  # type: ignore[untyped-decorator]
def _store(
    qkv: Floats, cache: NDArray[Any], scales: Floats, slot: int, first: int, position: int
) -> None:
    """Write keys and values of a new position, of all heads, from head `first` of the cache on.

    qkv [3, H, Dh]; cache [2, >= R * H, L, Dh]: of the slot.
    """
    for kind in range(2):
        for head in range(qkv.shape[1]):
            entry = qkv[1 + kind, head]
            stored = cache[kind, first + head, position]
            if scales.size:
                scales[kind, slot, first + head, position] = _quantize(entry, stored)
            else:
                stored[:] = entry


@SERIAL  # type: ignore[untyped-decorator]
def cross_attend_together(
    team: Team, query: Floats, keys: Floats, values: Floats, last_tokens: Indices, out: Floats
) -> None:
    """Attend to the slots' texts: a phase of a team. The query must be complete.

    query, out [n, H, Dh]: equally many positions of every slot; keys, values [B, H, tokens, Dh];
    last_tokens [B]: the end of each text. Entries beyond it are never read.
    """
    n, heads, _ = query.shape
    slots = len(keys)
    parts = n * heads
    part = begin(team, parts)
    while part >= 0:
        new = part // heads
        head = part % heads
        slot = new * slots // n
        weights = np.empty(last_tokens[slot] + 1, np.float32)
        _score(query[new, head], keys[slot, head], weights)
        total = _exponentiate(weights)
        _mix(weights, total, values[slot, head], out[new, head])
        part = proceed(team, parts)


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
    if size == HEAD_DIM and len(scores) >= GROUP:
        score_head(query, keys, scores)
    else:
        for p in range(len(scores)):
            score = np.float32(0)
            for d in range(size):
                score += query[d] * np.float32(keys[p, d])
            scores[p] = score
    for p in range(len(scores)):
        scores[p] *= root


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
    if len(out) == HEAD_DIM:
        mix_head(weights, values, out)
    else:
        out[:] = 0
        for p in range(len(weights)):
            for d in range(len(out)):
                out[d] += weights[p] * np.float32(values[p, d])
    for d in range(len(out)):
        out[d] /= total
