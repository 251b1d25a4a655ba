"""Decode cross-attention: one position of every slot attends to the slot's text.

One program for each slot's head walks through the slot's own tokens, TOKENS at once. Prompts rarely
have more, so that one pass is the usual case. Sums have a fixed order: a slot's result is the same
bits whatever texts its neighbours have. No `tl.dot`, as in `attention`.
"""

import math

import triton.language as tl
from torch import Tensor
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from serve_app.kernels.cuda.compilation import dependent_launch, jit

TOKENS = 64


def cross_attention(query: Tensor, keys: Tensor, values: Tensor, last_token: Tensor) -> Tensor:
    """Attend from each slot's position to the slot's text.

    query [B, H * Dh], rows may be strided; keys, values [B, H, tokens, Dh] of the same strides, the
    last two dimensions contiguous; last_token [B]: index of each text's last token, below `tokens`
    -> [B, H * Dh]
    """
    slots, heads, _, head_dim = keys.shape
    out = query.new_empty((slots, heads * head_dim))
    attend_to_text[(heads, slots)](
        query,
        keys,
        values,
        last_token,
        out,
        math.log2(math.e) / math.sqrt(head_dim),
        query.stride(0),
        *keys.stride()[:2],
        HEAD_DIM=head_dim,
        TOKENS=TOKENS,
        num_warps=2,
        **dependent_launch(query.device),
    )
    return out


@jit
def attend_to_text(
    query: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    last_token: tl.tensor,
    out: tl.tensor,
    score_scale: tl.tensor,
    query_stride: tl.tensor,
    slot_stride: tl.tensor,
    head_stride: tl.tensor,
    HEAD_DIM: tl.constexpr,
    TOKENS: tl.constexpr,
    DEPENDENT: tl.constexpr,
) -> None:
    """Attend to one head of one slot's text, with the softmax of Flash-Attention."""
    head = tl.program_id(0)
    slot = tl.program_id(1)
    if DEPENDENT:
        gdc_wait()
    last = tl.load(last_token + slot).to(tl.int32)
    dims = tl.arange(0, HEAD_DIM)
    tokens = tl.arange(0, TOKENS)
    query_at = query + slot * query_stride + head * HEAD_DIM + dims
    tile = slot.to(tl.int64) * slot_stride + head * head_stride
    tile += tokens[:, None] * HEAD_DIM + dims[None, :]
    peak = -float("inf")
    total = 0.0
    summed = tl.zeros([HEAD_DIM], tl.float32)
    for first in range(0, last + 1, TOKENS):
        known = first + tokens <= last
        some_keys = tl.load(keys + tile + first * HEAD_DIM, mask=known[:, None], other=0)
        some_values = tl.load(values + tile + first * HEAD_DIM, mask=known[:, None], other=0)
        tl.debug_barrier()  # as in attention.attend_split; so is the place of the query's load
        vector = tl.load(query_at).to(tl.float32) * score_scale
        scores = tl.sum(some_keys.to(tl.float32) * vector[None, :], axis=1)
        scores = tl.where(known, scores, -float("inf"))
        new_peak = tl.maximum(peak, tl.max(scores))
        weights = tl.exp2(scores - new_peak)
        share = tl.exp2(peak - new_peak)
        total = total * share + tl.sum(weights)
        some_sum = tl.sum(weights[:, None] * some_values.to(tl.float32), axis=0)
        summed = summed * share + some_sum
        peak = new_peak
    if DEPENDENT:
        gdc_launch_dependents()
    tl.store(out + (slot * tl.num_programs(0) + head) * HEAD_DIM + dims, summed / total)
