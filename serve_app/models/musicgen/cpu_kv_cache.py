"""Self-attention's keys and values on a CPU, in fp32 or in 8 bits: a quarter of the memory to read."""

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from serve_app.kernels.cpu.attention import attend
from serve_app.kernels.cpu.compilation import Floats
from serve_app.models.musicgen.kv_cache import ROWS
from serve_app.models.musicgen.transformer import At, LayerCache, TransformerConfig


class CpuKVCache:
    """narrow: in 8 bits; each key and each value of a head has a scale of its own then."""

    def __init__(
        self, config: TransformerConfig, slots: int, max_length: int, narrow: bool
    ) -> None:
        shape = (config.num_layers, 2, slots, ROWS * config.num_heads, max_length, config.head_dim)
        self._codes = np.zeros(shape, np.int8 if narrow else np.float32)
        self._scales = np.zeros(
            shape[:-1] if narrow else (config.num_layers, 0, 0, 0, 0), np.float32
        )

    @property
    def nbytes(self) -> int:
        return self._codes.nbytes + self._scales.nbytes

    def narrow(self, slots: slice, rows: int, length: int) -> Sequence[LayerCache]:
        """A position attends up to itself alone: how far the memory reaches makes no difference."""
        del length
        numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
        layers = zip(self._codes, self._scales, strict=True)
        return [CpuLayerCache(codes, scales, rows, slots.start) for codes, scales in layers]

    def clear(self, slot: int) -> None:
        """Nothing beyond a sequence's own positions is ever read."""


class CpuLayerCache:
    """codes [2, S, 2 * H, L, Dh], and scales [2, S, 2 * H, L] of 8-bit ones: keys and values of all slots; the step's
    begin at `first_slot`."""

    def __init__(self, codes: NDArray[Any], scales: Floats, rows: int, first_slot: int) -> None:
        self.rows, self.codes, self.scales, self.first_slot = rows, codes, scales, first_slot

    def attend(self, qkv: Tensor, at: At, mask: Tensor) -> Tensor:
        """A position attends up to itself, which is all that the mask says."""
        del mask
        new, rows, _, heads, head_dim = qkv.shape
        out = torch.empty(new, rows, heads, head_dim)
        attend(
            qkv.numpy(),
            at[0].numpy(),
            at[1].numpy(),
            self.codes,
            self.scales,
            self.first_slot,
            out.numpy(),
        )
        return out.view(new * rows, -1)
