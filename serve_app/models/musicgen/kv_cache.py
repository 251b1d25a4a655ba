"""Self-attention's KV cache in the compute dtype, and the protocol of all caches.

A slot holds one row for each guidance branch; the conditional row is the first.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from serve_app.models.musicgen.transformer import At, LayerCache, TransformerConfig


class KVCache(Protocol):
    """Keys and values of every layer."""

    @property
    def nbytes(self) -> int: ...

    @property
    def tensors(self) -> Sequence[Tensor]:
        """Return the stored numbers, each [num_layers, 2, slots, rows * num_heads, L, ...]."""
        ...

    def narrow(self, slots: slice, rows: int, length: int) -> Sequence[LayerCache]:
        """Return each layer's cache, limited to these slots, rows of a slot and positions."""
        ...

    def clear(self, slot: int) -> None:
        """Zero a slot after NaN or Inf: a masked position still contributes 0 * NaN."""
        ...


class FloatKVCache:
    """A cache in the model's dtype, on its device."""

    def __init__(
        self,
        config: TransformerConfig,
        slots: int,
        rows: int,
        max_length: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (config.num_layers, 2, slots, rows * config.num_heads, max_length, config.head_dim)
        self._memory = torch.zeros(shape, dtype=dtype, device=device)
        self._num_heads = config.num_heads

    @property
    def nbytes(self) -> int:
        return self._memory.nbytes

    @property
    def tensors(self) -> Sequence[Tensor]:
        return [self._memory]

    def narrow(self, slots: slice, rows: int, length: int) -> Sequence[LayerCache]:
        memory = self._memory[:, :, slots, : rows * self._num_heads, :length]
        return [FloatLayerCache(layer, rows) for layer in memory.unbind()]

    def clear(self, slot: int) -> None:
        self._memory[:, :, slot] = 0


class FloatLayerCache:
    """One layer's keys and values. memory: [2, B, R * H, L, Dh]"""

    scales: Tensor | None = None  # of an 8-bit cache's numbers

    def __init__(self, memory: Tensor, rows: int) -> None:
        self.rows = rows
        self.memory = memory

    def attend(self, qkv: Tensor, at: At, mask: Tensor) -> Tensor:
        by_kind = qkv.transpose(1, 2).flatten(2, 3)
        self.memory[:, at[0], :, at[1]] = by_kind[:, 1:]
        return attention(by_kind[:, 0], self.memory, mask).view(len(qkv) * self.rows, -1)


def attention(q: Tensor, keys_values: Tensor, mask: Tensor) -> Tensor:
    """Attend from T new positions of each of B slots, in PyTorch.

    q [B * T, R * H, Dh]; keys_values [2, B, R * H, L, Dh]; mask [B, 1, T, L]: added to the scores
    -> [B * T, R * H * Dh]
    """
    keys, values = keys_values.unbind()
    slots, heads, _, head_dim = keys.shape
    by_head = q.reshape(slots, -1, heads, head_dim).transpose(1, 2)
    y = F.scaled_dot_product_attention(by_head, keys, values, attn_mask=mask)
    return y.transpose(1, 2).reshape(len(q), -1)
