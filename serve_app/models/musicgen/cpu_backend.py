"""The CPU backend: narrow weights and fused layers.

Decoding is memory-bound: a step reads all weights, so narrower weights make it faster.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import cast

from serve_app.models.musicgen.cpu_kv_cache import CpuKVCache
from serve_app.models.musicgen.cpu_layers import CpuDecoderLayer, CpuLinear
from serve_app.models.musicgen.model import MusicGen, MusicGenConfig
from serve_app.models.musicgen.transformer import DecoderLayer, Linear


class CpuBackend:
    """Numba kernels over weights of one precision, and a KV cache in int8 or fp32.

    precision: fp32, fp16, bf16 or int8; int8_cache: store keys and values in int8, as int8 weights
    do in any case.
    """

    batch_invariant = True

    def __init__(self, precision: str, int8_cache: bool = False) -> None:
        self.precision = precision
        self._int8_cache = int8_cache or precision == "int8"

    def prepare(self, model: MusicGen) -> None:
        """Quantize the decoder layers' and the heads' weights and fuse the layers.

        The model must be in fp32. Embeddings, norms and the text projection stay in fp32. All
        arithmetic is fp32, except int8's products.
        """
        optimize_for_cpu(model, self.precision)

    def allocate_cache(self, config: MusicGenConfig, slots: int, max_length: int) -> CpuKVCache:
        rows = config.conditioning.branches
        return CpuKVCache(config.transformer, slots, rows, max_length, self._int8_cache)

    def fused_step(self, model: MusicGen, slots: int, max_length: int) -> None:
        """Leave the step to the model's layers."""


def optimize_for_cpu(model: MusicGen, precision: str) -> None:
    """Replace each Linear by a CpuLinear, and decoder layers by fused layers.

    A layer without cross-attention keeps PyTorch's structure around its CpuLinear products.
    """
    linears = [
        (module, name, child)
        for module in model.modules()
        for name, child in module.named_children()
        if isinstance(child, Linear)
    ]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        narrowed = threads.map(lambda found: CpuLinear(found[2], precision), linears)
        for (module, name, _), linear in zip(linears, narrowed, strict=True):
            setattr(module, name, linear)
    for number, layer in enumerate(model.layers):
        decoder_layer = cast(DecoderLayer, layer)
        if decoder_layer.cross_attn is not None:
            model.layers[number] = CpuDecoderLayer(decoder_layer, decoder_layer.cross_attn)
