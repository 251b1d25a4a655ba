"""Conditioning of a MusicGen: by cross-attention to the text, or by a prefix of embeddings.

The published text models cross-attend to the text. The melody models have no cross-attention: their
conditions are embeddings in front of the codes, in the same causal sequence ("Simple and
Controllable Music Generation", arXiv:2306.05284, section 2.3).
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor

from serve_app.models.chroma import MelodyConfig

CONDITIONAL = 0  # the first row of a slot; the unconditional row follows
_BRANCHES = (1, 2)


@dataclass(frozen=True)
class ConditioningSpec:
    """The conditioning that a model expects.

    text: where the encoded text goes; prefix_positions: positions of the prefix beside the text's;
    branches: rows of a slot. Two rows serve classifier-free guidance. One row is a model without
    guidance, on which the sampling parameter cfg_coef has no effect.
    Raises ValueError for another number of branches: guidance combines one conditional row with one
    unconditional row (`apply_cfg`).
    """

    text: Literal["cross_attention", "prefix"] = "cross_attention"
    prefix_positions: int = 0
    branches: int = 2

    def __post_init__(self) -> None:
        if self.branches not in _BRANCHES:
            raise ValueError(
                f"{self.branches} guidance branches are not supported. "
                "Use 2 for classifier-free guidance, or 1 for a model without guidance."
            )

    @property
    def cross_attention(self) -> bool:
        return self.text == "cross_attention"

    def max_cross_tokens(self, max_text_tokens: int) -> int:
        """Return the most text tokens that cross-attention reads."""
        return max_text_tokens if self.cross_attention else 0

    def max_prefix(self, max_text_tokens: int) -> int:
        """Return the most positions that precede the codes."""
        return self.prefix_length(max_text_tokens)

    def prefix_length(self, text_tokens: int) -> int:
        """Return the positions that precede the codes. An empty text has one."""
        return self.prefix_positions + (0 if self.cross_attention else max(1, text_tokens))


class CrossAttentionKV(NamedTuple):
    """Keys and values of a text, each [num_layers, num_heads, tokens, head_dim]."""

    keys: Tensor
    values: Tensor


class Conditions(NamedTuple):
    """Conditions of one request.

    prefix [branches, positions, D]: embeddings without position embeddings, equally long in every
    branch; melody: whether the conditional row begins with a melody, and not as the unconditional
    one.
    """

    cross_attention: CrossAttentionKV | None = None
    prefix: Tensor | None = None
    melody: bool = False

    @property
    def prefix_positions(self) -> int:
        return 0 if self.prefix is None else self.prefix.shape[1]


def conditioning_of(melody: MelodyConfig | None) -> ConditioningSpec:
    """Return the conditioning of a published model with or without melody conditioning."""
    if melody is None:
        return ConditioningSpec()
    return ConditioningSpec(text="prefix", prefix_positions=melody.chroma_length)
