"""Self-attention's KV cache in 8 bits: about half the bytes of a half-precision cache to read.

At many slots and long contexts a step on a GPU reads more of the cache than of the weights.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from serve_app.models.musicgen.kv_cache import FloatKVCache, attention
from serve_app.models.musicgen.transformer import At, LayerCache, TransformerConfig

MAX_INT8 = 127  # quantization is symmetric: -128 is not used
SMALLEST_SCALE = 1e-30  # of a row of zeros


class Int8KVCache:
    """A cache of int8 numbers with one fp32 scale for each key and each value of a head."""

    def __init__(
        self,
        config: TransformerConfig,
        slots: int,
        rows: int,
        max_length: int,
        device: torch.device,
    ) -> None:
        shape = (config.num_layers, 2, slots, rows * config.num_heads, max_length)
        self._memory = torch.zeros(*shape, config.head_dim, dtype=torch.int8, device=device)
        self._scales = torch.zeros(shape, device=device)
        self._num_heads = config.num_heads

    @property
    def nbytes(self) -> int:
        return self._memory.nbytes + self._scales.nbytes

    @property
    def tensors(self) -> Sequence[Tensor]:
        return [self._memory, self._scales]

    def narrow(self, slots: slice, rows: int, length: int) -> Sequence[LayerCache]:
        part = (slice(None), slice(None), slots, slice(rows * self._num_heads), slice(length))
        layers = zip(self._memory[part].unbind(), self._scales[part].unbind(), strict=True)
        return [Int8LayerCache(memory, scales, rows) for memory, scales in layers]

    def clear(self, slot: int) -> None:
        self._memory[:, :, slot] = 0
        self._scales[:, :, slot] = 0


def half_or_int8_cache(
    config: TransformerConfig,
    slots: int,
    rows: int,
    max_length: int,
    weight: Tensor,
    int8: bool,
) -> "FloatKVCache | Int8KVCache":
    """Allocate a cache on the device of `weight`, in its dtype or in int8."""
    if int8:
        return Int8KVCache(config, slots, rows, max_length, weight.device)
    return FloatKVCache(config, slots, rows, max_length, weight.dtype, weight.device)


class Int8LayerCache:
    """One layer's keys and values. memory: [2, B, R * H, L, Dh], int8; scales: [2, B, R * H, L]"""

    def __init__(self, memory: Tensor, scales: Tensor, rows: int) -> None:
        self.rows = rows
        self.memory = memory
        self.scales = scales

    def attend(self, qkv: Tensor, at: At, mask: Tensor) -> Tensor:
        """Attend as LayerCache does, to the quantized keys and values, of new positions too."""
        by_kind = qkv.transpose(1, 2).flatten(2, 3)
        integers, scales = quantize(by_kind[:, 1:])
        self.memory[:, at[0], :, at[1]] = integers
        self.scales[:, at[0], :, at[1]] = scales
        keys_values = (self.memory * self.scales[..., None]).to(qkv.dtype)
        return attention(by_kind[:, 0], keys_values, mask).view(len(qkv) * self.rows, -1)


def quantize(x: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize each vector: x [..., Dh] -> int8 [..., Dh], fp32 scales [...]."""
    x = x.float()
    scales = (x.abs().amax(dim=-1) / MAX_INT8).clamp(min=SMALLEST_SCALE)
    return torch.round(x / scales[..., None]).to(torch.int8), scales
