"""MusicGen's language model over the codec's codebooks: new positions for every slot of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from serve_app.models.musicgen.transformer import (
    At,
    CrossAttentionKV,
    DecoderLayer,
    LayerCache,
    Linear,
    TransformerConfig,
    pad_rows,
)


@dataclass(frozen=True)
class MusicGenConfig:
    """The shape of a MusicGen. `delays` says how many steps each codebook lags behind the first; `audio_channels` is 2
    where the codebooks of a mono codec alternate between left and right."""

    transformer: TransformerConfig
    num_codebooks: int
    codebook_size: int
    delays: tuple[int, ...]
    audio_channels: int
    text_hidden_size: int
    project_text: bool = True
    bias_heads: bool = False
    max_duration_s: float = 30.0

    @property
    def special_token(self) -> int:
        """Stands where a codebook has no code: before its delay, and after its last frame."""
        return self.codebook_size


class MusicGen(nn.Module):
    """Codebook embeddings, decoder layers, one head per codebook."""

    def __init__(self, config: MusicGenConfig) -> None:
        super().__init__()
        self.config = config
        hidden_size, vocabulary = config.transformer.hidden_size, config.codebook_size + 1
        self.embedding = nn.Embedding(config.num_codebooks * vocabulary, hidden_size)
        self.layers = nn.ModuleList(
            DecoderLayer(config.transformer) for _ in range(config.transformer.num_layers)
        )
        self.out_norm = nn.LayerNorm(hidden_size, eps=config.transformer.norm_eps)
        self.heads = Linear(
            hidden_size, config.num_codebooks * config.codebook_size, bias=config.bias_heads
        )
        self.text_proj: nn.Module = (
            nn.Linear(config.text_hidden_size, hidden_size)
            if config.project_text
            else nn.Identity()
        )
        self.num_parameters = sum(parameter.numel() for parameter in self.parameters())

    def project_text(self, hidden_states: Tensor) -> CrossAttentionKV:
        """The text encoder's output [tokens, text_hidden_size] -> each layer's keys and values for cross-attention."""
        return self._memory(self.text_proj(hidden_states))

    def forward(
        self, tokens: Tensor, position_embedding: Tensor, at: At, cache: Sequence[LayerCache], mask: Tensor,
        text: CrossAttentionKV, text_mask: Tensor, padded_slots: int = 0,
    ) -> Tensor:  # fmt: skip
        """T new positions of each of B slots: tokens [B * T, K] with `embedding_offsets` added, position_embedding
        [B * T, D] -> hidden states [N * R, D], which `logits` takes, of N >= B * T.

        The cache has each layer's keys and values, of R rows: of row 0, which is conditional on the text, and of row 1,
        which is not. mask [B, 1, T, L] and text_mask [B, 1, 1, tokens] are added to the attentions' scores. With
        padded_slots, matrix products have at least so many positions, for their rounding depends on how many.
        """
        rows = cache[0].rows
        x = self.embedding(tokens).sum(dim=1) + position_embedding.to(self.embedding.weight.dtype)
        x = pad_rows(x.repeat_interleave(rows, dim=0), rows * max(padded_slots, tokens.shape[0]))
        for layer, memory, *texts in zip(
            self.layers, cache, text.keys.unbind(), text.values.unbind(), strict=True
        ):
            x = layer(x, memory, at, mask, texts, text_mask)
        return cast(Tensor, x)

    def embedding_offsets(self) -> Tensor:
        """[K]: where each codebook's embeddings begin."""
        config = self.config
        return torch.arange(config.num_codebooks, device=self.embedding.weight.device) * (
            config.codebook_size + 1
        )

    def logits(self, hidden_states: Tensor) -> Tensor:
        """hidden_states [n, D] -> [n, K, codebook_size]"""
        logits: Tensor = self.heads(self.out_norm(hidden_states))
        return logits.view(-1, self.config.num_codebooks, self.config.codebook_size)

    def project_no_text(self) -> CrossAttentionKV:
        """What stands for a text that is not there: one token that is zero behind `text_proj`."""
        return self._memory(self.embedding.weight.new_zeros(1, self.config.transformer.hidden_size))

    def _memory(self, text: Tensor) -> CrossAttentionKV:
        pairs = [cast(DecoderLayer, layer).cross_attn.project_text(text) for layer in self.layers]
        return CrossAttentionKV(
            torch.stack([keys for keys, _ in pairs]), torch.stack([values for _, values in pairs])
        )
