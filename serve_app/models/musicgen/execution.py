"""Execution backends: the layers, the KV cache and the attention for one device and precision.

A backend is selected where a model is loaded. A further one is one more class here.
"""

import importlib.util
import logging
from typing import Literal, Protocol

import torch

from serve_app.errors import ConfigError
from serve_app.models.musicgen.fused_step import FusedStep
from serve_app.models.musicgen.int8_kv_cache import half_or_int8_cache
from serve_app.models.musicgen.kv_cache import KVCache
from serve_app.models.musicgen.model import MusicGen, MusicGenConfig
from serve_app.models.musicgen.prefill_rows import prefill_rows

Kernels = Literal["auto", "eager", "triton"]
KVCacheFormat = Literal["auto", "int8"]

logger = logging.getLogger(__name__)
CACHED_WEIGHTS = 2**19  # a product with fewer weights than this reads them from the CPU's cache
_PRECISIONS = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}


class ExecutionBackend(Protocol):
    """The way in which a model runs.

    precision: of the stored weights; batch_invariant: whether a row's result is the same bits in
    every batch; prefill_rows: the rows of a block of a prefill.
    """

    @property
    def precision(self) -> str: ...

    @property
    def batch_invariant(self) -> bool: ...

    @property
    def prefill_rows(self) -> int: ...

    def prepare(self, model: MusicGen) -> None:
        """Replace the model's layers by the backend's. Call once, after the weights are loaded."""
        ...

    def allocate_cache(self, config: MusicGenConfig, slots: int, max_length: int) -> KVCache:
        """Allocate the KV cache of a prepared model for so many slots and positions."""
        ...

    def fused_step(self, model: MusicGen, slots: int, max_length: int) -> FusedStep | None:
        """Return the step of a prepared model, None if the model's layers compute it."""
        ...


class TorchBackend:
    """PyTorch's own operations, in the dtype of the loaded weights.

    int8_cache: store keys and values in int8; attention_kernel: attend by this package's kernel in
    a step on a GPU.
    """

    batch_invariant = False

    def __init__(
        self, weight: torch.Tensor, int8_cache: bool = False, attention_kernel: bool = False
    ) -> None:
        self.precision = _PRECISIONS[weight.dtype]
        self.prefill_rows = prefill_rows(weight.device)
        self._weight = weight
        self._int8_cache = int8_cache
        self._attention_kernel = attention_kernel

    def prepare(self, model: MusicGen) -> None:
        """Keep the model's layers."""

    def allocate_cache(self, config: MusicGenConfig, slots: int, max_length: int) -> KVCache:
        rows = config.conditioning.branches
        cache = half_or_int8_cache(
            config.transformer, slots, rows, max_length, self._weight, self._int8_cache
        )
        if not self._attention_kernel:
            return cache
        # Imported here: a CPU needs no Triton.
        from serve_app.models.musicgen.cuda_kv_cache import CudaKVCache

        return CudaKVCache(cache, max_length)

    def fused_step(self, model: MusicGen, slots: int, max_length: int) -> None:
        """Leave the step to the model's layers."""


def torch_backend(model: MusicGen) -> TorchBackend:
    """Return the backend of a model whose layers are left as they were loaded."""
    return TorchBackend(model.embedding.weight)


def prepare_model(
    model: MusicGen, precision: str, kernels: Kernels = "auto", kv_cache: KVCacheFormat = "auto"
) -> ExecutionBackend:
    """Select the backend of a loaded model and prepare the model for it.

    precision: of the weights to store: fp32, fp16, bf16 or int8. On a CPU the model must be loaded
    in fp32, for int8 on a GPU in fp16 or bf16.
    kernels: on a GPU, `eager` is PyTorch's, `triton` this package's, `auto` these where they run.
    kv_cache: `int8`, or `auto`: the precision of the computation, on a CPU int8 with int8 weights.
    Raises ConfigError if `triton`, or int8 on a GPU, is not possible there.
    """
    backend = _select(model, precision, kernels, kv_cache == "int8")
    backend.prepare(model)
    return backend


def _select(
    model: MusicGen, precision: str, kernels: Kernels, int8_cache: bool
) -> ExecutionBackend:
    if model.embedding.weight.device.type == "cpu":
        return _on_cpu(model, precision, int8_cache)
    return _on_gpu(model, precision, kernels, int8_cache)


def _on_cpu(model: MusicGen, precision: str, int8_cache: bool) -> ExecutionBackend:
    if precision == "fp32" and model.heads.weight.numel() < CACHED_WEIGHTS:
        return TorchBackend(model.embedding.weight, int8_cache)
    # Imported here: numba takes a second, and small models do without it.
    from serve_app.models.musicgen.cpu_backend import CpuBackend

    return CpuBackend(precision, int8_cache)


def _on_gpu(
    model: MusicGen, precision: str, kernels: Kernels, int8_cache: bool
) -> ExecutionBackend:
    reason = _why_eager(model, kernels)
    if reason is None:
        from serve_app.models.musicgen.cuda_backend import cuda_backend

        return cuda_backend(model, precision, int8_cache)
    if kernels == "triton" or precision == "int8":
        option = "precision 'int8' on a GPU" if precision == "int8" else "kernels 'triton'"
        raise ConfigError(
            f"{option} is not possible: {reason}. Change that, or set kernels to auto and "
            "precision to fp16."
        )
    attention_kernel = _why_eager(model, kernels, dot=False) is None
    attention = " Attention has a kernel of this package." if attention_kernel else ""
    logger.info("A step runs on PyTorch's kernels: %s.%s", reason, attention)
    return TorchBackend(model.embedding.weight, int8_cache, attention_kernel)


def _why_eager(model: MusicGen, kernels: Kernels, dot: bool = True) -> str | None:
    """Return the reason for which a step on a GPU runs on PyTorch's kernels, None for Triton's.

    dot: whether the kernels need Triton's `tl.dot`.
    """
    if kernels == "eager":
        return "engine_kwargs.kernels is 'eager'"
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    # Imported here: a CPU needs no Triton.
    from serve_app.models.musicgen.cuda_backend import TENSOR_CORES, WITHOUT_DOT, why_unsupported

    return why_unsupported(model, TENSOR_CORES if dot else WITHOUT_DOT)
