"""Linear and decoder layers on the Triton kernels."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from serve_app.kernels.cuda.attention import decode_attention
from serve_app.kernels.cuda.cross_attention import cross_attention
from serve_app.kernels.cuda.norm import Norm
from serve_app.kernels.cuda.products import Weights, Workspace, multiply
from serve_app.models.musicgen.conditioning import CONDITIONAL
from serve_app.models.musicgen.fused_step import Texts
from serve_app.models.musicgen.int8_kv_cache import Int8LayerCache
from serve_app.models.musicgen.kv_cache import FloatLayerCache
from serve_app.models.musicgen.transformer import CrossAttention, DecoderLayer

Cache = FloatLayerCache | Int8LayerCache
MAX_INT8 = 127  # quantization is symmetric: -128 is not used


class CudaLinear(nn.Module):
    """A linear layer with int8 weights and one scale for each output: x [n, K] -> [n, N].

    Called for many rows, as in a prefill, which dequantizes the weights. Steps read `weights`.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        self.bias = linear.bias
        weight = linear.weight.detach().float()
        scales = (weight.abs().amax(dim=1) / MAX_INT8).clamp(min=torch.finfo(torch.float32).tiny)
        self.qweight = torch.round(weight / scales[:, None]).to(torch.int8)
        self.scales = scales

    @property
    def weights(self) -> Weights:
        return Weights(self.qweight, self.scales, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        weight = (self.qweight * self.scales[:, None]).to(x.dtype)
        return F.linear(x, weight, self.bias)


def weights_of(linear: nn.Module) -> Weights:
    """Return the stored weights of a Linear or a CudaLinear."""
    if isinstance(linear, CudaLinear):
        return linear.weights
    stored = cast(nn.Linear, linear)
    return Weights(stored.weight, None, stored.bias)


def norm_of(norm: nn.LayerNorm) -> Norm:
    return Norm(norm.weight, norm.bias, norm.eps)


class CudaDecoderLayer:
    """A DecoderLayer as kernels: five to eight, one that combines the parts of attention, and norms.

    The norms of many rows are kernels of their own. Reads the weights where the DecoderLayer has them.
    """

    def __init__(self, layer: DecoderLayer, workspace: Workspace, max_length: int) -> None:
        self._workspace = workspace
        self._max_length = max_length
        self._heads = layer.self_attn.num_heads
        self._norm = norm_of(layer.self_attn_norm)
        self._qkv = weights_of(layer.self_attn.qkv_proj)
        self._out = weights_of(layer.self_attn.out_proj)
        self._cross: CudaCrossAttention | None = None
        if layer.cross_attn is not None:
            norm = norm_of(layer.cross_attn_norm)
            self._cross = CudaCrossAttention(layer.cross_attn, norm, workspace)
        self._ffn_norm = norm_of(layer.ffn_norm)
        self._fc1 = weights_of(layer.fc1)
        self._fc2 = weights_of(layer.fc2)

    def step(self, x: Tensor, cache: Cache, positions: Tensor, texts: Texts | None) -> None:
        """Run the layer on x [B * R, D] in place; positions [B]; texts: of this layer.

        Raises ValueError if the layer has cross-attention and `texts` is None.
        """
        self._attend(x, cache, positions)
        if self._cross is not None:
            self._cross.add(x.view(len(positions), cache.rows, -1), texts)
        wide = x.new_empty(len(x), len(self._fc1.weight))
        multiply(x, self._fc1, wide, self._workspace, self._ffn_norm, gelu=True)
        multiply(wide, self._fc2, x, self._workspace, residual=True)

    def _attend(self, x: Tensor, cache: Cache, positions: Tensor) -> None:
        qkv = x.new_empty(len(x), len(self._qkv.weight))
        multiply(x, self._qkv, qkv, self._workspace, self._norm)
        by_head = qkv.view(len(positions), cache.rows, 3, self._heads, -1)
        y = decode_attention(by_head, positions, cache.memory, cache.scales, self._max_length)
        multiply(y, self._out, x, self._workspace, residual=True)


class CudaCrossAttention:
    """Cross-attention of the conditional rows as kernels."""

    def __init__(self, cross_attn: CrossAttention, norm: Norm, workspace: Workspace) -> None:
        self._workspace = workspace
        self._norm = norm
        self._heads = cross_attn.num_heads
        self._q = weights_of(cross_attn.q_proj)
        self._out = weights_of(cross_attn.out_proj)
        with torch.no_grad():
            constant = cross_attn.unconditional_output()
        self._unconditional = None if constant is None else constant[0]

    def add(self, by_row: Tensor, texts: Texts | None) -> None:
        """Add cross-attention to by_row [B, R, D] in place."""
        if texts is None:
            raise ValueError(
                "a decode step of a model with cross-attention was run without a text: pass the "
                "slots' Texts"
            )
        x = by_row[:, CONDITIONAL]
        q = x.new_empty(x.shape)
        multiply(x, self._q, q, self._workspace, self._norm)
        y = cross_attention(q.view(len(q), self._heads, -1), *texts)
        constant = self._unconditional if by_row.shape[1] > 1 else None
        multiply(y, self._out, x, self._workspace, residual=True, constant=constant)
