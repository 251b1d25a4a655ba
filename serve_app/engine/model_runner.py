"""Owns the tensors of decoding on one device, and runs one step for the first slots of the batch.

A step reads and writes tensors alone: what was drawn stays on the device until audio is made of it. All that depends on
a request is a tensor over slots, so the same step serves any mix of requests.
"""

import math
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from serve_app.engine.delay import delay, num_steps, undelay
from serve_app.engine.sampler import apply_cfg, exponential_noise, sample, token_keys
from serve_app.models.musicgen.kv_cache import ROWS, allocate_cache
from serve_app.models.musicgen.model import MusicGen
from serve_app.models.musicgen.transformer import (
    CrossAttentionKV,
    causal_masks,
    sinusoidal_positions,
)
from serve_app.types import SamplingParams

BUCKET = 64  # positions
PREFILL = 256  # positions at once
TO_DRAW = -1  # stands for a code that is not there yet


def bucket(length: int) -> int:
    """`length` rounded up to a multiple of BUCKET. Within a bucket, and from bucket to bucket, attention's result for a
    row does not depend on how far the batch reaches."""
    return math.ceil(length / BUCKET) * BUCKET


@dataclass
class SlotState:
    """One entry a slot: where its sequence is, and the request's parameters.

    tokens [S, K]: the next step's input; history [S, K, steps]: each step's tokens, or TO_DRAW; noise_offset [S]: what
    a position's noise is ahead of it; finite [S]: all logits so far were.
    """

    tokens: Tensor
    positions: Tensor
    active: Tensor
    noise_offset: Tensor
    seeds: Tensor
    temperature: Tensor
    top_k: Tensor
    top_p: Tensor
    cfg_coef: Tensor
    text_tokens: Tensor
    finite: Tensor
    history: Tensor

    def narrow(self, slots: int) -> "SlotState":
        """The first `slots` slots, as views."""
        return SlotState(*(getattr(self, field.name)[:slots] for field in fields(self)))


class BatchShape(NamedTuple):
    """How far a step reaches: slots, positions of the cache, tokens of the texts. guided: whether any sequence asks for
    guidance; padded_slots: see MusicGen."""

    slots: int
    length: int
    text_tokens: int
    guided: bool = True
    padded_slots: int = 0


class ModelRunner:
    """Slots of one model on one device. `max_frames` is the longest window, `max_text_tokens` the longest prompt."""

    def __init__(
        self, model: MusicGen, max_slots: int, max_frames: int, max_text_tokens: int
    ) -> None:
        self.model, self.max_slots = model, max_slots
        self.device, dtype = model.embedding.weight.device, model.embedding.weight.dtype
        config, transformer = model.config, model.config.transformer
        self.max_steps = num_steps(max_frames, config.delays)
        self.max_length = bucket(self.max_steps)
        self.max_text_tokens = bucket(max_text_tokens)
        self._embedding_offsets = model.embedding_offsets()
        self._slots = torch.arange(max_slots, device=self.device)
        self._positions = sinusoidal_positions(
            self.max_length, transformer.hidden_size, self.device
        )
        self._masks = causal_masks(max(self.max_length, self.max_text_tokens), dtype, self.device)
        self._token_keys = token_keys(config.num_codebooks, config.codebook_size, self.device)
        self._cache = allocate_cache(model, max_slots, self.max_length)
        shape = (
            transformer.num_layers,
            max_slots,
            transformer.num_heads,
            self.max_text_tokens,
            transformer.head_dim,
        )
        self._text = CrossAttentionKV(
            *(torch.zeros(shape, dtype=dtype, device=self.device) for _ in range(2))
        )
        self._state = self._empty_state()

    @property
    def kv_cache_bytes(self) -> int:
        return self._cache.nbytes

    @torch.inference_mode()
    def start(self, slot: int, text: CrossAttentionKV, seed: int, sampling: SamplingParams) -> None:
        """Put a new sequence into a slot. text: keys and values [num_layers, num_heads, tokens, head_dim]."""
        state, tokens = self._state, text.keys.shape[2]
        for ours, theirs in zip(self._text, text, strict=True):
            ours[:, slot, :, :tokens] = theirs
        if not self.is_finite(slot):
            self._cache.clear(slot)
        state.seeds[slot] = seed
        state.temperature[slot] = sampling.temperature
        state.top_k[slot] = sampling.top_k
        state.top_p[slot] = sampling.top_p
        state.cfg_coef[slot] = sampling.cfg_coef
        state.text_tokens[slot] = tokens
        state.finite[slot] = True

    @torch.inference_mode()
    def open_window(self, slot: int, known: Tensor, num_frames: int, first_frame: int = 0) -> int:
        """Let the slot's sequence make `num_frames` frames, of which the first are `known` [K, n]. Returns the steps
        that are done thereby. first_frame: the window's first frame within the piece."""
        state, config = self._state, self.model.config
        frames = torch.full((config.num_codebooks, num_frames), TO_DRAW, device=self.device)
        frames[:, : known.shape[1]] = known
        tokens = delay(frames, config.delays, config.special_token)
        steps = known.shape[1] + min(config.delays)
        inputs = F.pad(tokens[:, :steps], (1, 0), value=config.special_token)
        for start in range(0, steps, PREFILL):
            self._prefill(slot, start, inputs[:, start : min(start + PREFILL, steps)].T)
        state.history[slot, :, : tokens.shape[1]] = tokens
        state.tokens[slot] = inputs[:, steps]
        state.positions[slot] = steps
        state.noise_offset[slot] = first_frame
        state.active[slot] = 1
        return steps

    @torch.inference_mode()
    def stop(self, slot: int) -> None:
        """A slot without a sequence stays where it is; what it computes is never read."""
        self._state.active[slot] = 0
        self._state.positions[slot] = 0

    @torch.inference_mode()
    def step(self, shape: BatchShape) -> None:
        """One step for the first `shape.slots` slots: logits, guidance, draw, and on to the next position."""
        state, config = self._state.narrow(shape.slots), self.model.config
        logits = apply_cfg(self._logits(state, shape), state.cfg_coef)
        noise = exponential_noise(
            state.seeds, state.positions + state.noise_offset, self._token_keys
        )
        drawn = sample(logits, noise, state.temperature, state.top_k, state.top_p)
        column = state.positions[:, None, None].expand(-1, config.num_codebooks, 1)
        known = state.history.gather(2, column).squeeze(2)
        state.tokens.copy_(torch.where(known == TO_DRAW, drawn, known))
        state.history.scatter_(2, column, state.tokens[:, :, None])
        state.finite.logical_and_(logits.amax(dim=(1, 2)).isfinite())
        state.positions.add_(state.active)

    def codes(self, slot: int, first: int, last: int) -> Tensor:
        """The codes [K, last - first] of a window's frames from `first` to before `last`."""
        return undelay(self._state.history[slot], self.model.config.delays, first, last)

    def is_finite(self, slot: int) -> bool:
        """Whether all logits of the slot's sequence were finite. Waits for the device."""
        return bool(self._state.finite[slot])

    def _logits(self, state: SlotState, shape: BatchShape) -> Tensor:
        """The model's logits [B, R, K, codebook_size] at the slots' positions."""
        slots = slice(0, shape.slots)
        rows = 2 if shape.guided else 1
        x = self.model(
            state.tokens + self._embedding_offsets,
            self._positions[state.positions],
            (self._slots[slots], state.positions),
            self._cache.narrow(slots, rows, shape.length),
            self._mask(state.positions, shape.length),
            CrossAttentionKV(*(part[:, slots, :, : shape.text_tokens] for part in self._text)),
            self._mask(state.text_tokens - 1, shape.text_tokens),
            shape.padded_slots,
        )
        logits = self.model.logits(x)[: shape.slots * rows]
        return logits.view(shape.slots, rows, *logits.shape[1:])

    def _prefill(self, slot: int, start: int, tokens: Tensor) -> None:
        """Fill a slot's cache from position `start` on. tokens [T, K]: the positions' inputs."""
        slots, length = slice(slot, slot + 1), bucket(start + len(tokens))
        text_tokens = bucket(int(self._state.text_tokens[slot]))
        positions = torch.arange(start, start + len(tokens), device=self.device)
        self.model(
            tokens + self._embedding_offsets,
            self._positions[positions],
            (torch.zeros_like(positions), positions),
            self._cache.narrow(slots, ROWS, length),
            self._mask(positions, length).transpose(0, 2),
            CrossAttentionKV(*(part[:, slots, :, :text_tokens] for part in self._text)),
            self._mask(self._state.text_tokens[slots] - 1, text_tokens),
        )

    def _mask(self, last: Tensor, length: int) -> Tensor:
        """last [B] -> [B, 1, 1, length]: what is added to attention's scores"""
        return self._masks[:, :length][last][:, None, None]

    def _empty_state(self) -> SlotState:
        slots, codebooks = self.max_slots, self.model.config.num_codebooks

        def zeros(*shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=self.device)

        return SlotState(
            tokens=zeros(slots, codebooks) + self.model.config.special_token,
            positions=zeros(slots),
            active=zeros(slots),
            noise_offset=zeros(slots),
            seeds=zeros(slots),
            temperature=zeros(slots, dtype=torch.float32),
            top_k=zeros(slots),
            top_p=zeros(slots, dtype=torch.float32),
            cfg_coef=zeros(slots, dtype=torch.float32),
            text_tokens=zeros(slots) + 1,
            finite=zeros(slots, dtype=torch.bool).logical_not(),
            history=zeros(slots, codebooks, self.max_steps),
        )
