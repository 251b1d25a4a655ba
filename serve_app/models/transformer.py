"""MusicGen's transformer: pre-norm decoder layers over a static KV cache.

Follows "Simple and Controllable Music Generation" (arXiv:2306.05284). Every slot of a batch holds two rows, a
conditional and an unconditional one, for classifier-free guidance; they differ in cross-attention alone. Where nobody
asks for guidance, the first row is enough.
"""

from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONDITIONAL, UNCONDITIONAL = 0, 1
_BEYOND_CACHE = 2**19  # elements


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


class TextMemory(NamedTuple):
    """Keys and values of the text for cross-attention, each [num_layers, (slots,) num_heads, tokens, head_dim]."""

    keys: Tensor
    values: Tensor


class Linear(nn.Linear):
    """A linear layer for few rows: x [..., in_features] -> [..., out_features].

    On a CPU, `weight @ x.T` reads weights that exceed the cache faster than `x @ weight.T`.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or self.weight.numel() < _BEYOND_CACHE:
            return F.linear(x, self.weight, self.bias)
        y = (self.weight @ x.reshape(-1, self.in_features).T).T
        if self.bias is not None:
            y = y + self.bias
        return y.reshape(*x.shape[:-1], self.out_features)


class SelfAttention(nn.Module):
    """Causal attention of new positions to the cached ones."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.num_heads, self.head_dim = config.num_heads, config.head_dim
        self.qkv_proj = Linear(config.hidden_size, 3 * config.hidden_size, bias=config.bias_attention)
        self.out_proj = Linear(config.hidden_size, config.hidden_size, bias=config.bias_attention)

    def forward(self, x: Tensor, cache: Tensor, at: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        """x [N, R, D], cache [2, B, R * H, L, Dh] (keys and values), mask [B, 1, T, L] (added) -> [N, R, D].

        The first B * T of x are T new positions of every slot, the rest is padding. Writes their keys and values into
        the cache at (slots, positions) `at`, each [B * T].
        """
        new, (_, rows, hidden_size) = len(at[0]), x.shape
        qkv = self.qkv_proj(x)[:new].view(new, rows, 3, self.num_heads, self.head_dim).transpose(1, 2)
        cache[:, at[0], :, at[1]] = qkv[:, 1:].flatten(2, 3)
        keys, values = cache.unbind()
        q = qkv[:, 0].reshape(len(keys), -1, rows * self.num_heads, self.head_dim).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask).transpose(1, 2)
        return cast(Tensor, self.out_proj(pad_slots(y.reshape(new, rows, hidden_size), len(x))))


class CrossAttention(nn.Module):
    """Attention of the conditional rows to the text."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.num_heads, self.head_dim = config.num_heads, config.head_dim
        self.q_proj = Linear(config.hidden_size, config.hidden_size, bias=config.bias_attention)
        self.kv_proj = Linear(config.hidden_size, 2 * config.hidden_size, bias=config.bias_attention)
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
        q = self.q_proj(x)[:new].view(len(keys), -1, self.num_heads, self.head_dim).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask).transpose(1, 2)
        return cast(Tensor, self.out_proj(pad_slots(y.reshape(new, -1), len(x))))

    def without_text(self) -> Tensor | None:
        """What an unconditional row gets, [D]: its keys and values are those of zeros, so only biases are left."""
        if self.kv_proj.bias is None:
            return None
        return cast(Tensor, self.out_proj(self.kv_proj.bias[self.out_proj.in_features :]))


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
        self, x: Tensor, cache: Tensor, at: tuple[Tensor, Tensor], mask: Tensor,
        text: tuple[Tensor, Tensor], text_mask: Tensor,
    ) -> Tensor:  # fmt: skip
        """x [N, R, D] -> [N, R, D]; the other shapes are those of the two attentions."""
        x = x + self.self_attn(self.self_attn_norm(x), cache, at, mask)
        conditional = x[:, CONDITIONAL]
        conditional += self.cross_attn(self.cross_attn_norm(conditional), *text, text_mask, len(at[0]))
        if (constant := self.cross_attn.without_text()) is not None:
            x[:, UNCONDITIONAL:] += constant
        return x + cast(Tensor, self.fc2(F.gelu(self.fc1(self.ffn_norm(x)))))


def allocate_cache(
    config: TransformerConfig, slots: int, max_length: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Keys and values of self-attention, zeros [num_layers, 2, slots, 2 * num_heads, max_length, head_dim].

    A slot's heads are those of its conditional row, then those of its unconditional row.
    """
    shape = (config.num_layers, 2, slots, 2 * config.num_heads, max_length, config.head_dim)
    return torch.zeros(shape, dtype=dtype, device=device)


def pad_slots(x: Tensor, slots: int) -> Tensor:
    """x [B, ...] -> [slots, ...], zeros below"""
    return x if len(x) == slots else F.pad(x, (0, 0) * (x.dim() - 1) + (0, slots - len(x)))


def sinusoidal_positions(length: int, hidden_size: int, device: torch.device, max_period: float = 10_000.0) -> Tensor:
    """Position embeddings [length, hidden_size], cosines first, as AudioCraft computes them."""
    half = hidden_size // 2
    exponent = torch.arange(half, device=device, dtype=torch.float32) / (half - 1)
    phase = torch.arange(length, device=device, dtype=torch.float32)[:, None] / (max_period**exponent)
    return torch.cat([phase.cos(), phase.sin()], dim=-1)


def causal_masks(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """[length, length]: row `i` is 0 up to and including position `i`, -inf beyond it."""
    return torch.full((length, length), -torch.inf, dtype=dtype, device=device).triu(1)
