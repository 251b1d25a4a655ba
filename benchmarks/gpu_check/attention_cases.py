"""Cases of the attention kernels: all lengths around a split's border, NaN in what nobody wrote."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.gpu_check.kernel_case import Case, bound_of, deviation, random
from benchmarks.gpu_check.measurement import Setting
from benchmarks.peers import Scale
from serve_app.engine.bucket import bucket
from serve_app.kernels.cuda.attention import decode_attention
from serve_app.kernels.cuda.cross_attention import cross_attention

_ROWS = 2  # with and without guidance
_CAPACITY = 1536


def cases(size: str, scale: Scale, setting: Setting) -> Iterator[Case]:
    """Yield decode self-attention for several slots and lengths, and cross-attention."""
    for slots in (2,) if setting.tiny else (1, 4, 16):
        for length in (1, 65) if setting.tiny else (1, 63, 64, 65, 300, 1503):
            yield _self_attention(size, scale.num_heads, slots, length, setting)
        for tokens in (5,) if setting.tiny else (16, 256):
            yield _cross_attention(size, scale.num_heads, slots, tokens, setting)


def _self_attention(size: str, heads: int, slots: int, length: int, setting: Setting) -> Case:
    """Build a case of `length` keys, of which the last is the new position's."""
    width = bucket(length)
    cache = random(setting, 2, slots, _ROWS * heads, width, 64)
    cache[:, :, :, length - 1 :] = torch.nan
    qkv = random(setting, slots, _ROWS, 3, heads, 64)
    positions = torch.full((slots,), length - 1, device=setting.device)
    exact = _reference(qkv.float(), cache.float(), length)
    capacity = max(width, 0 if setting.tiny else _CAPACITY)

    def attend() -> Tensor:
        return decode_attention(qkv, positions, cache, None, capacity)

    mask = torch.zeros(1, 1, 1, width, device=setting.device, dtype=qkv.dtype)
    mask[..., length:] = -torch.inf
    query = qkv[:, :, 0].flatten(1, 2)[:, :, None]
    filled = torch.nan_to_num(cache)

    def theirs() -> Tensor:
        return F.scaled_dot_product_attention(query, filled[0], filled[1], mask)

    error = deviation(attend(), exact)
    nbytes = 2 * slots * _ROWS * heads * length * 64 * cache.element_size()
    name = f"{size}: self-attention, {slots} slots, {length} keys"
    return Case(name, error, bound_of(setting), attend, theirs, nbytes)


def _reference(qkv: Tensor, cache: Tensor, length: int) -> Tensor:
    """Attend in fp32: qkv [B, R, 3, H, 64], cache [2, B, R * H, L, 64] -> [B * R, H * 64]"""
    slots, rows, _, heads, head_dim = qkv.shape
    query, key, value = (part.flatten(1, 2)[:, :, None] for part in qkv.unbind(2))
    keys = torch.cat([cache[0, :, :, : length - 1], key], dim=2)
    values = torch.cat([cache[1, :, :, : length - 1], value], dim=2)
    out = F.scaled_dot_product_attention(query, keys, values)
    return out.reshape(slots * rows, heads * head_dim)


def _cross_attention(size: str, heads: int, slots: int, tokens: int, setting: Setting) -> Case:
    """Build a case of a text of `tokens` tokens in every slot."""
    width = bucket(tokens)
    keys = random(setting, slots, heads, width, 64)
    values = random(setting, slots, heads, width, 64, std=0.9)
    for one in (keys, values):
        one[:, :, tokens:] = torch.nan
    query = random(setting, slots, heads * 64)
    last = torch.full((slots,), tokens - 1, device=setting.device)

    def attend() -> Tensor:
        return cross_attention(query, keys, values, last)

    by_head = query.view(slots, heads, 1, 64)
    known_keys = keys[:, :, :tokens]
    known_values = values[:, :, :tokens]

    def theirs() -> Tensor:
        return F.scaled_dot_product_attention(by_head, known_keys, known_values)

    exact = F.scaled_dot_product_attention(
        by_head.float(), known_keys.float(), known_values.float()
    )
    error = deviation(attend(), exact.reshape(slots, heads * 64))
    nbytes = 2 * slots * heads * tokens * 64 * keys.element_size()
    name = f"{size}: cross-attention, {slots} slots, {tokens} tokens"
    return Case(name, error, bound_of(setting), attend, theirs, nbytes)
