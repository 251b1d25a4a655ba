"""The tensors of decoding on one device, and the step over the first slots of the batch.

A step reads and writes tensors only: drawn codes stay on the device until they are decoded to
audio. All that depends on a request is a tensor over slots, so that one step serves any mix of
requests.
"""

from time import perf_counter
from typing import NamedTuple

import torch
from torch import Tensor

from serve_app.engine.bucket import bucket
from serve_app.engine.cross_attention_slots import CrossAttentionSlots
from serve_app.engine.delay import num_steps, undelay
from serve_app.engine.drawing import Draw, eager_draw
from serve_app.engine.opening import Opening, opening
from serve_app.engine.prefill import Part, Prefill, Prefiller
from serve_app.engine.prefixes import Prefixes
from serve_app.engine.slot_state import Place, SlotState, empty_state
from serve_app.models.musicgen.conditioning import Conditions
from serve_app.models.musicgen.execution import ExecutionBackend
from serve_app.models.musicgen.fused_step import StepInputs
from serve_app.models.musicgen.model import MusicGen
from serve_app.models.musicgen.transformer import (
    CrossAttentionInputs,
    causal_masks,
    sinusoidal_positions,
)
from serve_app.types import SamplingParams


class BatchShape(NamedTuple):
    """Extent of a step: slots, positions of the cache, tokens of the cross-attended texts.

    guided: whether any sequence uses guidance; padded_slots: see MusicGen.forward.
    """

    slots: int
    length: int
    text_tokens: int
    guided: bool = True
    padded_slots: int = 0


class ModelRunner:
    """Slots of one model on one device.

    max_frames: of the longest window; max_text_tokens: of the longest prompt;
    draw: the end of a step; None for PyTorch's operations.
    """

    def __init__(
        self,
        model: MusicGen,
        backend: ExecutionBackend,
        max_slots: int,
        max_frames: int,
        max_text_tokens: int,
        draw: Draw | None = None,
    ) -> None:
        config = model.config
        weight = model.embedding.weight
        self.model = model
        self.max_slots = max_slots
        self.device = weight.device
        self.max_steps = num_steps(max_frames, config.delays)
        self._has_prefix = config.conditioning.max_prefix(max_text_tokens) > 0
        self.max_length = max_positions(model, max_frames, max_text_tokens)
        self.max_text_tokens = bucket(config.conditioning.max_cross_tokens(max_text_tokens))
        self._branches = config.conditioning.branches
        self._embedding_offsets = model.embedding_offsets()
        self._slots = torch.arange(max_slots, device=self.device)
        self._positions = sinusoidal_positions(
            self.max_length, config.transformer.hidden_size, self.device
        )
        self._masks = causal_masks(self.max_length, weight.dtype, self.device)
        self._draw = draw or eager_draw(config, self.device)
        self._cache = backend.allocate_cache(config, max_slots, self.max_length)
        self._fused_step = backend.fused_step(model, max_slots, self.max_length)
        self._texts: CrossAttentionSlots | None = None
        if config.conditioning.cross_attention:
            self._texts = CrossAttentionSlots(
                config.transformer, max_slots, self.max_text_tokens, weight.dtype, self.device
            )
        self._prefiller = Prefiller(
            model, self._cache, self._positions, self._masks, self._texts, self.max_text_tokens,
            backend.prefill_rows,
        )  # fmt: skip
        self._prefixes = Prefixes(model, self._cache, self._prefiller)
        self._prefills: dict[int, Prefill] = {}
        self._openings: dict[int, Opening] = {}
        self._state = empty_state(config, max_slots, self.max_steps, self.device)
        self._sampling = [SamplingParams()] * max_slots
        self._prefix_positions = [0] * max_slots

    @property
    def kv_cache_bytes(self) -> int:
        return self._cache.nbytes + self._prefixes.nbytes

    @torch.inference_mode()
    def compute_template(self, slot: int = 0) -> None:
        """Compute, once, what tracks without a melody begin with, in a free slot."""
        self._prefixes.compute_template(slot)

    @torch.inference_mode()
    def start(self, slot: int, conditions: Conditions, sampling: SamplingParams) -> None:
        """Put a new sequence into a slot."""
        self._prefixes.compute_template(slot)
        if not self.is_finite(slot):
            self._cache.clear(slot)
        self._sampling[slot] = sampling
        self._state.finite[slot].fill_(True)
        self.set_conditions(slot, conditions)

    @torch.inference_mode()
    def set_conditions(self, slot: int, conditions: Conditions) -> None:
        """Condition the slot's next window, which must be opened before the next step.

        Raises ValueError for conditions of another kind of model.
        """
        if (conditions.cross_attention is None) != (self._texts is None):
            kind = self.model.config.conditioning.text
            raise ValueError(f"the conditions do not fit a model that takes its text by {kind}")
        if self._texts is not None and conditions.cross_attention is not None:
            self._texts.put(slot, conditions.cross_attention)
        self._prefix_positions[slot] = conditions.prefix_positions
        prefill = Prefill(slot, self.device)
        self._prefixes.fill(prefill, conditions)
        self._prefills[slot] = prefill

    @torch.inference_mode()
    def open_window(
        self, slot: int, prefix_codes: Tensor, num_frames: int, first_frame: int = 0
    ) -> int:
        """Begin a window of `num_frames` frames, the first of which are `prefix_codes` [K, n].

        first_frame: the window's first frame within the track. Returns the steps that the given
        codes make unnecessary. Its first step follows the units of `prefill`.
        """
        given = prefix_codes.to(self.device, non_blocking=True)
        prefix = self._prefix_positions[slot]
        opened = opening(self.model.config, given, num_frames, prefix, first_frame)
        prefill = self._prefills.setdefault(slot, Prefill(slot, self.device))
        if steps := opened.place.steps:
            rows = self._embed(opened.given.T)
            self._prefiller.add(prefill, Part(prefix, self._branches, rows))
        self._openings[slot] = opened
        if self._prefiller.units(prefill):
            opened.write_waiting(self._state, slot, self._sampling[slot])
        else:
            self._begin(slot)
        return steps

    @torch.inference_mode()
    def prefill(self, slot: int, units: int | None = None) -> int:
        """Run so many units of what precedes the slot's next step, None: all of them.

        A unit is one layer over one block of positions. Returns the units that are left.
        """
        if (prefill := self._prefills.get(slot)) is None:
            return 0
        left = self._prefiller.units(prefill)
        for _ in range(left if units is None else min(units, left)):
            self._prefiller.run_unit(prefill)
        left = self._prefiller.units(prefill)
        if not left:
            self._begin(slot)
        return left

    def clock(self) -> float:
        """Return `perf_counter` once the device has done all work so far."""
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()
        return perf_counter()

    @torch.inference_mode()
    def stop(self, slot: int) -> None:
        """Deactivate a slot. It still runs in the batch; its output is ignored."""
        self._openings.pop(slot, None)
        if (prefill := self._prefills.pop(slot, None)) is not None:
            self._state.finite[slot].logical_and_(prefill.finite)
        self._state.write(slot, Place(), self._sampling[slot])

    @torch.inference_mode()
    def step(self, shape: BatchShape) -> None:
        """Advance the first `shape.slots` slots by one step: logits, guidance, draw."""
        state = self._state.narrow(shape.slots)
        self._draw(self._logits(state, shape), state)

    def codes(self, slot: int, first: int, last: int) -> Tensor:
        """Return the codes [K, last - first] of a window's frames from `first` to before `last`."""
        return undelay(self._state.history[slot], self.model.config.delays, first, last)

    def is_finite(self, slot: int) -> bool:
        """Return whether all logits of the slot's sequence were finite. Waits for the device."""
        return bool(self._state.finite[slot])

    def _logits(self, state: SlotState, shape: BatchShape) -> Tensor:
        """Return the model's logits [B, R, K, codebook_size] at the slots' positions."""
        slots = slice(0, shape.slots)
        rows = self._branches if shape.guided else 1
        positions = state.steps + state.prefix if self._has_prefix else state.steps
        cache = self._cache.narrow(slots, rows, shape.length)
        if self._fused_step is not None:
            texts = self._texts.texts(slots, shape.text_tokens) if self._texts else None
            inputs = StepInputs(state.tokens, positions, self._positions, cache, texts)
            return self._fused_step.logits(inputs)
        hidden_states = self.model(
            self._embed(state.tokens),
            self._positions[positions],
            (self._slots[slots], positions),
            cache,
            self._masks[:, : shape.length][positions][:, None, None],
            self._cross(slots, shape.text_tokens),
            shape.padded_slots,
        )
        logits = self.model.logits(hidden_states)[: shape.slots * rows]
        return logits.view(shape.slots, rows, *logits.shape[1:])

    def _begin(self, slot: int) -> None:
        """Let the slot's window begin with the next step."""
        self._state.finite[slot] = self._prefills.pop(slot).finite
        self._openings.pop(slot).write(self._state, slot, self._sampling[slot])

    def _embed(self, tokens: Tensor) -> Tensor:
        """Embed tokens [n, K] -> [n, 1, D]."""
        return self.model.embed(tokens + self._embedding_offsets)

    def _cross(self, slots: slice, tokens: int) -> CrossAttentionInputs | None:
        return None if self._texts is None else self._texts.narrow(slots, tokens)


def max_positions(model: MusicGen, max_frames: int, max_text_tokens: int) -> int:
    """Return the cache's positions for a window of `max_frames` frames after the longest prefix."""
    config = model.config
    prefix = config.conditioning.max_prefix(max_text_tokens)
    return bucket(prefix + num_steps(max_frames, config.delays))
