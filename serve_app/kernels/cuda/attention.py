"""Decode self-attention: one new position of every slot attends to the slot's cache, and joins it.

The cache of each row's head is cut into splits of SPLIT positions, one for each program (split-K,
as in Flash-Decoding), so that even one slot occupies all multiprocessors. A second kernel combines
the splits. Split boundaries are absolute positions, sums have a fixed order, and no program reads
beyond its slot's own length. A slot's result is therefore the same bits in every batch, and
whatever part of the cache the launch covers: one binary serves all these shapes.

No kernel here needs `tl.dot`: with one query for each key, tensor cores would be idle.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from serve_app.kernels.cuda.compilation import dependent_launch, jit

SPLIT = 64  # positions: 16 KiB of keys and values in half precision, all in flight at once
MAX_INT8 = tl.constexpr(127.0)
SMALLEST = tl.constexpr(1e-30)  # scale of a row of zeros
ROUNDING = tl.constexpr(1.5 * 2**23)  # adding and subtracting it rounds to the nearest even integer
ROUNDING_BITS = tl.constexpr(0x4B400000)


def decode_attention(
    qkv: Tensor, positions: Tensor, cache: Tensor, scales: Tensor | None, capacity: int
) -> Tensor:
    """Store each slot's new key and value, and attend from the new position.

    qkv [B, R, 3, H, Dh], the last three dimensions contiguous, fp16, bf16 or fp32;
    positions [B]: each slot's new position;
    cache [2, B, R * H, L, Dh]: keys and values, of which the last two dimensions are contiguous,
    in qkv's dtype, or int8 with scales [2, B, R * H, L], fp32; L covers all positions;
    capacity: positions of the whole cache, of which `cache` may be a part -> [B * R, H * Dh]
    """
    slots, rows, _, heads, head_dim = qkv.shape
    splits = triton.cdiv(cache.shape[3], SPLIT)
    most_splits = triton.next_power_of_2(triton.cdiv(capacity, SPLIT))
    sums = qkv.new_empty((slots, rows * heads, most_splits, head_dim), dtype=torch.float32)
    softmax = qkv.new_empty((slots, rows * heads, 2, most_splits), dtype=torch.float32)
    attend_split[(splits, rows * heads, slots)](
        qkv,
        positions,
        cache,
        cache if scales is None else scales,
        sums,
        softmax,
        math.log2(math.e) / math.sqrt(head_dim),
        *qkv.stride()[:2],
        *cache.stride()[:3],
        *((0, 0, 0) if scales is None else scales.stride()[:3]),
        HEADS=heads,
        HEAD_DIM=head_dim,
        SPLIT=SPLIT,
        SPLITS=most_splits,
        QUANTIZED=scales is not None,
        num_warps=2,
        **dependent_launch(qkv.device),
    )
    out = qkv.new_empty((slots * rows, heads * head_dim))
    combine_splits[(rows * heads, slots)](
        sums,
        softmax,
        positions,
        out,
        HEAD_DIM=head_dim,
        SPLIT=SPLIT,
        SPLITS=most_splits,
        num_warps=2,
        **dependent_launch(qkv.device),
    )
    return out


@jit
def quantized(x: tl.tensor) -> tl.tensor:
    """Quantize x [Dh], fp32: integers within [-127, 127], still as fp32, and their scale."""
    scale = tl.maximum(tl.max(tl.abs(x)) / MAX_INT8, SMALLEST)
    return (x / scale + ROUNDING) - ROUNDING, scale


@jit
def widened(x: tl.tensor) -> tl.tensor:
    """Return int8 numbers as fp32, by way of the mantissa: conversions run at a quarter rate."""
    bits = x.to(tl.int32) + ROUNDING_BITS
    return bits.to(tl.float32, bitcast=True) - ROUNDING


@jit
def attend_split(
    qkv: tl.tensor,
    positions: tl.tensor,
    cache: tl.tensor,
    scales: tl.tensor,
    sums: tl.tensor,
    softmax: tl.tensor,
    score_scale: tl.tensor,
    qkv_slot_stride: tl.tensor,
    qkv_row_stride: tl.tensor,
    kind_stride: tl.tensor,
    slot_stride: tl.tensor,
    head_stride: tl.tensor,
    scale_kind_stride: tl.tensor,
    scale_slot_stride: tl.tensor,
    scale_head_stride: tl.tensor,
    HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    SPLIT: tl.constexpr,
    SPLITS: tl.constexpr,
    QUANTIZED: tl.constexpr,
    DEPENDENT: tl.constexpr,
) -> None:
    """Attend to one split, without the division by the sum of the weights.

    sums [B, R * H, SPLITS, Dh]: weighted sums of the values; softmax [B, R * H, 2, SPLITS]: largest
    score, and sum of the weights. A split beyond the slot's position is left as it is. score_scale:
    by which a product becomes an exponent of 2.
    """
    split = tl.program_id(0)
    head = tl.program_id(1)
    slot = tl.program_id(2)
    if DEPENDENT:
        gdc_wait()
    position = tl.load(positions + slot).to(tl.int32)
    first = split * SPLIT
    if first > position:
        return
    dims = tl.arange(0, HEAD_DIM)
    at = first + tl.arange(0, SPLIT)
    known = at <= position
    is_new = at == position
    keys_at = cache + slot.to(tl.int64) * slot_stride + head * head_stride
    values_at = keys_at + tl.cast(kind_stride, tl.int64)
    new = qkv + slot * qkv_slot_stride + head // HEADS * qkv_row_stride
    new += head % HEADS * HEAD_DIM
    new_key_at = new + HEADS * HEAD_DIM
    new_value_at = new_key_at + HEADS * HEAD_DIM
    key_rows = keys_at + at * HEAD_DIM
    value_rows = values_at + at * HEAD_DIM
    if QUANTIZED:
        key_scales_at = scales + slot.to(tl.int64) * scale_slot_stride + head * scale_head_stride
        value_scales_at = key_scales_at + tl.cast(scale_kind_stride, tl.int64)
    else:
        key_rows = tl.where(is_new, new_key_at, key_rows)
        value_rows = tl.where(is_new, new_value_at, value_rows)
    stored = at < position if QUANTIZED else known
    keys = tl.load(key_rows[:, None] + dims[None, :], mask=stored[:, None], other=0)
    values = tl.load(value_rows[:, None] + dims[None, :], mask=stored[:, None], other=0)
    if QUANTIZED:
        key_scales = tl.load(key_scales_at + at, mask=stored, other=0)
        value_scales = tl.load(value_scales_at + at, mask=stored, other=0)
    # Without a barrier the compiler saves registers: it waits for the keys, then loads the values.
    tl.debug_barrier()
    query = tl.load(new + dims).to(tl.float32) * score_scale
    has_new = position < first + SPLIT
    new_at = position * HEAD_DIM + dims
    keys = widened(keys) if QUANTIZED else keys.to(tl.float32)
    scores = tl.sum(keys * query[None, :], axis=1)
    if QUANTIZED:
        scores *= key_scales
        if has_new:
            new_key, scale = quantized(tl.load(new_key_at + dims).to(tl.float32))
            scores = tl.where(is_new, tl.sum(new_key * query) * scale, scores)
            tl.store(keys_at + new_at, new_key.to(tl.int8))
            tl.store(key_scales_at + position, scale)
    elif has_new:
        tl.store(keys_at + new_at, tl.load(new_key_at + dims))
        tl.store(values_at + new_at, tl.load(new_value_at + dims))
    scores = tl.where(known, scores, -float("inf"))
    peak = tl.max(scores)
    weights = tl.exp2(scores - peak)
    total = tl.sum(weights)
    scaled = weights * value_scales if QUANTIZED else weights
    values = widened(values) if QUANTIZED else values.to(tl.float32)
    summed = tl.sum(scaled[:, None] * values, axis=0)
    if QUANTIZED and has_new:
        new_value, scale = quantized(tl.load(new_value_at + dims).to(tl.float32))
        summed += tl.sum(tl.where(is_new, weights, 0)) * scale * new_value
        tl.store(values_at + new_at, new_value.to(tl.int8))
        tl.store(value_scales_at + position, scale)
    if DEPENDENT:
        gdc_launch_dependents()
    row = slot * tl.num_programs(1) + head
    tl.store(sums + (row * SPLITS + split) * HEAD_DIM + dims, summed)
    tl.store(softmax + row * 2 * SPLITS + split, peak)
    tl.store(softmax + (row * 2 + 1) * SPLITS + split, total)


@jit
def combine_splits(
    sums: tl.tensor,
    softmax: tl.tensor,
    positions: tl.tensor,
    out: tl.tensor,
    HEAD_DIM: tl.constexpr,
    SPLIT: tl.constexpr,
    SPLITS: tl.constexpr,
    DEPENDENT: tl.constexpr,
) -> None:
    """Combine the splits of one row's head: `attend_split`'s results -> out [B, R * H, Dh]."""
    slot = tl.program_id(1)
    row = slot * tl.num_programs(0) + tl.program_id(0)
    split = tl.arange(0, SPLITS)
    dims = tl.arange(0, HEAD_DIM)
    tile = (row * SPLITS + split[:, None]) * HEAD_DIM + dims[None, :]
    if DEPENDENT:
        gdc_wait()
    # All loads at once: none waits for the position. What no split has written is dropped below.
    position = tl.load(positions + slot).to(tl.int32)
    summed = tl.load(sums + tile)
    tl.debug_barrier()  # as in attend_split
    peaks = tl.load(softmax + row * 2 * SPLITS + split)
    totals = tl.load(softmax + (row * 2 + 1) * SPLITS + split)
    used = split <= position // SPLIT
    peaks = tl.where(used, peaks, -float("inf"))
    totals = tl.where(used, totals, 0)
    summed = tl.where(used[:, None], summed, 0)
    if DEPENDENT:
        gdc_launch_dependents()
    shares = tl.exp2(peaks - tl.max(peaks))
    y = tl.sum(summed * shares[:, None], axis=0) / tl.sum(totals * shares)
    tl.store(out + row * HEAD_DIM + dims, y)
