"""Self-attention's KV cache on a CPU: fp32, or int8 with scales, a quarter of the bytes to read."""

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from serve_app.kernels.cpu.attention import attend
from serve_app.kernels.cpu.compilation import Floats, limit_threads, num_threads
from serve_app.models.musicgen.transformer import At, LayerCache, TransformerConfig


class CpuKVCache:
    """A cache for the CPU kernels.

    narrow: store int8 numbers, with one scale for each key and each value of a head.
    """

    def __init__(
        self, config: TransformerConfig, slots: int, rows: int, max_length: int, narrow: bool
    ) -> None:
        layers = config.num_layers
        shape = (layers, 2, slots, rows * config.num_heads, max_length, config.head_dim)
        scales_shape = shape[:-1] if narrow else (layers, 0, 0, 0, 0)
        self._stored = _resident(shape, np.int8 if narrow else np.float32)
        self._scales = _resident(scales_shape, np.float32)

    @property
    def nbytes(self) -> int:
        return self._stored.nbytes + self._scales.nbytes

    @property
    def tensors(self) -> list[Tensor]:
        arrays = [self._stored, self._scales] if self._scales.size else [self._stored]
        return [torch.from_numpy(array) for array in arrays]

    def narrow(self, slots: slice, rows: int, length: int) -> "CpuLayerCaches":
        """Return each layer's cache. `length` is unused: a position reads up to itself only."""
        del length
        limit_threads(torch.get_num_threads())
        return CpuLayerCaches(self._stored, self._scales, rows, slots.start)

    def clear(self, slot: int) -> None:
        """Do nothing: no position beyond a sequence's own is ever read."""


def _resident(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Zeros whose memory the system has given already.

    The first touch of a huge page takes a millisecond or two: of a cache, a step of half a second,
    for which the tracks of all lanes would wait.
    """
    array = np.empty(shape, dtype)
    array.fill(0)
    return array


class CpuLayerCaches(Sequence[LayerCache]):
    """The cache of every layer. Its arrays are those of CpuLayerCache with the layers before."""

    def __init__(self, stored: NDArray[Any], scales: Floats, rows: int, first_slot: int) -> None:
        self.rows = rows
        self.stored = stored
        self.scales = scales
        self.first_slot = first_slot

    def __len__(self) -> int:
        return len(self.stored)

    @overload
    def __getitem__(self, layer: int) -> LayerCache: ...

    @overload
    def __getitem__(self, layer: slice) -> "CpuLayerCaches": ...

    def __getitem__(self, layer: int | slice) -> "LayerCache | CpuLayerCaches":
        kind = CpuLayerCaches if isinstance(layer, slice) else CpuLayerCache
        return kind(self.stored[layer], self.scales[layer], self.rows, self.first_slot)


class CpuLayerCache:
    """One layer's keys and values of all slots; a step's slots begin at `first_slot`.

    stored [2, S, R * H, L, Dh]: keys and values, fp32 or int8; scales [2, S, R * H, L], empty for
    fp32.
    """

    def __init__(self, stored: NDArray[Any], scales: Floats, rows: int, first_slot: int) -> None:
        self.rows = rows
        self.stored = stored
        self.scales = scales
        self.first_slot = first_slot

    def attend(self, qkv: Tensor, at: At, mask: Tensor) -> Tensor:
        """Attend as LayerCache does. The mask is unused: a position reads up to itself only."""
        del mask
        new, rows, _, heads, head_dim = qkv.shape
        out = torch.empty(new, rows, heads, head_dim)
        attend(
            num_threads(),
            qkv.numpy(),
            at[0].numpy(),
            at[1].numpy(),
            self.stored,
            self.scales,
            self.first_slot,
            out.numpy(),
        )
        return out.view(new * rows, -1)
