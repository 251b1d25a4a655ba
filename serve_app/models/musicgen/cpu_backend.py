"""The CPU backend: narrow weights and a fused step.

Decoding is memory-bound: a step reads all weights, so narrower weights make it faster.
"""

from concurrent.futures import ThreadPoolExecutor

from serve_app.cpus import usable_cpus
from serve_app.models.musicgen.cpu_kv_cache import CpuKVCache
from serve_app.models.musicgen.cpu_layers import MANY_ROWS, CpuLinear
from serve_app.models.musicgen.cpu_step import CpuStep
from serve_app.models.musicgen.model import MusicGen, MusicGenConfig
from serve_app.models.musicgen.prefill_rows import CPU_PREFILL_ROWS
from serve_app.models.musicgen.transformer import Linear


class CpuBackend:
    """Numba kernels over weights of one precision, and a KV cache in int8 or fp32.

    precision: fp32, fp16, bf16 or int8; int8_cache: store keys and values in int8, as int8 weights
    do in any case.
    """

    batch_invariant = True

    def __init__(self, precision: str, int8_cache: bool = False) -> None:
        self.precision = precision
        self.prefill_rows = MANY_ROWS if precision == "int8" else CPU_PREFILL_ROWS
        self._int8_cache = int8_cache or precision == "int8"
        self._step: CpuStep | None = None

    def prepare(self, model: MusicGen) -> None:
        """Quantize the decoder layers' and the heads' weights.

        The model must be in fp32. Embeddings, norms and the text projection stay in fp32. All
        arithmetic is fp32, except int8's products.
        """
        optimize_for_cpu(model, self.precision)

    def allocate_cache(self, config: MusicGenConfig, slots: int, max_length: int) -> CpuKVCache:
        rows = config.conditioning.branches
        return CpuKVCache(config.transformer, slots, rows, max_length, self._int8_cache)

    def fused_step(self, model: MusicGen, slots: int, max_length: int) -> CpuStep:
        """Return the step as one call, which any slots and lengths fit."""
        del slots, max_length
        if self._step is None:
            self._step = CpuStep(model)
        return self._step


def optimize_for_cpu(model: MusicGen, precision: str) -> None:
    """Replace each Linear by a CpuLinear."""
    linears = [
        (module, name, child)
        for module in model.modules()
        for name, child in module.named_children()
        if isinstance(child, Linear)
    ]
    with ThreadPoolExecutor(usable_cpus()) as threads:
        narrowed = threads.map(lambda found: CpuLinear(found[2], precision), linears)
        for (module, name, _), linear in zip(linears, narrowed, strict=True):
            setattr(module, name, linear)
