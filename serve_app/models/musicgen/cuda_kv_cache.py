"""Self-attention of the model's own layers by the decode kernel, for GPUs without the fused step."""

from collections.abc import Sequence
from typing import cast

from torch import Tensor

from serve_app.kernels.cuda.attention import decode_attention
from serve_app.models.musicgen.int8_kv_cache import Int8KVCache, Int8LayerCache
from serve_app.models.musicgen.kv_cache import FloatKVCache, FloatLayerCache
from serve_app.models.musicgen.transformer import At, LayerCache


class CudaKVCache:
    """A cache of `max_length` positions: steps attend by the kernel, prefills as `cache` does."""

    def __init__(self, cache: FloatKVCache | Int8KVCache, max_length: int) -> None:
        self._cache = cache
        self._max_length = max_length

    @property
    def nbytes(self) -> int:
        return self._cache.nbytes

    @property
    def tensors(self) -> Sequence[Tensor]:
        return self._cache.tensors

    def narrow(self, slots: slice, rows: int, length: int) -> Sequence[LayerCache]:
        layers = self._cache.narrow(slots, rows, length)
        typed = cast(list[FloatLayerCache | Int8LayerCache], layers)
        return [CudaLayerCache(layer, self._max_length) for layer in typed]

    def clear(self, slot: int) -> None:
        self._cache.clear(slot)


class CudaLayerCache:
    """One layer's keys and values."""

    def __init__(self, layer: FloatLayerCache | Int8LayerCache, max_length: int) -> None:
        self.rows = layer.rows
        self._layer = layer
        self._max_length = max_length

    def attend(self, qkv: Tensor, at: At, mask: Tensor) -> Tensor:
        """Attend as LayerCache does. One position of every slot needs no mask."""
        memory = self._layer.memory
        if len(qkv) != memory.shape[1]:
            return self._layer.attend(qkv, at, mask)
        return decode_attention(qkv, at[1], memory, self._layer.scales, self._max_length)
