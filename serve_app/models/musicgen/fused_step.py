"""A decode step that a backend computes as a whole, from the tokens to the logits."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from serve_app.models.musicgen.transformer import LayerCache


class Texts(NamedTuple):
    """Cross-attention to the slots' texts, of all layers or of one.

    keys, values [num_layers, B, H, tokens, Dh], or [B, H, tokens, Dh]; last_token [B]: the end of
    each text.
    """

    keys: Tensor
    values: Tensor
    last_token: Tensor

    def by_layer(self) -> "list[Texts]":
        """Return views of each layer."""
        pairs = zip(self.keys.unbind(), self.values.unbind(), strict=True)
        return [Texts(keys, values, self.last_token) for keys, values in pairs]


class StepInputs(NamedTuple):
    """Inputs of a step of B slots.

    tokens [B, K]: within their codebooks; positions [B]: in the cache; position_embeddings [L, D];
    cache: of each layer; texts: None for a model without cross-attention.
    """

    tokens: Tensor
    positions: Tensor
    position_embeddings: Tensor
    cache: Sequence[LayerCache]
    texts: Texts | None


class FusedStep(Protocol):
    """One step of decoding, in a few kernels."""

    def logits(self, inputs: StepInputs) -> Tensor:
        """Run the model at each slot's position -> logits [B, R, K, codebook_size]."""
        ...
