"""A decode step as one call of the CPU kernels."""

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from serve_app.kernels.cpu.compilation import Floats, num_threads
from serve_app.kernels.cpu.products import split_weight
from serve_app.kernels.cpu.step import decoder_step
from serve_app.models.musicgen.cpu_kv_cache import CpuLayerCaches
from serve_app.models.musicgen.cpu_layers import MANY_ROWS, CpuLinear
from serve_app.models.musicgen.fused_step import StepInputs, Texts
from serve_app.models.musicgen.model import MusicGen
from serve_app.models.musicgen.transformer import CrossAttentionInputs, DecoderLayer

CACHE_LINE = 64  # bytes
Stack = tuple[NDArray[Any], Floats, Floats]  # of a product's weights, scales and biases


class CpuStep:
    """The step of a model all of whose decoder layers and heads use CpuLinear.

    It moves their weights: those of all layers are one array for each product. The operating
    system gives huge pages to large arrays, from which memory is read a tenth faster.
    """

    def __init__(self, model: MusicGen) -> None:
        self._model = model
        layers = [cast(DecoderLayer, layer) for layer in model.layers]
        stacks = [*_stacks(layers), _stack([model.heads])]
        self._weights, self._scales, self._biases = zip(*stacks, strict=True)
        self._norms = np.stack([_norms(layer) for layer in layers])
        self._out_norm = _norm(model.out_norm)
        self._without_text = _without_text(layers)
        self._many_rows = cast(CpuLinear, model.heads).precision == "int8"

    def logits(self, inputs: StepInputs) -> Tensor:
        """Run the model at each slot's position -> logits [B, R, K, codebook_size].

        Many rows of float weights are computed layer by layer: their products are compute-bound, and
        the layers' are faster there.
        """
        config = self._model.config
        cache = cast(CpuLayerCaches, inputs.cache)
        slots = len(inputs.tokens)
        x = self._model.embed(inputs.tokens + self._model.embedding_offsets())
        position_embeddings = inputs.position_embeddings[inputs.positions]
        if slots * cache.rows > MANY_ROWS and not self._many_rows:
            logits = self._by_layers(x, position_embeddings, inputs)
        else:
            by_row = (x + position_embeddings[:, None]).expand(-1, cache.rows, -1).contiguous()
            logits = self._fused(by_row.view(slots * cache.rows, -1), cache, inputs)
        return logits.view(slots, cache.rows, config.num_codebooks, config.codebook_size)

    def _fused(self, x: Tensor, cache: CpuLayerCaches, inputs: StepInputs) -> Tensor:
        config = self._model.config
        transformer = config.transformer
        logits = torch.empty(len(x), config.num_codebooks * config.codebook_size)
        keys, values, last_tokens = _text_arrays(inputs.texts)
        decoder_step(
            num_threads(),
            x.numpy(),
            cache.rows,
            transformer.num_heads,
            transformer.ffn_dim,
            transformer.norm_eps,
            self._norms,
            self._out_norm,
            self._weights,
            self._scales,
            self._biases,
            np.arange(len(inputs.positions)),
            inputs.positions.numpy(),
            cache.stored,
            cache.scales,
            cache.first_slot,
            keys,
            values,
            last_tokens,
            self._without_text,
            logits.numpy(),
        )
        return logits

    def _by_layers(self, x: Tensor, position_embeddings: Tensor, inputs: StepInputs) -> Tensor:
        """Compute as MusicGen does. The CPU's cache needs no mask."""
        at = torch.arange(len(x)), inputs.positions
        cross = None
        if inputs.texts is not None:
            keys, values, last_token = inputs.texts
            ended = torch.arange(keys.shape[3]) > last_token[:, None]
            mask = torch.zeros(ended.shape).masked_fill(ended, -torch.inf)
            cross = CrossAttentionInputs(keys, values, mask[:, None, None])
        no_mask = torch.empty(0)
        hidden_states = self._model(x, position_embeddings, at, inputs.cache, no_mask, cross)
        return self._model.logits(hidden_states)


def _stacks(layers: Sequence[DecoderLayer]) -> list[Stack]:
    """Stack the products of all layers, in the order of `kernels.cpu.step`.

    Without cross-attention, whose products are then never read, others stand in for them.
    """
    out = _stack([layer.self_attn.out_proj for layer in layers])
    crosses = [layer.cross_attn for layer in layers if layer.cross_attn is not None]
    return [
        _stack([layer.self_attn.qkv_proj for layer in layers]),
        out,
        _stack([cross.q_proj for cross in crosses]) if crosses else out,
        _stack([cross.out_proj for cross in crosses]) if crosses else out,
        _stack([layer.fc1 for layer in layers]),
        _stack([layer.fc2 for layer in layers]),
    ]


def _stack(linears: Sequence[nn.Module]) -> Stack:
    """Move the weights of one product of every layer into one array."""
    moved = [cast(CpuLinear, linear) for linear in linears]
    first, _ = split_weight(moved[0].stored)
    weights = _aligned((len(moved), *first.shape), first.dtype)
    for linear, place in zip(moved, weights, strict=True):
        weight, scales = split_weight(linear.stored)
        place[:] = weight
        linear.stored = (place, scales) if scales.size else place
    all_scales = np.stack([split_weight(linear.stored)[1] for linear in moved])
    return weights, all_scales, np.stack([linear.bias_array for linear in moved])


def _aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return an empty array that begins with a cache line: loads of vectors then touch one line."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    return memory[start : start + size].view(dtype).reshape(shape)


def _norm(norm: nn.LayerNorm) -> Floats:
    """Weight and bias: [2, D]."""
    return np.stack([norm.weight.detach().numpy(), norm.bias.detach().numpy()])


def _norms(layer: DecoderLayer) -> Floats:
    """Weights and biases of a layer's three norms: [6, D]; zeros for one that it does not have."""
    first = _norm(layer.self_attn_norm)
    cross = np.zeros_like(first) if layer.cross_attn is None else _norm(layer.cross_attn_norm)
    return np.concatenate([first, cross, _norm(layer.ffn_norm)])


def _without_text(layers: Sequence[DecoderLayer]) -> Floats:
    """Cross-attention's outputs of unconditional rows: [layers, D], or [layers, 0] for zeros."""
    crosses = [layer.cross_attn for layer in layers if layer.cross_attn is not None]
    outputs = [cross.unconditional_output() for cross in crosses]
    known = [output[0].detach().numpy() for output in outputs if output is not None]
    return np.stack(known) if known else np.empty((len(layers), 0), np.float32)


def _text_arrays(texts: Texts | None) -> tuple[Floats, Floats, NDArray[np.int64]]:
    if texts is None:
        nothing = _strided(torch.zeros(1, 1, 1, 1, 1))  # without elements it would be contiguous
        return nothing, nothing, np.empty(0, np.int64)
    return _strided(texts.keys), _strided(texts.values), texts.last_token.numpy()


def _strided(x: Tensor) -> Floats:
    """Return a view with a further axis, along which nothing changes: [..., 2].

    numba compiles anew for contiguous arrays, which keys and values are for some numbers of slots
    and tokens only. These views never are.
    """
    return np.broadcast_to(x.numpy()[..., None], (*x.shape, 2))
