"""A decoder layer and a linear layer whose few rows go through `cpu_kernels`; many rows go through PyTorch."""

from typing import Any, cast

import numba
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from serve_app.kernels.cpu.layer import layer_step
from serve_app.kernels.cpu.packing import MAX_INT8, TILE, pack_int8, unpack_int8
from serve_app.kernels.cpu.products import QuantizedWeight, Weight, product
from serve_app.models.musicgen.cpu_kv_cache import CpuLayerCache
from serve_app.models.musicgen.transformer import At, DecoderLayer, LayerCache

MANY_ROWS = 32  # of which a product is bound by arithmetic, not by memory
_STORED_AS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class CpuLinear(nn.Module):
    """Stands in for a linear layer: x [n, in_features], fp32 -> [n, out_features].

    precision: what its weights are stored as. Up to MANY_ROWS, a row's result depends on no other row.
    """

    def __init__(self, linear: nn.Linear, precision: str) -> None:
        super().__init__()
        self.in_features, self.out_features, self.precision = (
            linear.in_features,
            linear.out_features,
            precision,
        )
        if self.out_features % TILE:
            raise ValueError(
                f"a layer of {self.in_features} x {self.out_features} cannot be made of whole tiles"
            )
        self.bias = linear.bias
        self.stored = _stored(linear.weight.detach(), precision)
        self.bias_array = (
            np.empty(0, np.float32) if self.bias is None else self.bias.detach().numpy()
        )

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > MANY_ROWS:
            return F.linear(x, self._weight(), self.bias)
        use_threads()
        y = torch.empty(len(x), self.out_features)
        product(x.contiguous().numpy(), self.stored, self.bias_array, y.numpy(), 1, False)
        return y

    def _weight(self) -> Tensor:
        """[out_features, in_features], in fp32"""
        if self.precision == "int8":
            codes, scales = cast(QuantizedWeight, self.stored)
            return (
                torch.from_numpy(unpack_int8(codes, self.in_features))
                * torch.from_numpy(scales)[:, None]
            )
        stored = cast(np.ndarray[Any, Any], self.stored)
        bits = stored if self.precision == "fp32" else stored.view(np.int16)
        return torch.from_numpy(bits).view(_STORED_AS[self.precision]).float()


def _stored(weight: Tensor, precision: str) -> Weight:
    """As the kernels take it."""
    if precision == "int8":
        scales = (weight.abs().amax(dim=1) / MAX_INT8).clamp(min=torch.finfo(torch.float32).tiny)
        return pack_int8(
            torch.round(weight / scales[:, None]).to(torch.int8).numpy()
        ), scales.numpy()
    stored = weight.to(_STORED_AS[precision]).contiguous()
    if precision == "fp32":
        return stored.numpy()
    bits = stored.view(torch.int16).numpy()
    return bits.view(np.uint16) if precision == "fp16" else bits


class CpuDecoderLayer(nn.Module):
    """Stands in for a DecoderLayer all of whose linear layers are CpuLinear; its forward is the same mathematics."""

    def __init__(self, layer: DecoderLayer) -> None:
        super().__init__()
        attention, self.cross_attn = layer.self_attn, layer.cross_attn
        self._layer, self._heads, self._eps = layer, attention.num_heads, layer.ffn_norm.eps
        norms = (layer.self_attn_norm, layer.cross_attn_norm, layer.ffn_norm)
        self._norms = tuple(
            part.detach().numpy() for norm in norms for part in (norm.weight, norm.bias)
        )
        linears = (
            attention.qkv_proj, attention.out_proj, self.cross_attn.q_proj, self.cross_attn.out_proj, layer.fc1,
            layer.fc2,
        )  # fmt: skip
        fitted = [cast(CpuLinear, linear) for linear in linears]
        self._ffn_dim = fitted[4].out_features
        self.weights: tuple[Any, ...] = tuple(linear.stored for linear in fitted)
        self._biases = tuple(linear.bias_array for linear in fitted)
        constant = self.cross_attn.without_text()
        self._without_text = np.empty(0, np.float32) if constant is None else constant[0].numpy()

    def forward(
        self,
        x: Tensor,
        cache: LayerCache,
        at: At,
        mask: Tensor,
        text: tuple[Tensor, Tensor],
        text_mask: Tensor,
    ) -> Tensor:
        """As DecoderLayer's. x is changed in place where its rows are few."""
        used = len(at[0]) * cache.rows
        if used > MANY_ROWS or not isinstance(cache, CpuLayerCache):
            return cast(Tensor, self._layer(x, cache, at, mask, text, text_mask))
        layer_step(
            x.numpy()[:used], cache.rows, self._heads, self._ffn_dim, self._norms, self._eps, self.weights,
            self._biases, at[0].numpy(), at[1].numpy(), cache.codes, cache.scales, cache.first_slot, text[0].numpy(),
            text[1].numpy(), text_mask.numpy(), self._without_text,
        )  # fmt: skip
        return x


def use_threads() -> None:
    """Let numba have as many as PyTorch has in this thread."""
    numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
