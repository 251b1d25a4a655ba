"""Cross-attention keys and values of every slot: computed once, read in every step."""

import torch

from serve_app.models.musicgen.conditioning import CrossAttentionKV
from serve_app.models.musicgen.fused_step import Texts
from serve_app.models.musicgen.transformer import (
    CrossAttentionInputs,
    TransformerConfig,
    causal_masks,
)


class CrossAttentionSlots:
    """Cross-attention keys and values of every slot's text."""

    def __init__(
        self,
        config: TransformerConfig,
        slots: int,
        max_tokens: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (config.num_layers, slots, config.num_heads, max_tokens, config.head_dim)
        self._keys = torch.zeros(shape, dtype=dtype, device=device)
        self._values = torch.zeros(shape, dtype=dtype, device=device)
        self._tokens = [0] * slots  # of the last text of each slot
        self._last_token = torch.zeros(slots, dtype=torch.int64, device=device)
        self._masks = causal_masks(max_tokens, dtype, device)

    @property
    def nbytes(self) -> int:
        return self._keys.nbytes + self._values.nbytes

    def put(self, slot: int, text: CrossAttentionKV) -> None:
        """Store the text of the slot's sequence.

        The rest of a longer text before it is zeroed: NaN in it would pass the mask, as 0 * NaN.
        """
        tokens = text.keys.shape[2]
        self._keys[:, slot, :, tokens : self._tokens[slot]].zero_()
        self._values[:, slot, :, tokens : self._tokens[slot]].zero_()
        self._tokens[slot] = tokens
        self._keys[:, slot, :, :tokens] = text.keys
        self._values[:, slot, :, :tokens] = text.values
        self._last_token[slot].fill_(tokens - 1)

    def narrow(self, slots: slice, tokens: int) -> CrossAttentionInputs:
        """Return all layers' keys and values [num_layers, B, H, tokens, Dh].

        The mask is -inf beyond each text's end.
        """
        mask = self._masks[:, :tokens][self._last_token[slots]][:, None, None]
        texts = self.texts(slots, tokens)
        return CrossAttentionInputs(texts.keys, texts.values, mask)

    def texts(self, slots: slice, tokens: int) -> Texts:
        """Return the same keys and values with the texts' ends in place of a mask."""
        keys = self._keys[:, slots, :, :tokens]
        values = self._values[:, slots, :, :tokens]
        return Texts(keys, values, self._last_token[slots])
