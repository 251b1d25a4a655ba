"""Batches of the language model's training: codes, prompts, and corrupted inputs."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tools.nano.codes import Codes, Example

FRAME_RATE = 50
PROMPT_DROPOUT = 0.15
FRAMES_PER_BATCH = 2400  # of all examples together
LENGTHS_S = (1.0, 2.0, 4.0, 10.0, 30.0)
# Shares of LENGTHS_S. Short beginnings come first: their codes depend most on the prompt. Rhythm
# and harmony need longer examples.
EARLY_SHARES = (0.35, 0.3, 0.15, 0.1, 0.1)
LATE_SHARES = (0.05, 0.2, 0.2, 0.3, 0.25)
# Inputs are corrupted so that one wrong sample does not lead to the next (exposure bias): single
# frames by those of any example, notes by those of an example with the same sound.
WRONG_FRAMES = 0.04  # share of frames
MOST_WRONG_NOTES = 0.4  # largest share of frames; each example draws its own
NOTE_FRAMES = (4, 32)  # shortest, longest
CANDIDATES = 24  # examples searched for one with the same sound
HELD_OUT_S = 1.0


class Batch(NamedTuple):
    """One batch. tokens: the prompts; codes, inputs: [B, K, T]; keep: [B], 0 drops the prompt."""

    tokens: dict[str, Tensor]
    codes: Tensor
    inputs: Tensor
    keep: Tensor

    def to(self, device: torch.device) -> "Batch":
        tokens = {name: tensor.to(device) for name, tensor in self.tokens.items()}
        return Batch(tokens, self.codes.to(device), self.inputs.to(device), self.keep.to(device))


def training_batch(
    examples: Sequence[Example], tokenizer: Any, step: int, shares: Sequence[float]
) -> Batch:
    """Draw beginnings of one length, FRAMES_PER_BATCH frames in all, with corrupted inputs."""
    rng = np.random.default_rng([step, 5])
    frames = _draw_length(examples, shares, rng)
    long_enough = [example for example in examples if example.codes.shape[-1] >= frames]
    picks = rng.choice(len(long_enough), max(1, FRAMES_PER_BATCH // frames))
    chosen = [long_enough[i] for i in picks]
    prompts = [example.prompts[rng.integers(len(example.prompts))] for example in chosen]
    keep = torch.from_numpy((rng.random(len(chosen)) >= PROMPT_DROPOUT).astype(np.float32))
    alike = [_similar(example, long_enough, rng) for example in chosen]
    codes = _stacked(example.codes[:, :frames] for example in chosen)
    others = _stacked(example.codes[:, :frames] for example in alike)
    return Batch(_tokens(tokenizer, prompts), codes, corrupt(codes, others, [step, 8]), keep)


def held_out_batch(examples: Sequence[Example], tokenizer: Any) -> Batch:
    """Beginnings of HELD_OUT_S at most, uncorrupted, with their first prompts."""
    shortest = min(example.codes.shape[-1] for example in examples)
    frames = min(int(HELD_OUT_S * FRAME_RATE), shortest)
    codes = _stacked(example.codes[:, :frames] for example in examples)
    tokens = _tokens(tokenizer, [example.prompts[0] for example in examples])
    return Batch(tokens, codes, codes, torch.ones(len(examples)))


def corrupt(codes: Tensor, others: Tensor, seed: Sequence[int]) -> Tensor:
    """Replace notes of codes [B, K, T] by those of `others`, and frames by any of the batch."""
    rng = np.random.default_rng(seed)
    batch, num_codebooks, frames = codes.shape
    notes = torch.from_numpy(_note_mask(rng, batch, frames))
    single = torch.from_numpy(rng.random((batch, frames)) < WRONG_FRAMES)
    sources = torch.from_numpy(rng.integers(batch * frames, size=(batch, frames)))
    elsewhere = codes.movedim(1, 2).reshape(-1, num_codebooks)[sources].movedim(2, 1)
    return torch.where(single[:, None], elsewhere, torch.where(notes[:, None], others, codes))


def _note_mask(rng: np.random.Generator, batch: int, frames: int) -> np.ndarray[Any, Any]:
    """Draw spans of NOTE_FRAMES: bool [batch, frames]"""
    draws = rng.random((batch, frames))
    shares = rng.uniform(0, MOST_WRONG_NOTES, (batch, 1)) / np.mean(NOTE_FRAMES)
    starts = draws < shares
    frame = np.arange(frames)
    ends = np.where(starts, frame + rng.integers(*NOTE_FRAMES, size=(batch, frames)), 0)
    return np.asarray(np.maximum.accumulate(ends, axis=1) > frame)


def _draw_length(
    examples: Sequence[Example], shares: Sequence[float], rng: np.random.Generator
) -> int:
    """Draw a length in frames among those of LENGTHS_S that the longest example has."""
    longest = max(example.codes.shape[-1] for example in examples)
    weights = zip(LENGTHS_S, shares, strict=True)
    possible = np.array([share * (s * FRAME_RATE <= longest) for s, share in weights])
    return int(rng.choice(LENGTHS_S, p=possible / possible.sum()) * FRAME_RATE)


def _similar(example: Example, examples: Sequence[Example], rng: np.random.Generator) -> Example:
    """Return an example of the same sound among random candidates, or else `example` itself."""
    candidates = (examples[i] for i in rng.choice(len(examples), CANDIDATES))
    return next((other for other in candidates if other.sound == example.sound), example)


def _tokens(tokenizer: Any, prompts: list[str]) -> dict[str, Tensor]:
    return dict(tokenizer(prompts, padding=True, return_tensors="pt"))


def _stacked(codes: Iterable[Codes]) -> Tensor:
    return torch.from_numpy(np.stack(list(codes)).astype(np.int64))
