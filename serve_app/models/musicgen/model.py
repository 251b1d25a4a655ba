"""MusicGen's language model over the codec's codebooks: new positions for every slot of a batch."""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from serve_app.models.chroma import MelodyConfig
from serve_app.models.musicgen.conditioning import ConditioningSpec, Conditions, CrossAttentionKV
from serve_app.models.musicgen.transformer import (
    At,
    CrossAttention,
    CrossAttentionInputs,
    DecoderLayer,
    LayerCache,
    Linear,
    TransformerConfig,
    pad_rows,
)
from serve_app.types import Content


@dataclass(frozen=True)
class MusicGenConfig:
    """Architecture of a MusicGen.

    delays: steps by which each codebook lags behind the first; audio_channels: 2 if the codebooks
    of a mono codec alternate between left and right; content: "audio" of an AudioGen, whose sounds
    are not music; melody: None for a model without melody conditioning; length_prompt: appended to
    prompts of tracks that fit one window, with {seconds} for their length; empty for most models.
    Raises ValueError if `conditioning` has no room for the melody.
    """

    transformer: TransformerConfig
    num_codebooks: int
    codebook_size: int
    delays: tuple[int, ...]
    audio_channels: int
    text_hidden_size: int
    project_text: bool = True
    bias_heads: bool = False
    max_duration_s: float = 30.0
    content: Content = "music"
    conditioning: ConditioningSpec = field(default_factory=ConditioningSpec)
    melody: MelodyConfig | None = None
    length_prompt: str = ""

    def __post_init__(self) -> None:
        if self.melody is None:
            return
        room = self.conditioning.prefix_positions
        if room != self.melody.chroma_length:
            raise ValueError(
                f"prefix_positions is {room}, but the melody has {self.melody.chroma_length} frames "
                "of chroma: set both to the same length"
            )

    @property
    def special_token(self) -> int:
        """The token of a codebook without a code: before its delay, and after its last frame."""
        return self.codebook_size


class MusicGen(nn.Module):
    """Codebook embeddings, decoder layers, one head for each codebook."""

    def __init__(self, config: MusicGenConfig) -> None:
        super().__init__()
        self.config = config
        transformer = config.transformer
        hidden_size = transformer.hidden_size
        cross_attention = config.conditioning.cross_attention
        self.embedding = nn.Embedding(
            config.num_codebooks * (config.codebook_size + 1), hidden_size
        )
        self.layers = nn.ModuleList(
            DecoderLayer(transformer, cross_attention) for _ in range(transformer.num_layers)
        )
        self.out_norm = nn.LayerNorm(hidden_size, eps=transformer.norm_eps)
        self.heads = Linear(
            hidden_size, config.num_codebooks * config.codebook_size, bias=config.bias_heads
        )
        self.text_proj: nn.Module = nn.Identity()
        if config.project_text:
            self.text_proj = nn.Linear(config.text_hidden_size, hidden_size)
        self.melody_proj: nn.Module = nn.Identity()
        if config.melody is not None and config.melody.projected:
            self.melody_proj = nn.Linear(config.melody.num_chroma, hidden_size)
        self.num_parameters = sum(parameter.numel() for parameter in self.parameters())

    def conditions(self, text: Tensor | None, leading: Tensor | None = None) -> Conditions:
        """Return the conditions of a text: the encoder's output [tokens, text_hidden_size].

        The text None is the empty prompt: one all-zero token after `text_proj`.
        leading [branches, prefix_positions, D]: embeddings of further conditions, which precede the
        text; None for a model without them. Raises ValueError for another number of positions.
        """
        self._check_leading(leading)
        if text is None:
            projected = self.embedding.weight.new_zeros(1, self.config.transformer.hidden_size)
        else:
            projected = self.text_proj(text.to(self.embedding.weight.dtype))
        if self.config.conditioning.cross_attention:
            return Conditions(self._cross_attention_kv(projected), leading)
        rows = self._text_prefix(projected)
        if leading is None:
            return Conditions(prefix=rows)
        # A melody until the caller, who knows it, says that it is silence.
        return Conditions(prefix=torch.cat([leading, rows], dim=1), melody=True)

    def leading(self, chroma: Tensor | None) -> Tensor:
        """Return embeddings [branches, chroma_length, D] of a melody, to lead `conditions`.

        chroma [chroma_length]: pitch classes, cut or repeated to that length by `chroma.fit`; None
        is silence, as in the unconditional row. Raises ValueError for another length, and for a
        model without melody conditioning.
        """
        melody = self.config.melody
        if melody is None:
            raise ValueError("the model has no melody conditioning: pass no `leading` conditions")
        silence = torch.zeros(
            melody.chroma_length, dtype=torch.int64, device=self.embedding.weight.device
        )
        given = silence if chroma is None else chroma.to(silence.device)
        if given.shape != silence.shape:
            raise ValueError(
                f"the melody has {tuple(given.shape)} frames of chroma, but the model takes "
                f"{melody.chroma_length}: cut or repeat them (`chroma.fit`)"
            )
        rows = torch.stack([given, silence][: self.config.conditioning.branches])
        one_hot = F.one_hot(rows, melody.num_chroma).to(self.embedding.weight.dtype)
        return cast(Tensor, self.melody_proj(one_hot))

    def embed(self, tokens: Tensor) -> Tensor:
        """Sum the codebooks' embeddings, for all rows: tokens [n, K] -> [n, 1, D].

        `embedding_offsets` must be added to the tokens before.
        """
        return cast(Tensor, self.embedding(tokens)).sum(dim=1, keepdim=True)

    def forward(
        self,
        x: Tensor,
        position_embedding: Tensor,
        at: At,
        cache: Sequence[LayerCache],
        mask: Tensor,
        cross: CrossAttentionInputs | None,
        padded_slots: int = 0,
    ) -> Tensor:
        """Run the layers over T new positions of each of B slots.

        x [B * T, R or 1, D]: embeddings of codes or of a prefix; position_embedding [B * T, D];
        mask [B, 1, T, L]: added to self-attention's scores; cross: CrossAttentionInputs stacked
        over the layers, with one mask. Returns hidden states [N * R, D], N >= B * T, for `logits`.

        R is the number of the cache's rows. With padded_slots, matrix products have at least so
        many positions, because their rounding depends on the number of rows.
        """
        layers = self.by_layer(x, position_embedding, at, cache, mask, cross, padded_slots)
        return deque(layers, maxlen=1).pop()

    def by_layer(
        self,
        x: Tensor,
        position_embedding: Tensor,
        at: At,
        cache: Sequence[LayerCache],
        mask: Tensor,
        cross: CrossAttentionInputs | None,
        padded_slots: int = 0,
    ) -> Iterator[Tensor]:
        """Run `forward` in parts: run a layer and yield its hidden states, for each of the layers.

        What the caller does between them has no effect on the result, unless it writes to the cache
        at positions up to the new ones.
        """
        rows = cache[0].rows
        positions = x.shape[0]
        x = x + position_embedding.to(x.dtype)[:, None]
        x = x.expand(-1, rows, -1).contiguous().view(positions * rows, -1)
        x = pad_rows(x, rows * max(padded_slots, positions))
        crosses = _by_layer(cross, len(self.layers))
        for layer, memory, layer_cross in zip(self.layers, cache, crosses, strict=True):
            x = layer(x, memory, at, mask, layer_cross)
            yield x

    def embedding_offsets(self) -> Tensor:
        """Return the first row [K] of each codebook in the embedding table."""
        config = self.config
        codebooks = torch.arange(config.num_codebooks, device=self.embedding.weight.device)
        return codebooks * (config.codebook_size + 1)

    def logits(self, hidden_states: Tensor) -> Tensor:
        """Apply the heads: hidden_states [n, D] -> [n, K, codebook_size]."""
        logits: Tensor = self.heads(self.out_norm(hidden_states))
        return logits.view(-1, self.config.num_codebooks, self.config.codebook_size)

    def _check_leading(self, leading: Tensor | None) -> None:
        given = 0 if leading is None else leading.shape[1]
        expected = self.config.conditioning.prefix_positions
        if given != expected:
            raise ValueError(
                f"{given} positions of further conditions were given, but this model takes "
                f"{expected}: pass `leading` of that length, or change `prefix_positions`"
            )

    def _text_prefix(self, text: Tensor) -> Tensor:
        """Return prefix rows [branches, tokens, D] of a text [tokens, D].

        The unconditional row is all zeros, as in AudioCraft's melody models.
        """
        rows = [text, torch.zeros_like(text)]
        return torch.stack(rows[: self.config.conditioning.branches])

    def _cross_attention_kv(self, text: Tensor) -> CrossAttentionKV:
        """Project a text [tokens, D] to every layer's keys and values."""
        pairs = [cast(CrossAttention, layer.cross_attn).project_text(text) for layer in self.layers]
        keys = torch.stack([keys for keys, _ in pairs])
        values = torch.stack([values for _, values in pairs])
        return CrossAttentionKV(keys, values)


def _by_layer(
    cross: CrossAttentionInputs | None, layers: int
) -> Iterable[CrossAttentionInputs | None]:
    if cross is None:
        return itertools.repeat(None, layers)
    pairs = zip(cross.keys.unbind(), cross.values.unbind(), strict=True)
    return (CrossAttentionInputs(keys, values, cross.mask) for keys, values in pairs)
