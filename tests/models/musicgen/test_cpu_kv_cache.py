"""Attention to the int8 cache equals the exact one up to rounding, in every slot by itself."""

import pytest
import torch
from torch import Tensor

from serve_app.models.musicgen.cpu_kv_cache import CpuKVCache
from serve_app.models.musicgen.kv_cache import FloatKVCache, KVCache
from serve_app.models.musicgen.transformer import TransformerConfig, causal_masks

CONFIG = TransformerConfig(hidden_size=64, num_layers=2, num_heads=4, ffn_dim=128)
SLOTS, ROWS, LENGTH = 3, 2, 20
CPU = torch.device("cpu")


def caches() -> list[KVCache]:
    return [
        FloatKVCache(CONFIG, SLOTS, ROWS, LENGTH, torch.float32, CPU),
        CpuKVCache(CONFIG, SLOTS, ROWS, LENGTH, narrow=True),
    ]


def new_positions(count: int, rows: int = ROWS) -> Tensor:
    return torch.randn(count, rows, 3, CONFIG.num_heads, CONFIG.head_dim)


def prefill(cache: KVCache, slot: int, qkv: Tensor) -> list[Tensor]:
    """Positions from 0 on, all at once, in every layer."""
    at = torch.zeros(len(qkv), dtype=torch.int64), torch.arange(len(qkv))
    mask = causal_masks(LENGTH, torch.float32, CPU)[: len(qkv)][None, None]
    return [
        layer.attend(qkv, at, mask)
        for layer in cache.narrow(slice(slot, slot + 1), qkv.shape[1], LENGTH)
    ]


def step(cache: KVCache, positions: list[int], qkv: Tensor) -> list[Tensor]:
    """One position of each of the first slots."""
    at = torch.arange(len(positions)), torch.tensor(positions)
    mask = causal_masks(LENGTH, torch.float32, CPU)[at[1]][:, None, None]
    return [
        layer.attend(qkv, at, mask)
        for layer in cache.narrow(slice(0, len(positions)), qkv.shape[1], LENGTH)
    ]


@pytest.mark.parametrize("rows", [1, ROWS])
def test_both_attend_alike(rows: int) -> None:
    ours = caches()
    for slot, count in enumerate((7, 1, 12)):
        known = new_positions(count, rows)
        exact, narrow = (prefill(cache, slot, known) for cache in ours)
        for layer in range(CONFIG.num_layers):
            torch.testing.assert_close(narrow[layer], exact[layer], atol=0.03, rtol=0)
    for _ in range(3):
        new = new_positions(2, rows)
        exact, narrow = (step(cache, [7, 1], new) for cache in ours)
        torch.testing.assert_close(narrow[1], exact[1], atol=0.03, rtol=0)


def test_a_lone_slot_gets_the_same_bits() -> None:
    known = new_positions(5)
    new = new_positions(2)
    other = new_positions(9)
    alone = CpuKVCache(CONFIG, 1, ROWS, LENGTH, narrow=True)
    among = CpuKVCache(CONFIG, SLOTS, ROWS, LENGTH, narrow=True)
    prefill(among, 1, other)
    for cache in (alone, among):
        prefill(cache, 0, known)
    assert torch.equal(step(alone, [5], new[:1])[0], step(among, [5, 9], new)[0][:ROWS])


def test_it_takes_a_little_over_a_quarter() -> None:
    exact, narrow = caches()
    assert narrow.nbytes == exact.nbytes * (1 + 4 / CONFIG.head_dim) / 4
