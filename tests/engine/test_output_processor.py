"""Codes become chunks in the codec's thread: in order, none empty, the last with timings."""

import copy
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.config.app import EngineConfig
from serve_app.engine import output_processor
from serve_app.engine.output_processor import OutputProcessor
from serve_app.engine.sequence import Sequence
from serve_app.engine.streaming_decoder import StreamingDecoder
from serve_app.engine.window import Window
from serve_app.errors import ReplicaFailed
from serve_app.types import AudioChunk, FinishReason, GenerationRequest

FRAMES = 60
NOTHING = torch.zeros(4, 0, dtype=torch.int64)


@pytest.fixture
def failures() -> list[Exception]:
    return []


@pytest.fixture
def output(nano: Checkpoint, failures: list[Exception]) -> Iterator[OutputProcessor]:
    config = EngineConfig(first_chunk_s=0.02, chunk_s=0.2)
    output = OutputProcessor(nano, config, failures.append)
    yield output
    output.shutdown()


def new_sequence(items: list[Any]) -> Sequence:
    request = GenerationRequest(request_id="1", model="nano", prompt="music", duration_s=1.2)
    sequence = Sequence(
        1, request, [1], NOTHING, [Window(0, FRAMES, 0)], (0, 1, 2, 3), items.append
    )
    sequence.started_at = sequence.arrived_at
    return sequence


def run(output: OutputProcessor, sequence: Sequence, codes: torch.Tensor) -> None:
    """All steps of the sequence, as the engine's loop has them."""
    output.open(sequence)
    while not sequence.finished:
        sequence.steps += 1
        sequence.record_step(0.5, share_s=0.25)
        if (frames := output.due(sequence)) is not None:
            output.send(sequence, codes[:, frames.start : frames.stop])
    output.close(sequence)


def test_chunks_come_in_order_and_none_is_empty(
    nano: Checkpoint, output: OutputProcessor, failures: list[Exception]
) -> None:
    items: list[Any] = []
    codes = torch.randint(0, nano.musicgen.config.codebook_size, (4, FRAMES))
    run(output, new_sequence(items), codes)
    output.shutdown()
    assert not failures
    assert len(items) > 3
    assert all(isinstance(item, AudioChunk) and item.samples.shape[1] > 0 for item in items)
    whole = nano.codec.decode(codes[None])[0].numpy()
    joined = np.concatenate([item.samples for item in items], axis=1)
    np.testing.assert_allclose(joined, whole, atol=1e-5)


def test_the_last_chunk_has_the_timings_of_all_steps(output: OutputProcessor) -> None:
    items: list[Any] = []
    sequence = new_sequence(items)
    run(output, sequence, torch.zeros(4, FRAMES, dtype=torch.int64))
    before = copy.copy(vars(sequence))
    output.shutdown()
    *others, last = items
    assert all(item.timings is None and item.finish_reason is None for item in others)
    assert last.finish_reason is FinishReason.LENGTH
    assert 0 < output.final_s < last.timings.codec_s, "a fifth of the last stretch"
    assert last.timings.compute_s == 0.25 * (FRAMES + 3), "the last step's share is in it"
    assert last.timings.first_step_s == 0.5
    assert last.timings.codec_s == pytest.approx(output.codec_s)
    assert 0 < last.timings.time_to_first_audio_s < last.timings.generation_s
    assert vars(sequence) == before, "the codec's thread writes to no sequence"


@pytest.mark.parametrize("streamed", [True, False])
def test_late_chunks_of_streams_are_counted(
    streamed: bool, output: OutputProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each chunk arrives an hour after the one before it; nobody waits for those of a whole file."""
    hours = itertools.count()
    monkeypatch.setattr(output_processor, "perf_counter", lambda: 3600.0 * next(hours))
    items: list[Any] = []
    sequence = new_sequence(items)
    sequence.request = sequence.request.model_copy(update={"streamed": streamed})
    run(output, sequence, torch.zeros(4, FRAMES, dtype=torch.int64))
    output.shutdown()
    counted = len(items) if streamed else 0
    assert len(items) > 3
    assert output.streamed_chunks == counted
    assert output.late_chunks == max(0, counted - 1)


def test_an_error_of_the_codec_ends_the_sequence_and_is_reported(
    output: OutputProcessor, failures: list[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the device is gone")

    monkeypatch.setattr(StreamingDecoder, "decode", fail)
    items: list[Any] = []
    sequence = new_sequence(items)
    output.open(sequence)
    sequence.steps = FRAMES + 3
    output.send(sequence, torch.zeros(4, FRAMES, dtype=torch.int64))
    output.shutdown()
    assert [type(item) for item in items] == [ReplicaFailed]
    assert str(failures[0]) == "the device is gone"
