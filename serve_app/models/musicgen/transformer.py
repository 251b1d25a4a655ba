"""MusicGen's transformer: pre-norm decoder layers over a static KV cache.

Follows "Simple and Controllable Music Generation" (arXiv:2306.05284). Every slot of a batch holds two rows, a
conditional and an unconditional one, for classifier-free guidance; they differ in cross-attention alone. Where nobody
asks for guidance, the first row is enough.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONDITIONAL, UNCONDITIONAL = 0, 1


@dataclass(frozen=True)
class TransformerConfig:
    hidden_size: int
    num_layers: int
    num_heads: int
    ffn_dim: int
    bias_attention: bool = False
    bias_ffn: bool = False
    norm_eps: float = 1e-5

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_heads


class CrossAttentionKV(NamedTuple):
    """Keys and values of the text for cross-attention, each [num_layers, (slots,) num_heads, tokens, head_dim]."""

    keys: Tensor
    values: Tensor


At = tuple[Tensor, Tensor]  # the slots and positions of new positions, each [n]


class LayerCache(Protocol):
    """One layer's keys and values, of `rows` rows a slot."""

    @property
    def rows(self) -> int: ...

    def attend(self, qkv: Tensor, at: At, mask: Tensor) -> Tensor:
        """Take the keys and values of new positions in, and attend from these.

        qkv [n, R, 3, H, Dh], as many positions of every slot; mask [B, 1, T, L]: added to the scores -> [n * R, H * Dh]
        """
        ...


class Linear(nn.Linear):
    """A linear layer whose weights a step reads, x [n, in_features] -> [n, out_features]. `cpu` may replace it."""


class SelfAttention(nn.Module):
    """Causal attention of new positions to the cached ones."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.num_heads, self.head_dim = config.num_heads, config.head_dim
        self.qkv_proj = Linear(
            config.hidden_size, 3 * config.hidden_size, bias=config.bias_attention
        )
        self.out_proj = Linear(config.hidden_size, config.hidden_size, bias=config.bias_attention)

    def forward(self, x: Tensor, cache: LayerCache, at: At, mask: Tensor) -> Tensor:
        """x [N * R, D], mask [B, 1, T, L] (added) -> [N * R, D].

        The first B * T of N are T new positions of every slot, those `at`; the rest is padding.
        """
        new, rows = at[0].shape[0], cache.rows
        qkv = self.qkv_proj(x)[: new * rows].view(new, rows, 3, self.num_heads, self.head_dim)
        return cast(Tensor, self.out_proj(pad_rows(cache.attend(qkv, at, mask), x.shape[0])))


class CrossAttention(nn.Module):
    """Attention of the conditional rows to the text."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.num_heads, self.head_dim = config.num_heads, config.head_dim
        self.q_proj = Linear(config.hidden_size, config.hidden_size, bias=config.bias_attention)
        self.kv_proj = Linear(
            config.hidden_size, 2 * config.hidden_size, bias=config.bias_attention
        )
        self.out_proj = Linear(config.hidden_size, config.hidden_size, bias=config.bias_attention)

    def project_text(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """text [tokens, D] -> keys, values [num_heads, tokens, Dh]"""
        kv = self.kv_proj(text).view(len(text), 2, self.num_heads, self.head_dim)
        keys, values = kv.permute(1, 2, 0, 3).unbind(0)
        return keys, values

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor, new: int) -> Tensor:
        """x [N, D], keys and values [B, H, tokens, Dh], mask [B, 1, 1, tokens] (added) -> [N, D].

        The first `new` of x, as many of every slot, are positions; the rest is padding.
        """
        q = (
            self.q_proj(x)[:new]
            .view(keys.shape[0], -1, self.num_heads, self.head_dim)
            .transpose(1, 2)
        )
        y = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask).transpose(1, 2)
        return cast(Tensor, self.out_proj(pad_rows(y.reshape(new, -1), x.shape[0])))

    def without_text(self) -> Tensor | None:
        """What an unconditional row gets, [1, D]: its keys and values are those of zeros, so only biases are left."""
        if self.kv_proj.bias is None:
            return None
        return cast(Tensor, self.out_proj(self.kv_proj.bias[None, self.out_proj.in_features :]))


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention and feed-forward, each behind a layer norm and added to its input."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.self_attn_norm = nn.LayerNorm(config.hidden_size, eps=config.norm_eps)
        self.self_attn = SelfAttention(config)
        self.cross_attn_norm = nn.LayerNorm(config.hidden_size, eps=config.norm_eps)
        self.cross_attn = CrossAttention(config)
        self.ffn_norm = nn.LayerNorm(config.hidden_size, eps=config.norm_eps)
        self.fc1 = Linear(config.hidden_size, config.ffn_dim, bias=config.bias_ffn)
        self.fc2 = Linear(config.ffn_dim, config.hidden_size, bias=config.bias_ffn)

    def forward(
        self, x: Tensor, cache: LayerCache, at: At, mask: Tensor,
        text: tuple[Tensor, Tensor], text_mask: Tensor,
    ) -> Tensor:  # fmt: skip
        """x [N * R, D] -> [N * R, D]; the other shapes are those of the two attentions."""
        x = x + self.self_attn(self.self_attn_norm(x), cache, at, mask)
        by_row = x.view(-1, cache.rows, x.shape[1])
        conditional = by_row[:, CONDITIONAL]
        conditional += self.cross_attn(
            self.cross_attn_norm(conditional), *text, text_mask, at[0].shape[0]
        )
        if (constant := self.cross_attn.without_text()) is not None:
            by_row[:, UNCONDITIONAL:] += constant
        return x + cast(Tensor, self.fc2(F.gelu(self.fc1(self.ffn_norm(x)))))


def pad_rows(x: Tensor, rows: int) -> Tensor:
    """x [n, D] -> [rows, D], zeros below"""
    return x if x.shape[0] == rows else F.pad(x, (0, 0, 0, rows - x.shape[0]))


def sinusoidal_positions(
    length: int, hidden_size: int, device: torch.device, max_period: float = 10_000.0
) -> Tensor:
    """Position embeddings [length, hidden_size], cosines first, as AudioCraft computes them."""
    half = hidden_size // 2
    exponent = torch.arange(half, device=device, dtype=torch.float32) / (half - 1)
    phase = torch.arange(length, device=device, dtype=torch.float32)[:, None] / (
        max_period**exponent
    )
    return torch.cat([phase.cos(), phase.sin()], dim=-1)


def causal_masks(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """[length, length]: row `i` is 0 up to and including position `i`, -inf beyond it."""
    return torch.full((length, length), -torch.inf, dtype=dtype, device=device).triu(1)
