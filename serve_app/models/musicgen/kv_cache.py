"""What self-attention keeps of past positions, and its attention to it. A slot's rows are the conditional one, then the
unconditional one."""

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from serve_app.models.musicgen.cpu import is_fitted, precision_of
from serve_app.models.musicgen.model import MusicGen
from serve_app.models.musicgen.transformer import At, LayerCache, TransformerConfig

ROWS = 2


class KVCache(Protocol):
    """The keys and values of every layer."""

    @property
    def nbytes(self) -> int: ...

    def narrow(self, slots: slice, rows: int, length: int) -> Sequence[LayerCache]:
        """The layers' caches for a step that reaches so far: slots, rows of each, positions."""
        ...

    def clear(self, slot: int) -> None:
        """Make a slot's memory finite again: masked positions count for nothing unless they are not."""
        ...


class FloatKVCache:
    """In the model's own type, on its device."""

    def __init__(
        self,
        config: TransformerConfig,
        slots: int,
        max_length: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (config.num_layers, 2, slots, ROWS * config.num_heads, max_length, config.head_dim)
        self._memory = torch.zeros(shape, dtype=dtype, device=device)
        self._num_heads = config.num_heads

    @property
    def nbytes(self) -> int:
        return self._memory.nbytes

    def narrow(self, slots: slice, rows: int, length: int) -> Sequence[LayerCache]:
        memory = self._memory[:, :, slots, : rows * self._num_heads, :length]
        return [FloatLayerCache(layer, rows) for layer in memory.unbind()]

    def clear(self, slot: int) -> None:
        self._memory[:, :, slot] = 0


class FloatLayerCache:
    """memory: keys and values [2, B, R * H, L, Dh]"""

    def __init__(self, memory: Tensor, rows: int) -> None:
        self.rows, self._memory = rows, memory

    def attend(self, qkv: Tensor, at: At, mask: Tensor) -> Tensor:
        new = qkv.shape[0]
        by_kind = qkv.transpose(1, 2).flatten(2, 3)
        self._memory[:, at[0], :, at[1]] = by_kind[:, 1:]
        keys, values = self._memory.unbind()
        _, slots, heads, _, head_dim = self._memory.shape
        q = by_kind[:, 0].reshape(slots, -1, heads, head_dim).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask).transpose(1, 2)
        return y.reshape(new * self.rows, -1)


def allocate_cache(model: MusicGen, slots: int, max_length: int) -> KVCache:
    """For so many slots and positions; in 8 bits where the weights are, else in what is computed with."""
    config, embedding = model.config.transformer, model.embedding.weight
    if is_fitted(model):
        from serve_app.models.musicgen.cpu_kv_cache import (
            CpuKVCache,  # it imports numba, which small models do not need
        )

        return CpuKVCache(config, slots, max_length, narrow=precision_of(model) == "int8")
    return FloatKVCache(config, slots, max_length, embedding.dtype, embedding.device)
