"""A decode step as Triton kernels: 9 in a layer with cross-attention, and 2 besides.

The norms of many rows are 3 more in a layer, and 1 besides.
"""

import itertools
from typing import cast

from torch import Tensor

from serve_app.kernels.cuda.embedding import embed
from serve_app.kernels.cuda.products import Shape, Workspace, multiply
from serve_app.models.musicgen.cuda_layers import Cache, CudaDecoderLayer, norm_of, weights_of
from serve_app.models.musicgen.fused_step import StepInputs
from serve_app.models.musicgen.model import MusicGen, MusicGenConfig
from serve_app.models.musicgen.transformer import DecoderLayer


class CudaStep:
    """The step of a model for up to `slots` slots and a cache of `max_length` positions.

    Reads the weights where the model has them. Steps of one CudaStep must not overlap.
    processors: streaming multiprocessors of the device.
    """

    def __init__(self, model: MusicGen, slots: int, max_length: int, processors: int) -> None:
        config = model.config
        rows = slots * config.conditioning.branches
        self._config = config
        self._table = model.embedding.weight
        shapes = product_shapes(config)
        self._workspace = Workspace(rows, shapes, processors, self._table.device)
        self._layers = [
            CudaDecoderLayer(cast(DecoderLayer, layer), self._workspace, max_length)
            for layer in model.layers
        ]
        self._out_norm = norm_of(model.out_norm)
        self._heads = weights_of(model.heads)

    def logits(self, inputs: StepInputs) -> Tensor:
        """Run the model at each slot's position -> logits [B, R, K, codebook_size]."""
        slots = len(inputs.tokens)
        cache = cast(list[Cache], inputs.cache)
        rows = cache[0].rows
        x = self._table.new_empty(slots * rows, self._table.shape[1])
        embed(inputs.tokens, self._table, inputs.positions, inputs.position_embeddings, x)
        texts = itertools.repeat(None) if inputs.texts is None else inputs.texts.by_layer()
        for layer, memory, text in zip(self._layers, cache, texts, strict=False):
            layer.step(x, memory, inputs.positions, text)
        logits = x.new_empty(len(x), len(self._heads.weight))
        multiply(x, self._heads, logits, self._workspace, self._out_norm)
        return logits.view(slots, rows, self._config.num_codebooks, -1)


def product_shapes(config: MusicGenConfig) -> list[Shape]:
    """Return outputs and inputs of a step's products."""
    size = config.transformer.hidden_size
    wide = config.transformer.ffn_dim
    heads = config.num_codebooks * config.codebook_size
    return [(3 * size, size), (size, size), (wide, size), (size, wide), (heads, size)]
