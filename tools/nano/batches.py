"""Batches of the language model's training: codes, prompts, and corrupted inputs."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tools.nano.codes import Example
from tools.nano.prompts import without_length

FRAME_RATE = 50
PROMPT_DROPOUT = 0.15
FRAMES_PER_BATCH = 3000  # of all examples together
LENGTHS_S = (1.0, 2.0, 4.0, 10.0, 30.0)
# Shares of LENGTHS_S. Short beginnings come first: their codes depend most on the prompt. Rhythm
# and harmony need longer examples.
EARLY_SHARES = (0.3, 0.25, 0.2, 0.15, 0.1)
LATE_SHARES = (0.06, 0.1, 0.17, 0.25, 0.42)
# Inputs are corrupted so that one wrong sample does not lead to the next (exposure bias): single
# frames by those of any example, notes by those of an example with the same sound.
WRONG_FRAMES = 0.04  # share of frames
MOST_WRONG_NOTES = 0.3  # largest share of frames; each example draws its own
NOTE_FRAMES = (4, 32)  # shortest, longest
HELD_OUT_S = 1.0
ENDING_S = 3.0  # of a piece, at most
Picks = NDArray[np.int64]  # numbers of examples


class Batch(NamedTuple):
    """One batch. tokens: the prompts; codes, inputs: [B, K, T], -1 beyond an example's end.

    keep: [B], 0 drops the prompt.
    """

    tokens: dict[str, Tensor]
    codes: Tensor
    inputs: Tensor
    keep: Tensor


class Dataset:
    """All codes and tokens on one device, so that a step moves nothing but indices."""

    def __init__(self, examples: Sequence[Example], tokenizer: Any, device: torch.device) -> None:
        self.device = device
        self.frames = np.array([example.codes.shape[-1] for example in examples])
        num_codebooks = examples[0].codes.shape[0]
        codes = np.full((len(examples), num_codebooks, self.frames.max()), -1, np.int16)
        for number, example in enumerate(examples):
            codes[number, :, : example.codes.shape[-1]] = example.codes
        self.codes = torch.from_numpy(codes).to(device)
        sounds = np.array([example.sound for example in examples])
        self._by_sound = {str(sound): np.flatnonzero(sounds == sound) for sound in set(sounds)}
        self._sounds = sounds
        prompts = [example.prompts for example in examples]
        self._first_prompt = np.cumsum([0, *(len(one) for one in prompts)])
        tokens = tokenizer([text for one in prompts for text in one], padding=True)
        mask = np.array(tokens["attention_mask"], np.int64)
        self._token_counts = mask.sum(1)
        self._ids = torch.tensor(tokens["input_ids"]).to(device)
        self._mask = torch.from_numpy(mask).to(device)

    def __len__(self) -> int:
        return len(self.frames)

    def prompts(self, picks: Picks, rng: np.random.Generator | None) -> dict[str, Tensor]:
        """Tokens of one prompt of each example, the first one without a generator."""
        firsts = self._first_prompt[picks]
        counts = self._first_prompt[picks + 1] - firsts
        rows = firsts + (0 if rng is None else rng.integers(counts))
        longest = int(self._token_counts[rows].max())
        index = self.index(rows)
        return {
            "input_ids": self._ids[index, :longest],
            "attention_mask": self._mask[index, :longest],
        }

    def beginnings(self, picks: Picks, frames: int) -> Tensor:
        """First `frames` of examples: [B, K, frames]"""
        return self.codes[self.index(picks), :, :frames].long()

    def index(self, picks: Any) -> Tensor:
        return torch.from_numpy(np.asarray(picks)).to(self.device, non_blocking=True)

    def like(self, pick: int, frames: int, rng: np.random.Generator) -> int:
        """Draw an example of the same sound that is as long, or else `pick` itself."""
        alike = self._by_sound[str(self._sounds[pick])]
        drawn = int(alike[rng.integers(len(alike))])
        return drawn if self.frames[drawn] >= min(frames, self.frames[pick]) else pick


def endless(examples: Sequence[Example]) -> list[Example]:
    """Examples without their endings, and prompts without lengths; short ones that end are left out."""
    last = int(ENDING_S * FRAME_RATE)
    begun = [example for example in examples if not _ends(example)]
    begun += [
        Example(codes[:, :-last], [without_length(prompt) for prompt in prompts], sound)
        for codes, prompts, sound in filter(_ends, examples)
        if codes.shape[-1] > 2 * last
    ]
    return begun


def _ends(example: Example) -> bool:
    """Test for a track with an ending: a prompt names its length."""
    return any(without_length(prompt) != prompt for prompt in example.prompts)


def training_batch(dataset: Dataset, step: int, shares: Sequence[float]) -> Batch:
    """Draw beginnings of up to one length, FRAMES_PER_BATCH frames in all, with corrupted inputs."""
    rng = np.random.default_rng([step, 5])
    frames = _draw_length(dataset, shares, rng)
    long_enough = np.flatnonzero(dataset.frames >= _shortest(dataset, frames))
    picks = long_enough[rng.integers(len(long_enough), size=max(1, FRAMES_PER_BATCH // frames))]
    frames = min(frames, int(dataset.frames[picks].max()))
    keep = (rng.random(len(picks)) >= PROMPT_DROPOUT).astype(np.float32)
    codes = dataset.beginnings(picks, frames)
    alike = np.array([dataset.like(int(pick), frames, rng) for pick in picks])
    others = dataset.beginnings(alike, frames)
    inputs = corrupt(codes, others, [step, 8])
    return Batch(dataset.prompts(picks, rng), codes, inputs, dataset.index(keep))


def held_out_batch(dataset: Dataset) -> Batch:
    """Beginnings of HELD_OUT_S at most, uncorrupted, with their first prompts."""
    frames = min(int(HELD_OUT_S * FRAME_RATE), int(dataset.frames.min()))
    picks = np.arange(len(dataset))
    codes = dataset.beginnings(picks, frames)
    keep = dataset.index(np.ones(len(picks), np.float32))
    return Batch(dataset.prompts(picks, None), codes, codes, keep)


def corrupt(codes: Tensor, others: Tensor, seed: Sequence[int]) -> Tensor:
    """Replace notes of codes [B, K, T] by those of `others`, and frames by any of the batch."""
    rng = np.random.default_rng(seed)
    batch, num_codebooks, frames = codes.shape
    notes = torch.from_numpy(_note_mask(rng, batch, frames)).to(codes.device)
    single = torch.from_numpy(rng.random((batch, frames)) < WRONG_FRAMES).to(codes.device)
    sources = torch.from_numpy(rng.integers(batch * frames, size=(batch, frames)))
    elsewhere = codes.movedim(1, 2).reshape(-1, num_codebooks)[sources.to(codes.device)]
    elsewhere = elsewhere.movedim(2, 1)
    wrong = torch.where(notes[:, None] & (others >= 0), others, codes)
    wrong = torch.where(single[:, None] & (elsewhere >= 0), elsewhere, wrong)
    return torch.where(codes < 0, codes, wrong)


def _note_mask(rng: np.random.Generator, batch: int, frames: int) -> NDArray[np.bool_]:
    """Draw spans of NOTE_FRAMES: bool [batch, frames]"""
    draws = rng.random((batch, frames))
    shares = rng.uniform(0, MOST_WRONG_NOTES, (batch, 1)) / np.mean(NOTE_FRAMES)
    starts = draws < shares
    frame = np.arange(frames)
    ends = np.where(starts, frame + rng.integers(*NOTE_FRAMES, size=(batch, frames)), 0)
    return np.asarray(np.maximum.accumulate(ends, axis=1) > frame)


def _shortest(dataset: Dataset, frames: int) -> int:
    """Shortest example for a batch of this length: all longer than the next shorter length.

    Examples shorter than the batch are padded, so that endings of every length are seen.
    """
    shorter = [int(s * FRAME_RATE) for s in LENGTHS_S if int(s * FRAME_RATE) < frames]
    return min(max(shorter, default=0) + 1, int(dataset.frames.max()))


def _draw_length(dataset: Dataset, shares: Sequence[float], rng: np.random.Generator) -> int:
    """Draw a length in frames among LENGTHS_S: those of which no shorter one has room for all examples."""
    longest_s = dataset.frames.max() / FRAME_RATE
    weights = zip((0.0, *LENGTHS_S), shares, strict=False)
    possible = np.array([share * (shorter_s < longest_s) for shorter_s, share in weights])
    return int(rng.choice(LENGTHS_S, p=possible / possible.sum()) * FRAME_RATE)
