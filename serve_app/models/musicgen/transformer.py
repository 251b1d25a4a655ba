"""MusicGen's transformer: pre-norm decoder layers over a static KV cache.

Implements "Simple and Controllable Music Generation" (arXiv:2306.05284). A slot of a batch holds
one row for each branch of classifier-free guidance: the conditional row, then the unconditional
one.
Without guidance the first row suffices.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from serve_app.models.musicgen.conditioning import CONDITIONAL


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of the decoder, and which of its linear layers have biases."""

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


class CrossAttentionInputs(NamedTuple):
    """One layer's cross-attention to the slots' texts.

    keys, values [B, H, tokens, Dh]; mask [B, 1, 1, tokens]: added to the scores.
    """

    keys: Tensor
    values: Tensor
    mask: Tensor


At = tuple[Tensor, Tensor]  # slot and position of each new position, each [n]


class LayerCache(Protocol):
    """One layer's keys and values, with `rows` rows for each slot."""

    @property
    def rows(self) -> int: ...

    def attend(self, qkv: Tensor, at: At, mask: Tensor) -> Tensor:
        """Store the keys and values of new positions, and attend from these positions.

        qkv [n, R, 3, H, Dh], equally many positions of every slot; mask [B, 1, T, L]: added to the
        scores -> [n * R, H * Dh]
        """
        ...


class Linear(nn.Linear):
    """A linear layer whose weights a step reads: x [n, in_features] -> [n, out_features].

    An execution backend may replace it.
    """


class SelfAttention(nn.Module):
    """Causal attention of new positions to the cached ones."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.head_dim = config.head_dim
        self.qkv_proj = Linear(
            config.hidden_size, 3 * config.hidden_size, bias=config.bias_attention
        )
        self.out_proj = Linear(config.hidden_size, config.hidden_size, bias=config.bias_attention)

    def forward(self, x: Tensor, cache: LayerCache, at: At, mask: Tensor) -> Tensor:
        """Attend from new positions: x [N * R, D], mask [B, 1, T, L] (added) -> [N * R, D].

        The first B * T of N are T new positions of every slot, at `at`; the rest is padding.
        """
        new = at[0].shape[0]
        rows = cache.rows
        qkv = self.qkv_proj(x)[: new * rows].view(new, rows, 3, self.num_heads, self.head_dim)
        return cast(Tensor, self.out_proj(pad_rows(cache.attend(qkv, at, mask), x.shape[0])))


class CrossAttention(nn.Module):
    """Attention of the conditional rows to the text."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.head_dim = config.head_dim
        self.q_proj = Linear(config.hidden_size, config.hidden_size, bias=config.bias_attention)
        self.kv_proj = Linear(
            config.hidden_size, 2 * config.hidden_size, bias=config.bias_attention
        )
        self.out_proj = Linear(config.hidden_size, config.hidden_size, bias=config.bias_attention)

    def project_text(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Project a text once: text [tokens, D] -> keys, values [num_heads, tokens, Dh]."""
        kv = self.kv_proj(text).view(len(text), 2, self.num_heads, self.head_dim)
        keys, values = kv.permute(1, 2, 0, 3).unbind(0)
        return keys, values

    def forward(self, x: Tensor, cross: CrossAttentionInputs, new: int) -> Tensor:
        """Attend to the texts: x [N, D] -> [N, D].

        The first `new` of N are positions, equally many of every slot; the rest is padding.
        """
        slots = cross.keys.shape[0]
        q = self.q_proj(x)[:new].view(slots, -1, self.num_heads, self.head_dim).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, cross.keys, cross.values, attn_mask=cross.mask)
        by_position = y.transpose(1, 2).reshape(new, -1)
        return cast(Tensor, self.out_proj(pad_rows(by_position, x.shape[0])))

    def unconditional_output(self) -> Tensor | None:
        """Return the output [1, D] of an unconditional row, None if it is zero.

        Keys and values of the row are projections of zeros, so that only the biases remain.
        """
        if self.kv_proj.bias is None:
            return None
        return cast(Tensor, self.out_proj(self.kv_proj.bias[None, self.out_proj.in_features :]))


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention and feed-forward: pre-norm, residual.

    cross_attention: False omits that part, as in models conditioned by a prefix.
    """

    def __init__(self, config: TransformerConfig, cross_attention: bool = True) -> None:
        super().__init__()
        self.self_attn_norm = nn.LayerNorm(config.hidden_size, eps=config.norm_eps)
        self.self_attn = SelfAttention(config)
        self.cross_attn: CrossAttention | None = None
        if cross_attention:
            self.cross_attn_norm = nn.LayerNorm(config.hidden_size, eps=config.norm_eps)
            self.cross_attn = CrossAttention(config)
        self.ffn_norm = nn.LayerNorm(config.hidden_size, eps=config.norm_eps)
        self.fc1 = Linear(config.hidden_size, config.ffn_dim, bias=config.bias_ffn)
        self.fc2 = Linear(config.ffn_dim, config.hidden_size, bias=config.bias_ffn)

    def forward(
        self, x: Tensor, cache: LayerCache, at: At, mask: Tensor, cross: CrossAttentionInputs | None
    ) -> Tensor:
        """Run the layer: x [N * R, D] -> [N * R, D]. Other shapes are those of the two attentions.

        Raises ValueError if the layer has cross-attention and `cross` is None.
        """
        x = x + self.self_attn(self.self_attn_norm(x), cache, at, mask)
        if self.cross_attn is not None:
            self._add_cross_attention(self.cross_attn, x, cache.rows, cross, at[0].shape[0])
        return x + cast(Tensor, self.fc2(F.gelu(self.fc1(self.ffn_norm(x)))))

    def _add_cross_attention(
        self,
        cross_attn: CrossAttention,
        x: Tensor,
        rows: int,
        cross: CrossAttentionInputs | None,
        new: int,
    ) -> None:
        """Add cross-attention to x [N * R, D] in place; new: positions that are no padding."""
        if cross is None:
            raise ValueError(
                "a decoder layer with cross-attention was run without a text: pass the slots' "
                "CrossAttentionInputs, or build the model with ConditioningSpec(text='prefix')"
            )
        by_row = x.view(-1, rows, x.shape[1])
        conditional = by_row[:, CONDITIONAL]
        conditional += cross_attn(self.cross_attn_norm(conditional), cross, new)
        if (constant := cross_attn.unconditional_output()) is not None:
            by_row[:, CONDITIONAL + 1 :] += constant


def pad_rows(x: Tensor, rows: int) -> Tensor:
    """Append rows of zeros: x [n, D] -> [rows, D]."""
    return x if x.shape[0] == rows else F.pad(x, (0, 0, 0, rows - x.shape[0]))


def sinusoidal_positions(
    length: int, hidden_size: int, device: torch.device, max_period: float = 10_000.0
) -> Tensor:
    """Return position embeddings [length, hidden_size], cosines first, as in AudioCraft."""
    half = hidden_size // 2
    exponent = torch.arange(half, device=device, dtype=torch.float32) / (half - 1)
    phase = torch.arange(length, device=device, dtype=torch.float32)[:, None] / (
        max_period**exponent
    )
    return torch.cat([phase.cos(), phase.sin()], dim=-1)


def causal_masks(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return masks [length, length]: row `i` is 0 up to and including position `i`, else -inf."""
    return torch.full((length, length), -torch.inf, dtype=dtype, device=device).triu(1)
