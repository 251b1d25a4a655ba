"""The engine's thread: its inbox, the streams of its sequences, and its end after a failure."""

import queue
import threading
from collections.abc import Iterator

import pytest

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.config.app import EngineConfig
from serve_app.engine.batch import Batch
from serve_app.engine.conditioner import Conditioner
from serve_app.engine.input_processor import InputProcessor
from serve_app.engine.loop import EngineLoop
from serve_app.engine.sequence import Sequence
from serve_app.engine.streaming_decoder import StreamingDecoder
from serve_app.engine.throughput import Throughput
from serve_app.errors import ReplicaFailed, RequestAborted, ServeAppError
from serve_app.models.musicgen.execution import torch_backend
from serve_app.types import AudioChunk, FinishReason, GenerationRequest, StreamItem

SLOTS = 2
TIMEOUT_S = 60.0
LONG_S = 600.0  # a track that is still being made when a test ends it
Items = queue.SimpleQueue[StreamItem | ServeAppError]


@pytest.fixture
def conditioner(nano: Checkpoint) -> Iterator[Conditioner]:
    conditioner = Conditioner(nano.text_encoder, nano.musicgen, max_tokens=64, cache_size=4)
    yield conditioner
    conditioner.shutdown()


@pytest.fixture
def loop(nano: Checkpoint, conditioner: Conditioner) -> Iterator[EngineLoop]:
    config = EngineConfig(max_slots=SLOTS, num_threads=1)
    backend = torch_backend(nano.musicgen)
    batch = Batch(nano.musicgen, backend, config, conditioner, SLOTS, window_frames=1500)
    loop = EngineLoop(nano, config, batch, conditioner)
    yield loop
    loop.shutdown()


@pytest.fixture
def processor(nano: Checkpoint, conditioner: Conditioner) -> InputProcessor:
    return InputProcessor(nano, conditioner, max_duration_s=LONG_S)


def new_sequence(processor: InputProcessor, items: Items, duration_s: float = LONG_S) -> Sequence:
    request = GenerationRequest(
        request_id="test", model="nano", prompt="calm piano", duration_s=duration_s
    )
    return processor.process_here(request, items.put)


def next_error(items: Items) -> ServeAppError:
    """The error that ends a stream, after any chunks."""
    while isinstance(item := items.get(timeout=TIMEOUT_S), AudioChunk):
        assert item.finish_reason is None
    assert isinstance(item, ServeAppError)
    return item


def fail(*_: object) -> None:
    raise RuntimeError("the device is gone")


def test_a_sequence_gets_all_its_audio(loop: EngineLoop, processor: InputProcessor) -> None:
    items = Items()
    loop.add_request(new_sequence(processor, items, duration_s=1.0))
    chunks: list[AudioChunk] = []
    while not chunks or chunks[-1].finish_reason is None:
        item = items.get(timeout=TIMEOUT_S)
        assert isinstance(item, AudioChunk)
        chunks.append(item)
    assert sum(chunk.samples.shape[1] for chunk in chunks) == 32_000
    assert chunks[-1].finish_reason is FinishReason.LENGTH
    assert loop.alive


@pytest.mark.parametrize(("keep_pace", "together"), [(True, False), (False, True), (None, True)])
def test_a_second_stream_waits_if_both_were_slower_than_the_music(
    keep_pace: bool | None,
    together: bool,
    nano: Checkpoint,
    conditioner: Conditioner,
    processor: InputProcessor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By default on a GPU only. The first stream would run for minutes: it ends by being aborted."""
    monkeypatch.setattr(
        Throughput, "expected_s", lambda _, sequences, _positions: sequences * 0.015
    )
    config = EngineConfig(max_slots=SLOTS, num_threads=1, keep_pace=keep_pace)
    batch = Batch(nano.musicgen, torch_backend(nano.musicgen), config, conditioner, SLOTS, 1500)
    loop = EngineLoop(nano, config, batch, conditioner)
    streams = [Items(), Items()]
    sequences = [new_sequence(processor, items) for items in streams]
    for sequence in sequences:
        sequence.request = sequence.request.model_copy(update={"streamed": True})
        loop.add_request(sequence)
    streams[1 if together else 0].get(timeout=TIMEOUT_S)
    assert (sequences[1].started_at is not None) is together
    loop.abort_request(sequences[0])
    assert isinstance(streams[1].get(timeout=TIMEOUT_S), AudioChunk)
    loop.shutdown()


def test_aborting_ends_a_sequence_once(loop: EngineLoop, processor: InputProcessor) -> None:
    items = Items()
    sequence = new_sequence(processor, items)
    loop.add_request(sequence)
    items.get(timeout=TIMEOUT_S)
    loop.abort_request(sequence)
    loop.abort_request(sequence)
    assert isinstance(next_error(items), RequestAborted)
    loop.shutdown()
    remaining = []
    while not items.empty():
        remaining.append(items.get())
    assert not [item for item in remaining if isinstance(item, ServeAppError)]


def test_a_request_behind_the_stop_in_the_inbox_is_answered(
    loop: EngineLoop, processor: InputProcessor
) -> None:
    """The thread is held while the stop and the request arrive, so that it reads both at once."""
    items = Items()
    both_sent = threading.Event()

    def hold() -> None:
        assert both_sent.wait(TIMEOUT_S)

    loop._inbox.put(hold)
    loop._inbox.put(loop._stop)
    loop.add_request(new_sequence(processor, items))
    both_sent.set()
    assert "is stopping" in next_error(items).message


def test_a_request_after_the_end_is_answered_at_once(
    loop: EngineLoop, processor: InputProcessor
) -> None:
    items = Items()
    loop.shutdown()
    loop.add_request(new_sequence(processor, items))
    error = items.get_nowait()
    assert isinstance(error, ReplicaFailed)
    assert error.retryable
    assert not loop.alive
    assert loop.failure is None, "it was asked to end"


def test_a_failing_step_ends_running_and_waiting_sequences(
    loop: EngineLoop, processor: InputProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = [Items() for _ in range(SLOTS + 1)]
    for items in streams:
        loop.add_request(new_sequence(processor, items))
    streams[0].get(timeout=TIMEOUT_S)
    monkeypatch.setattr(loop.batch.runner, "step", fail)
    for items in streams:
        error = next_error(items)
        assert isinstance(error, ReplicaFailed)
        assert "may be sent again" in error.message
    loop._thread.join(TIMEOUT_S)
    assert str(loop.failure) == "the device is gone"
    assert not loop.alive


def test_a_failing_codec_ends_the_loop(
    loop: EngineLoop, processor: InputProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = Items()
    loop.add_request(new_sequence(processor, items))
    items.get(timeout=TIMEOUT_S)
    monkeypatch.setattr(StreamingDecoder, "decode", fail)
    error = next_error(items)
    assert isinstance(error, ReplicaFailed)
    assert "codec failed" in error.message
    loop._thread.join(TIMEOUT_S)
    assert str(loop.failure) == "the device is gone"


def test_nothing_touches_a_failed_device_at_the_end(
    loop: EngineLoop, processor: InputProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages behind the failure need the device: a cancelled request, and a capture."""
    streams = [Items() for _ in range(SLOTS)]
    sequences = [new_sequence(processor, items) for items in streams]
    for sequence in sequences:
        loop.add_request(sequence)
    for items in streams:
        items.get(timeout=TIMEOUT_S)

    def fail_with_messages(*_: object) -> None:
        loop.abort_request(sequences[0])
        loop.warm_up()
        fail()

    monkeypatch.setattr(loop.batch.runner, "stop", fail)
    monkeypatch.setattr(loop.batch, "warm_up", fail)
    monkeypatch.setattr(loop.batch.runner, "step", fail_with_messages)
    assert isinstance(next_error(streams[0]), RequestAborted)
    assert isinstance(next_error(streams[1]), ReplicaFailed)


def test_the_first_failure_is_the_one_that_is_reported(loop: EngineLoop) -> None:
    loop.fail(RuntimeError("the device is gone"))
    assert not loop.alive, "at once, even while a step hangs"
    loop.fail(RuntimeError("the next call fails, too"))
    loop._thread.join(TIMEOUT_S)
    assert str(loop.failure) == "the device is gone"
