"""A whole decode step in one call: all layers, then the heads.

Between its products a layer has many short operations: called one by one, they take as long as the
products do. Threads stay together for the whole step (see team.py): a parallel region, or a call
from Python, for each layer or product would cost a fifth of the step.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from serve_app.kernels.cpu.attention import attend_together, cross_attend_together
from serve_app.kernels.cpu.compilation import PARALLEL, SERIAL, Floats, Indices
from serve_app.kernels.cpu.norm import layer_norm
from serve_app.kernels.cpu.products import multiply
from serve_app.kernels.cpu.team import Shared, Team, begin, gather, join, proceed, wait
from serve_app.kernels.cpu.weight_parts import wait_ahead

QKV, OUT, TEXT_QUERY, TEXT_OUT, FC1, FC2, HEADS = range(7)  # products of a layer, and the heads


@PARALLEL  # type: ignore[untyped-decorator]
def decoder_step(
    threads: int, x: Floats, rows: int, heads: int, ffn_dim: int, eps: float, norms: Floats,
    out_norm: Floats, weights: Any, weight_scales: Any, biases: Any, slots: Indices, positions: Indices,
    cache: NDArray[Any], scales: Floats, first_slot: int, keys: Floats, values: Floats,
    last_tokens: Indices, without_text: Floats, logits: Floats,
) -> None:  # fmt: skip
    """Run pre-norm decoder layers on x [n * rows, D] in place, then norm and heads into `logits`.

    norms [layers, 6, D]: weight and bias of each of a layer's three norms; out_norm [2, D];
    weights, weight_scales, biases: seven arrays each, in the order above, with one entry for each
    layer (see `products`), or one in all for the heads; without_text [layers, D], or [layers, 0]
    for zeros: cross-attention's output for every row but the first;
    keys, values [layers, B, H, tokens, Dh, 1 or more]: the first along the last axis is read;
    last_tokens [B], or [0] in a model without cross-attention, whose keys and values are not read;
    logits [n * rows, outputs of the heads].
    cache and scales are those of `attend`, with the layers before.
    """
    n, size = x.shape
    qkv = np.empty((n, 3 * size), np.float32)
    attended = np.empty((n, size), np.float32)
    query = np.empty((n // rows, size), np.float32)
    wide = np.empty((n, ffn_dim), np.float32)
    shared = gather(threads)
    for _ in numba.prange(threads):
        _join_step(
            shared, x, rows, heads, eps, norms, out_norm, weights, weight_scales, biases, slots,
            positions, cache, scales, first_slot, keys, values, last_tokens, without_text,
            logits, qkv, attended, query, wide,
        )  # fmt: skip


@SERIAL  # type: ignore[untyped-decorator]
def _join_step(
    shared: Shared, x: Floats, rows: int, heads: int, eps: float, norms: Floats, out_norm: Floats,
    weights: Any, weight_scales: Any, biases: Any, slots: Indices, positions: Indices,
    cache: NDArray[Any], scales: Floats, first_slot: int, keys: Floats, values: Floats,
    last_tokens: Indices, without_text: Floats, logits: Floats, qkv: Floats, attended: Floats,
    query: Floats, wide: Floats,
) -> None:  # fmt: skip
    """Run the step's phases as one thread of a team."""
    team = join(shared)
    n, size = x.shape
    by_head = (n // rows, rows, heads, size // heads)
    by_kind = qkv.reshape((n // rows, rows, 3, heads, size // heads))
    text_by_head = (n // rows, heads, size // heads)
    text = attended[: n // rows]
    for layer in range(len(norms)):
        of_layer = (weights, weight_scales, biases, layer)
        _norm_multiply(team, x, 1, norms[layer, :2], eps, of_layer, QKV, qkv, False)
        wait(team)
        attend_together(
            team, by_kind, slots, positions, cache[layer], scales[layer], first_slot,
            attended.reshape(by_head),
        )  # fmt: skip
        _multiply_add(team, attended, of_layer, OUT, x, 1)
        if len(last_tokens):
            _norm_multiply(
                team, x, rows, norms[layer, 2:4], eps, of_layer, TEXT_QUERY, query, False
            )
            wait(team)
            cross_attend_together(
                team, query.reshape(text_by_head), keys[layer, ..., 0], values[layer, ..., 0],
                last_tokens, text.reshape(text_by_head),
            )  # fmt: skip
            _add_to_others(team, without_text[layer], rows, x)
            _multiply_add(team, text, of_layer, TEXT_OUT, x, rows)
        _norm_multiply(team, x, 1, norms[layer, 4:], eps, of_layer, FC1, wide, True)
        _multiply_add(team, wide, of_layer, FC2, x, 1)
    of_heads = (weights, weight_scales, biases, 0)
    _norm_multiply(team, x, 1, out_norm, eps, of_heads, HEADS, logits, False)


@SERIAL  # type: ignore[untyped-decorator]
def _norm_multiply(
    team: Team, x: Floats, every: int, norm: Floats, eps: float, products: Any, which: int,
    out: Floats, activate: bool,
) -> None:  # fmt: skip
    """Write the product of every `every`th row of x, normalized. Each thread normalizes them all."""
    weights, scales, biases, layer = products
    weight = weights[which][layer]
    y = np.empty((len(x) // every, x.shape[1]), np.float32)
    wait_ahead(team, weight)
    layer_norm(x, every, norm[0], norm[1], eps, y)
    multiply(team, y, weight, scales[which][layer], biases[which][layer], out, 1, activate, False)


@SERIAL  # type: ignore[untyped-decorator]
def _multiply_add(team: Team, x: Floats, products: Any, which: int, out: Floats, step: int) -> None:
    """Add the product of x to every `step`th row of out."""
    weights, scales, biases, layer = products
    weight = weights[which][layer]
    wait_ahead(team, weight)
    multiply(team, x, weight, scales[which][layer], biases[which][layer], out, step, False, True)


@SERIAL  # type: ignore[untyped-decorator]
def _add_to_others(team: Team, constant: Floats, rows: int, x: Floats) -> None:
    """Add a constant [D] or [0] to every row of x but each `rows`th: one part, for one thread."""
    part = begin(team, 1)
    while part >= 0:
        for i in range(len(x)):
            if i % rows and len(constant):
                x[i] += constant
        part = proceed(team, 1)
