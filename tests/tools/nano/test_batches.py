"""Tests of the training batches: their sizes, their randomness, and the corruption of inputs."""

import numpy as np
import pytest
import torch

from tools.nano import batches
from tools.nano.codes import Example
from tools.nano.tokenizer import make_tokenizer

TOKENIZER = make_tokenizer()
SOUNDS = ("piano", "bass")
CPU = torch.device("cpu")


def example(number: int, frames: int) -> Example:
    """An example whose codes all equal its number."""
    codes = np.full((4, frames), number, np.int16)
    return Example(codes, [f"calm {SOUNDS[number % 2]}"], SOUNDS[number % 2])


def dataset(*examples: Example) -> batches.Dataset:
    return batches.Dataset(examples, TOKENIZER, CPU)


@pytest.mark.parametrize(("shares", "frames"), [((1, 0, 0, 0, 0), 50), ((0, 0, 1, 0, 0), 200)])
def test_batches_of_all_lengths_have_as_many_frames(shares: tuple[int, ...], frames: int) -> None:
    examples = dataset(*(example(number, 200) for number in range(8)))
    batch = batches.training_batch(examples, 0, shares)
    assert batch.codes.shape == (batches.FRAMES_PER_BATCH // frames, 4, frames)
    assert batch.inputs.shape == batch.codes.shape
    assert len(batch.tokens["input_ids"]) == len(batch.keep) == len(batch.codes)


@pytest.mark.parametrize(("longest", "drawn"), [(50, {50}), (60, {50, 60}), (1350, {500, 1350})])
def test_batches_are_as_long_as_the_longest_examples(longest: int, drawn: set[int]) -> None:
    """Those of 27 s, too, though 30 s come next in LENGTHS_S: the others would teach 10 s at most."""
    examples = dataset(*(example(number, longest) for number in range(8)))
    shares = (1, 1, 1, 1, 1) if longest < 100 else (0, 0, 0, 1, 1)
    lengths = {batches.training_batch(examples, step, shares).codes.shape[-1] for step in range(20)}
    assert lengths == drawn


def test_a_step_determines_its_batch() -> None:
    examples = dataset(*(example(number, 100) for number in range(8)))
    first, again, other = (
        batches.training_batch(examples, step, batches.EARLY_SHARES) for step in (3, 3, 4)
    )
    assert torch.equal(first.inputs, again.inputs)
    assert torch.equal(first.keep, again.keep)
    assert not torch.equal(first.codes[:8, 0, 0], other.codes[:8, 0, 0])


def test_wrong_notes_come_from_examples_of_the_same_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "WRONG_FRAMES", 0.0)
    examples = dataset(*(example(number, 50) for number in range(8)))
    batch = batches.training_batch(examples, 0, batches.EARLY_SHARES)
    assert not torch.equal(batch.inputs, batch.codes)
    assert torch.equal(batch.inputs % 2, batch.codes % 2)


def test_endless_examples_lack_their_ends_and_lengths() -> None:
    codes = np.arange(4 * 1000, dtype=np.int16).reshape(4, 1000)
    piece = Example(codes, ["calm piano, 90 bpm, 20 s", "lofi beat"], "piano")
    short = Example(codes[:, :300], ["calm bass, 6 s"], "bass")
    beginning, begun = batches.endless([piece, short, example(1, 150)])
    assert np.array_equal(begun.codes, codes[:, :850])
    assert begun.prompts == ["calm piano, 90 bpm", "lofi beat"]
    assert beginning == example(1, 150)._replace(codes=beginning.codes)
    assert beginning.codes.shape == (4, 150)


def test_held_out_batches_are_not_corrupted() -> None:
    batch = batches.held_out_batch(dataset(example(1, 80), example(2, 30)))
    assert batch.codes[:, 0, 0].tolist() == [1, 2]
    assert batch.codes.shape == (2, 4, 30)
    assert torch.equal(batch.inputs, batch.codes)
    assert batch.keep.tolist() == [1, 1]


def test_corruption_replaces_notes_and_single_frames() -> None:
    """A frame stays whole: all its codebooks come from one example."""
    codes = torch.arange(2)[:, None, None].expand(2, 4, 1000)
    others = torch.full((2, 4, 1000), 5)
    inputs = batches.corrupt(codes, others, [3])
    assert torch.equal(inputs, inputs[:, :1].expand_as(inputs))
    wrong_notes = (inputs == 5).float().mean((1, 2))
    assert ((wrong_notes > 0.01) & (wrong_notes < batches.MOST_WRONG_NOTES)).all()
    changes = (inputs[0, 0].diff() != 0).sum()
    notes = wrong_notes[0] / batches.NOTE_FRAMES[0]
    assert changes < 1000 * (2 * notes + 2 * batches.WRONG_FRAMES)
    assert torch.equal(inputs, batches.corrupt(codes, others, [3]))
    assert not torch.equal(inputs, batches.corrupt(codes, others, [4]))


def test_shorter_examples_are_padded_and_never_corrupted_beyond_their_end() -> None:
    data = dataset(*(example(number, 130 + 10 * number) for number in range(8)))
    batch = batches.training_batch(data, 0, (0, 0, 1, 0, 0))
    assert 130 < batch.codes.shape[-1] <= 200
    beyond = batch.codes < 0
    assert beyond.any()
    assert torch.equal(beyond, batch.inputs < 0)
