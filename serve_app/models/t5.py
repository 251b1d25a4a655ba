"""Text encoder: T5's encoder (arXiv:1910.10683, section 2.1) behind its tokenizer.

Modules are named as in the published checkpoints. `transformers` has the same encoder, but its
import takes longer than all else that loads a small model.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
}


@dataclass(frozen=True)
class T5Config:
    """Sizes and options of the encoder, named as in the published configurations."""

    vocab_size: int
    d_model: int
    d_kv: int
    d_ff: int
    num_layers: int
    num_heads: int
    relative_attention_num_buckets: int
    relative_attention_max_distance: int
    layer_norm_epsilon: float
    dense_act_fn: str
    is_gated_act: bool


class RMSNorm(nn.Module):
    """Layer norm without mean and bias (arXiv:1910.07467)."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.d_model))
        self.eps = config.layer_norm_epsilon

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class Attention(nn.Module):
    """Self-attention without scaling, with a bias for each head and distance of two tokens."""

    def __init__(self, config: T5Config, has_bias: bool) -> None:
        super().__init__()
        inner = config.num_heads * config.d_kv
        self.config = config
        self.q = nn.Linear(config.d_model, inner, bias=False)
        self.k = nn.Linear(config.d_model, inner, bias=False)
        self.v = nn.Linear(config.d_model, inner, bias=False)
        self.o = nn.Linear(inner, config.d_model, bias=False)
        if has_bias:
            buckets = config.relative_attention_num_buckets
            self.relative_attention_bias = nn.Embedding(buckets, config.num_heads)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x [1, T, d_model], bias [1, H, T, T] -> [1, T, d_model]"""
        q, k, v = (self._by_head(linear(x)) for linear in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)
        return cast(Tensor, self.o(y.transpose(1, 2).flatten(2)))

    def bias(self, tokens: int) -> Tensor:
        """Return the bias [1, H, tokens, tokens] of every layer, which the first layer holds."""
        place = torch.arange(tokens, device=self.q.weight.device)
        buckets = distance_buckets(place[None] - place[:, None], self.config)
        return cast(Tensor, self.relative_attention_bias(buckets)).permute(2, 0, 1)[None]

    def _by_head(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.config.num_heads, self.config.d_kv).transpose(1, 2)


def distance_buckets(distances: Tensor, config: T5Config) -> Tensor:
    """Return the bucket of each distance: half of them for each direction.

    In each half, the nearer distances have a bucket each, and the others share logarithmic ones.
    """
    half = config.relative_attention_num_buckets // 2
    exact = half // 2
    far = distances.abs()
    longest = config.relative_attention_max_distance
    logarithmic = torch.log(far.clamp(min=1) / exact) / math.log(longest / exact)
    shared = (exact + (logarithmic * (half - exact)).long()).clamp(max=half - 1)
    return (distances > 0) * half + torch.where(far < exact, far, shared)


class FeedForward(nn.Module):
    """Two linear layers around an activation; a gated one multiplies it by a third."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self._activation = _ACTIVATIONS[config.dense_act_fn]
        self._gated = config.is_gated_act
        if self._gated:
            self.wi_0 = nn.Linear(config.d_model, config.d_ff, bias=False)
            self.wi_1 = nn.Linear(config.d_model, config.d_ff, bias=False)
        else:
            self.wi = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.wo = nn.Linear(config.d_ff, config.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self._gated:
            return cast(Tensor, self.wo(self._activation(self.wi_0(x)) * self.wi_1(x)))
        return cast(Tensor, self.wo(self._activation(self.wi(x))))


class SelfAttentionLayer(nn.Module):
    def __init__(self, config: T5Config, has_bias: bool) -> None:
        super().__init__()
        self.SelfAttention = Attention(config, has_bias)
        self.layer_norm = RMSNorm(config)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        return x + cast(Tensor, self.SelfAttention(self.layer_norm(x), bias))


class FeedForwardLayer(nn.Module):
    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.DenseReluDense = FeedForward(config)
        self.layer_norm = RMSNorm(config)

    def forward(self, x: Tensor, _: Tensor) -> Tensor:
        return x + cast(Tensor, self.DenseReluDense(self.layer_norm(x)))


class Block(nn.Module):
    def __init__(self, config: T5Config, has_bias: bool) -> None:
        super().__init__()
        self.layer = nn.ModuleList([SelfAttentionLayer(config, has_bias), FeedForwardLayer(config)])

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        for layer in self.layer:
            x = layer(x, bias)
        return x


class Stack(nn.Module):
    """The blocks, and the norm behind them."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            Block(config, has_bias=number == 0) for number in range(config.num_layers)
        )
        self.final_layer_norm = RMSNorm(config)

    def forward(self, x: Tensor) -> Tensor:
        """x [1, T, d_model] -> [1, T, d_model]"""
        first = cast(SelfAttentionLayer, cast(Block, self.block[0]).layer[0])
        bias = first.SelfAttention.bias(x.shape[1])
        for block in self.block:
            x = block(x, bias)
        return cast(Tensor, self.final_layer_norm(x))


class T5Encoder(nn.Module):
    """T5's encoder for one text, in which every token sees all others."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.config = config
        self.shared = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = Stack(config)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens [T] -> hidden states [T, d_model]"""
        return cast(Tensor, self.encoder(self.shared(tokens)[None])[0])


class TextEncoder(nn.Module):
    """T5's encoder behind its tokenizer: a prompt to hidden states."""

    def __init__(self, t5: T5Encoder, tokenizer: Any, hidden_size: int) -> None:
        super().__init__()
        self.t5 = t5
        self.tokenizer = tokenizer
        self.hidden_size = hidden_size

    def tokenize(self, prompt: str) -> list[int]:
        """Token ids of the prompt, with the end-of-sequence token."""
        return cast(list[int], self.tokenizer(prompt)["input_ids"])

    def forward(self, tokens: list[int]) -> Tensor:
        """tokens -> hidden states [len(tokens), hidden_size], on the encoder's device"""
        return cast(Tensor, self.t5(torch.tensor(tokens, device=self.t5.shared.weight.device)))
