"""MusicGen's language model over the codec's codebooks: one decode step for every slot of a batch."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from serve_app.models.transformer import DecoderLayer, KVCache, Linear, TextMemory, TransformerConfig, pad_slots


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
        self.layers = nn.ModuleList(DecoderLayer(config.transformer) for _ in range(config.transformer.num_layers))
        self.out_norm = nn.LayerNorm(hidden_size, eps=config.transformer.norm_eps)
        self.heads = Linear(hidden_size, config.num_codebooks * config.codebook_size, bias=config.bias_heads)
        self.text_proj: nn.Module = (
            nn.Linear(config.text_hidden_size, hidden_size) if config.project_text else nn.Identity()
        )

    def project_text(self, hidden_states: Tensor) -> TextMemory:
        """The text encoder's output [tokens, text_hidden_size] -> each layer's keys and values for cross-attention."""
        text = self.text_proj(hidden_states)
        pairs = [cast(DecoderLayer, layer).cross_attn.project_text(text) for layer in self.layers]
        return TextMemory(torch.stack([keys for keys, _ in pairs]), torch.stack([values for _, values in pairs]))

    def forward(
        self, tokens: Tensor, position_embedding: Tensor, positions: Tensor, cache: KVCache, mask: Tensor,
        text: TextMemory, text_mask: Tensor, padded_slots: int = 0,
    ) -> Tensor:  # fmt: skip
        """One step: tokens [B, K] at positions [B], with position_embedding [B, D] -> logits [B, 2, K, codebook_size].

        mask [B, 1, 1, L] and text_mask [B, 1, 1, tokens] are added to the attentions' scores. Row 0 of a slot is
        conditional on the text, row 1 is not. The cache is written at `positions`. With padded_slots, matrix products
        have so many slots, whatever B is: their rounding depends on how many.
        """
        config = self.config
        offsets = torch.arange(config.num_codebooks, device=tokens.device) * (config.codebook_size + 1)
        x = self.embedding(tokens + offsets).sum(dim=1) + position_embedding.to(self.embedding.weight.dtype)
        x = pad_slots(x.unsqueeze(1).expand(-1, 2, -1), max(padded_slots, len(tokens)))
        at = (torch.arange(len(tokens), device=tokens.device), positions)
        for i, layer in enumerate(self.layers):
            pair = (cache.keys[i], cache.values[i])
            x = layer(x, pair, at, mask, (text.keys[i], text.values[i]), text_mask)
        logits = self.heads(self.out_norm(x))[: len(tokens)]
        return cast(Tensor, logits.view(*logits.shape[:2], config.num_codebooks, config.codebook_size))
