"""Prefills in units of one layer over one block of positions, so that steps go on between them.

The blocks depend on the request alone. Results are therefore the same in whatever slices the units
are run.
"""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from serve_app.engine.bucket import bucket
from serve_app.engine.cross_attention_slots import CrossAttentionSlots
from serve_app.models.musicgen.kv_cache import KVCache
from serve_app.models.musicgen.model import MusicGen


class Part(NamedTuple):
    """Consecutive positions to fill in the first `rows` rows of a slot.

    x [T, rows or 1, D]: their embeddings, from `first_position` on.
    """

    first_position: int
    rows: int
    x: Tensor

    def blocks(self, positions: int) -> "Iterator[Part]":
        """Split into parts of so many positions."""
        first = self.first_position
        for x in torch.split(self.x, positions):
            yield Part(first, self.rows, x)
            first += len(x)


class Prefill:
    """The positions of one slot that are still to be filled.

    finite []: whether all hidden states so far were finite.
    """

    def __init__(self, slot: int, device: torch.device) -> None:
        self.slot = slot
        self.finite = torch.ones((), dtype=torch.bool, device=device)
        self.blocks: deque[Part] = deque()
        self.layers_done = 0  # of the first block
        self.running: Iterator[Tensor] | None = None


class Prefiller:
    """Fills the cache of one model by the model's own layers.

    block_rows: the most rows of a block.
    position_embeddings [L, D]; masks [L, L]: see `causal_masks`; texts: None for a model without
    cross-attention.
    """

    def __init__(
        self,
        model: MusicGen,
        cache: KVCache,
        position_embeddings: Tensor,
        masks: Tensor,
        texts: CrossAttentionSlots | None,
        max_text_tokens: int,
        block_rows: int,
    ) -> None:
        self._model = model
        self._cache = cache
        self._position_embeddings = position_embeddings
        self._masks = masks
        self._texts = texts
        self._max_text_tokens = max_text_tokens
        self._layers = model.config.transformer.num_layers
        self._device = model.embedding.weight.device
        self._block_rows = block_rows

    def add(self, prefill: Prefill, part: Part) -> None:
        """Append positions to those that are to be filled."""
        prefill.blocks.extend(part.blocks(self._block_rows // part.rows))

    def units(self, prefill: Prefill) -> int:
        """Count the units that are left."""
        return len(prefill.blocks) * self._layers - prefill.layers_done

    def run_unit(self, prefill: Prefill) -> None:
        """Run one layer over the present block."""
        if prefill.running is None:
            prefill.running = self._start(prefill.slot, prefill.blocks[0])
        hidden_states = next(prefill.running)
        prefill.layers_done += 1
        if prefill.layers_done == self._layers:
            prefill.finite.logical_and_(hidden_states.isfinite().all())
            prefill.blocks.popleft()
            prefill.layers_done = 0
            prefill.running = None

    def _start(self, slot: int, block: Part) -> Iterator[Tensor]:
        """Return the layers' hidden states of a block, each computed when it is asked for."""
        slots = slice(slot, slot + 1)
        end = block.first_position + len(block.x)
        positions = torch.arange(block.first_position, end, device=self._device)
        length = bucket(end)
        cross = None
        if self._texts is not None:
            cross = self._texts.narrow(slots, self._max_text_tokens)
        return self._model.by_layer(
            block.x,
            self._position_embeddings[positions],
            (torch.zeros_like(positions), positions),
            self._cache.narrow(slots, block.rows, length),
            self._masks[:, :length][positions][None, None],
            cross,
        )
