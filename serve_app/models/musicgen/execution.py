"""Execution backends: the layers, the KV cache and the attention for one device and precision.

A backend is selected where a model is loaded. A further one, such as GPU kernels, is one more class
here.
"""

from typing import Protocol

import torch

from serve_app.models.musicgen.kv_cache import FloatKVCache, KVCache
from serve_app.models.musicgen.model import MusicGen, MusicGenConfig

CACHED_WEIGHTS = 2**19  # a product with fewer weights than this reads them from the CPU's cache
_PRECISIONS = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}


class ExecutionBackend(Protocol):
    """The way in which a model runs.

    precision: of the stored weights; batch_invariant: whether a row's result is the same bits in
    every batch.
    """

    @property
    def precision(self) -> str: ...

    @property
    def batch_invariant(self) -> bool: ...

    def prepare(self, model: MusicGen) -> None:
        """Replace the model's layers by the backend's. Call once, after the weights are loaded."""
        ...

    def allocate_cache(self, config: MusicGenConfig, slots: int, max_length: int) -> KVCache:
        """Allocate the KV cache of a prepared model for so many slots and positions."""
        ...


class TorchBackend:
    """PyTorch's own operations, in the dtype of the loaded weights."""

    batch_invariant = False

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.precision = _PRECISIONS[dtype]
        self._dtype = dtype
        self._device = device

    def prepare(self, model: MusicGen) -> None:
        """Keep the model's layers."""

    def allocate_cache(self, config: MusicGenConfig, slots: int, max_length: int) -> KVCache:
        rows = config.conditioning.branches
        return FloatKVCache(config.transformer, slots, rows, max_length, self._dtype, self._device)


def torch_backend(model: MusicGen) -> TorchBackend:
    """Return the backend of a model whose layers are left as they were loaded."""
    weight = model.embedding.weight
    return TorchBackend(weight.dtype, weight.device)


def prepare_model(model: MusicGen, precision: str) -> ExecutionBackend:
    """Select the backend of a loaded model and prepare the model for it.

    precision: of the weights to store: fp32, fp16, bf16, or int8 on a CPU. On a CPU the model must
    be loaded in fp32.
    """
    backend = _select(model, precision)
    backend.prepare(model)
    return backend


def _select(model: MusicGen, precision: str) -> ExecutionBackend:
    small = model.heads.weight.numel() < CACHED_WEIGHTS
    if model.embedding.weight.device.type != "cpu" or (precision == "fp32" and small):
        return torch_backend(model)
    # Imported here: numba takes a second, and small models do without it.
    from serve_app.models.musicgen.cpu_backend import CpuBackend

    return CpuBackend(precision)
