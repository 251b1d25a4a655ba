"""Continuous batching: requests join and leave a running batch without effect on each other."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.config.app import EngineConfig
from serve_app.engine import engine as engine_module
from serve_app.engine import loop as engine_loop
from serve_app.engine import progress_reporter, worker_thread
from serve_app.engine.batch import Batch
from serve_app.engine.engine import Engine
from serve_app.engine.model_runner import BatchShape
from serve_app.engine.output_processor import OutputProcessor
from serve_app.engine.playback import Playback
from serve_app.engine.sequence import Sequence
from serve_app.errors import DurationTooLong, GenerationFailed, PromptTooLong, ReplicaFailed
from serve_app.models.musicgen.conditioning import Conditions
from serve_app.models.musicgen.kv_cache import FloatKVCache
from serve_app.models.t5 import TextEncoder
from serve_app.types import (
    Audio,
    AudioChunk,
    FinishReason,
    GenerationRequest,
    Progress,
    SamplingParams,
    StreamItem,
)
from tests.architectures import BIASES, MONO, STEREO, Architecture
from tests.engine.step_gate import PATIENCE_S, gated, until
from tests.oracles import PROMPT, load_pair

SLOTS, FRAMES = 8, 100
LONG_S = 120.0  # a track that is still being made when a test ends it


def request(
    prompt: str = "calm piano", duration_s: float = 1.0, **sampling: Any
) -> GenerationRequest:
    return GenerationRequest(
        request_id="test",
        model="nano",
        prompt=prompt,
        duration_s=duration_s,
        sampling=SamplingParams(**sampling),
    )


@contextlib.contextmanager
def running(checkpoint: Checkpoint, **config: Any) -> Iterator[Engine]:
    engine = Engine(checkpoint, EngineConfig(max_slots=SLOTS, num_threads=1, **config))
    try:
        yield engine
    finally:
        engine.shutdown()


@pytest.fixture(scope="module")
def engine(nano: Checkpoint) -> Iterator[Engine]:
    with running(nano, pin_batch_shape=True) as engine:
        yield engine


async def audio(engine: Engine, request: GenerationRequest) -> NDArray[np.float32]:
    return joined(await collect(engine.generate(request)))


def joined(items: Iterable[StreamItem]) -> NDArray[np.float32]:
    return np.concatenate([item.samples for item in items if isinstance(item, AudioChunk)], axis=1)


async def collect(stream: AsyncIterator[StreamItem]) -> list[StreamItem]:
    return [item async for item in stream]


async def test_audio_has_the_asked_length_and_comes_in_chunks(engine: Engine) -> None:
    items = await collect(engine.generate(request(duration_s=3.0, seed=1)))
    chunks = [item for item in items if isinstance(item, AudioChunk)]
    assert len(chunks) == len(items) == 7, "20 frames, 21, 22, 23, 24, 25, the rest"
    assert sum(chunk.samples.shape[1] for chunk in chunks) == 3 * 32_000
    assert [chunk.finish_reason for chunk in chunks] == [None] * 6 + [FinishReason.LENGTH]
    assert chunks[-1].timings is not None
    timings = chunks[-1].timings
    assert 0 < timings.text_encoder_s < timings.queue_s
    assert timings.queue_s < timings.time_to_first_audio_s < timings.queue_s + timings.generation_s
    assert 0 < timings.first_step_s < timings.generation_s
    assert 0 < timings.codec_s < timings.generation_s
    assert all(chunk.samples.shape[1] > 0 for chunk in chunks)


async def test_no_chunk_is_late_where_a_step_takes_most_of_its_frames_time(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a device whose step takes 18.9 ms, of the 20 that its frame is played."""
    steps: list[int] = []  # of the sequence, at each chunk
    send = OutputProcessor.send

    def record(output: OutputProcessor, sequence: Sequence, codes: Tensor) -> None:
        steps.append(sequence.steps)
        send(output, sequence, codes)

    monkeypatch.setattr(OutputProcessor, "send", record)
    chunks = await collect(engine.generate(request(duration_s=6.0)))
    playback = Playback()
    late = [
        playback.add(0.0189 * made, chunk.samples.shape[1] / chunk.sample_rate)
        for made, chunk in zip(steps, chunks, strict=True)
        if isinstance(chunk, AudioChunk)
    ]
    assert late == [False] * 12


async def test_the_last_chunks_timings_have_all_steps(engine: Engine) -> None:
    seconds: list[float] = []
    throughput = engine.loop._throughput
    record_step = throughput.record_step

    def record(sequences: int, step_s: float, positions: int = 0) -> None:
        seconds.append(step_s)
        record_step(sequences, step_s, positions)

    throughput.record_step = record  # type: ignore[method-assign]
    started_at = perf_counter()
    try:
        last = (await collect(engine.generate(request(duration_s=0.5))))[-1]
    finally:
        throughput.record_step = record_step  # type: ignore[method-assign]
    assert isinstance(last, AudioChunk)
    assert last.timings is not None
    assert len(seconds) == 28
    assert last.timings.first_step_s == seconds[0]
    elapsed_s = perf_counter() - started_at
    assert sum(seconds) < last.timings.compute_s < elapsed_s, "steps, and the start"


async def test_first_audio_comes_while_codes_are_still_being_made(engine: Engine) -> None:
    """A tenth of the steps is made before it."""
    with gated(engine, steps=100) as gate:
        stream = engine.generate(request(duration_s=20.0))
        async with asyncio.timeout(PATIENCE_S):
            assert isinstance(await anext(stream), AudioChunk)
        await gate.reached()
        await stream.aclose()
    await until(lambda: engine.stats().slots_used == 0)


async def test_concurrent_requests_share_steps_and_equal_lone_ones(engine: Engine) -> None:
    """Each with its own duration, seed and parameters."""
    requests = [
        request("lofi beat", 1.0, seed=1),
        request("calm ambient piano, 70 bpm", 2.4, seed=2, top_k=20),
        request("techno", 0.5, seed=3, temperature=0.0),
        request("drums", 1.7, seed=4, top_p=0.8),
        request("bells and flute in the morning rain", 3.0, seed=5, cfg_coef=1.0),
        request("bass", 0.1, seed=6),
        request("lofi beat", 2.0, seed=7, temperature=1.5, top_k=0),
        request("violin", 1.1, seed=2**62),
    ]
    alone = [await audio(engine, one) for one in requests]
    await until(lambda: engine.stats().slots_used == 0)
    before = engine.stats().steps_total
    with gated(engine) as gate:
        tasks = [asyncio.create_task(audio(engine, one)) for one in requests]
        await gate.requests(len(requests))
        gate.let()
        together = await asyncio.gather(*tasks)
    await until(lambda: engine.stats().slots_used == 0)
    steps = engine.stats().steps_total - before
    longest = 3 * 50 + 3
    assert longest <= steps <= longest + 1, (
        "the first ones may have their first step without the others"
    )
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one, other)


async def test_requests_may_join_and_leave_midway(engine: Engine) -> None:
    steady = request("steady pad", 4.0, seed=11)
    alone = await audio(engine, steady)
    with gated(engine, steps=10) as gate:
        task = asyncio.create_task(audio(engine, steady))
        await gate.reached()
        short = asyncio.create_task(audio(engine, request("short", 0.3, seed=12)))
        await gate.requests(2)
    await short
    leaver = engine.generate(request("leaves", 4.0, seed=13))
    await anext(leaver)
    await leaver.aclose()
    joiners = [audio(engine, request("joins", 0.2 * (i + 1), seed=i)) for i in range(5)]
    await asyncio.gather(*joiners)
    assert np.array_equal(await task, alone)


async def test_more_requests_than_slots_wait_their_turn(engine: Engine) -> None:
    with gated(engine) as gate:
        tasks = [
            asyncio.create_task(audio(engine, request(duration_s=0.5, seed=i)))
            for i in range(SLOTS + 4)
        ]
        await gate.requests(len(tasks))
        gate.let(2)  # perhaps without those in the inbox, and with them
        await gate.reached()
        stats = engine.stats()
    assert (stats.queued_requests, stats.slots_used) == (4, SLOTS)
    assert stats.queued_audio_s == pytest.approx(4 * 0.5)
    assert 0 < stats.running_audio_s <= SLOTS * 0.56 + 1e-6
    assert {len(samples[0]) for samples in await asyncio.gather(*tasks)} == {16_000}
    await until(lambda: engine.stats().slots_used == 0)
    assert engine.stats().steps_per_s > 0
    assert engine.stats().real_time_factor > 0


async def test_progress_goes_to_the_requests_that_ask_for_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All slots are taken: the second in the queue gets its position, then its seconds of audio."""
    monkeypatch.setattr(progress_reporter, "INTERVAL_S", 0.0)
    asking = request(duration_s=3.0, seed=7).model_copy(update={"progress": True})
    with gated(engine) as gate:
        others = [
            asyncio.create_task(audio(engine, request(duration_s=3.0, seed=i)))
            for i in range(SLOTS + 1)
        ]
        await gate.requests(SLOTS + 1)
        task = asyncio.create_task(collect(engine.generate(asking)))
        await gate.requests(SLOTS + 2)
    items = await task
    await asyncio.gather(*others)
    reports = [item for item in items if isinstance(item, Progress)]
    positions = [report.queue_position for report in reports]
    assert positions[0] == 2
    assert positions == sorted(positions, reverse=True)
    made = [report.audio_s for report in reports if report.queue_position == 0]
    assert made == sorted(made)
    assert 0 < made[-1] <= 3.1
    assert all(report.remaining_s is None or report.remaining_s > 0 for report in reports)
    quiet = await audio(engine, request(duration_s=3.0, seed=7))
    assert np.array_equal(joined(items), quiet)


async def test_the_seed_decides(engine: Engine) -> None:
    unseeded = request(duration_s=0.5)
    seed = unseeded.sampling.seed
    first = await audio(engine, unseeded)
    assert np.array_equal(await audio(engine, request(duration_s=0.5, seed=seed)), first)
    assert not np.array_equal(await audio(engine, request(duration_s=0.5, seed=seed + 1)), first)


async def test_abort_frees_the_slot_within_a_step(engine: Engine) -> None:
    stream = engine.generate(request(duration_s=LONG_S))
    await anext(stream)
    with gated(engine) as gate:
        await gate.reached()
        await stream.aclose()
        gate.let(1)
        await until(lambda: engine.stats().slots_used == 0)


async def test_abort_of_a_waiting_request_forgets_it(engine: Engine) -> None:
    running_streams = [engine.generate(request(duration_s=LONG_S)) for _ in range(SLOTS)]
    for stream in running_streams:
        await anext(stream)
    waiting = asyncio.create_task(audio(engine, request()))
    await until(lambda: engine.stats().queued_requests == 1)
    waiting.cancel()
    await until(lambda: engine.stats().queued_requests == 0)
    for stream in running_streams:
        await stream.aclose()
    await until(lambda: engine.stats().slots_used == 0)


async def test_requests_beyond_the_limits_are_refused(engine: Engine) -> None:
    with pytest.raises(
        DurationTooLong, match=r"120\.5 seconds were asked for, but this model makes up to 120"
    ):
        await audio(engine, request(duration_s=120.5))
    with pytest.raises(PromptTooLong, match="tokens long, but this model takes 256"):
        await audio(engine, request("long " * 500))
    assert engine.stats().queued_requests == 0


async def test_prompt_changes_the_audio(engine: Engine) -> None:
    one, other = [
        await audio(engine, request(prompt, 0.5, seed=3)) for prompt in ("calm piano", "loud drums")
    ]
    assert not np.array_equal(one, other)


async def test_output_that_is_not_finite_ends_that_sequence_alone(nano: Checkpoint) -> None:
    with running(nano) as engine:
        musicgen = engine.checkpoint.musicgen
        conditions = musicgen.conditions
        poison = engine.conditioner.tokenize("poison")

        def spoil(text: torch.Tensor | None, leading: torch.Tensor | None = None) -> Conditions:
            cross_attention = conditions(text, leading).cross_attention
            assert cross_attention is not None
            if text is not None and len(text) == len(poison):
                cross_attention = cross_attention._replace(keys=cross_attention.keys * torch.nan)
            return Conditions(cross_attention)

        musicgen.conditions = spoil  # type: ignore[method-assign]
        try:
            good, bad = await asyncio.gather(
                audio(engine, request("calm piano", 0.5)),
                audio(engine, request("poison", 0.5)),
                return_exceptions=True,
            )
        finally:
            musicgen.conditions = conditions  # type: ignore[method-assign]
        assert isinstance(bad, GenerationFailed)
        assert "not finite" in bad.message
        assert isinstance(good, np.ndarray)
        assert np.isfinite(good).all()
        engine.check_health()


async def test_a_slot_forgets_nan(nano: Checkpoint) -> None:
    """A later sequence reads none of the old values, though attention reads whole buckets."""
    with running(nano) as engine:
        fresh = await audio(engine, request(duration_s=0.3, seed=1))
        cache = engine.loop.batch.runner._cache
        assert isinstance(cache, FloatKVCache)
        cache._memory[:, :, 0] = torch.nan
        engine.loop.batch.runner._state.finite[0] = False
        assert np.array_equal(await audio(engine, request(duration_s=0.3, seed=1)), fresh)


async def test_a_slot_forgets_a_text_that_was_not_finite(
    nano: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next prompt is shorter, so that it covers a part of the slot's text only."""
    with running(nano) as engine:
        fresh = await audio(engine, request("piano", 0.3, seed=1))
        encode = TextEncoder.forward
        with monkeypatch.context() as patched:
            patched.setattr(TextEncoder, "forward", lambda *args: encode(*args) * torch.nan)
            with pytest.raises(GenerationFailed, match="not finite"):
                await audio(engine, request("a much longer prompt of many words", 0.3))
        for _ in range(2):
            assert np.array_equal(await audio(engine, request("piano", 0.3, seed=1)), fresh)


async def test_without_guidance_one_row_a_slot_is_enough(tmp_path: Path, hub_cache: Path) -> None:
    checkpoint, oracle = load_pair("transformers", MONO, tmp_path, hub_cache)
    guided: list[bool] = []
    with running(checkpoint) as engine:
        step = engine.loop.batch.runner.step

        def record(shape: BatchShape) -> None:
            guided.append(shape.guided)
            step(shape)

        engine.loop.batch.runner.step = record  # type: ignore[method-assign]
        duration_s = FRAMES / checkpoint.frame_rate
        plain = request(PROMPT, duration_s, temperature=0.0, cfg_coef=1.0)
        alone = await audio(engine, plain)
        assert not any(guided)
        among, _ = await asyncio.gather(
            audio(engine, plain), audio(engine, request("drums", duration_s / 2))
        )
        assert set(guided) == {True, False}
    expected = oracle.decode(oracle.generate(PROMPT, FRAMES, cfg_coef=1.0))
    for samples in (alone, among):
        torch.testing.assert_close(torch.from_numpy(samples), expected, rtol=0, atol=1e-4)


async def test_a_prompt_that_cannot_be_encoded_ends_that_sequence_alone(nano: Checkpoint) -> None:
    with running(nano) as engine:

        def fail(_: object) -> None:
            raise RuntimeError("out of memory at /some/path")

        engine.conditioner.encode = fail  # type: ignore[method-assign, assignment]
        with pytest.raises(GenerationFailed, match=r"could not be encoded \(RuntimeError\)$"):
            await audio(engine, request())
        engine.check_health()


async def test_a_failed_engine_is_unhealthy_and_refuses_requests(nano: Checkpoint) -> None:
    with running(nano) as engine:
        engine.check_health()
        engine.loop.fail(RuntimeError("the device is gone"))
        await until(lambda: not engine.loop.alive)
        with pytest.raises(ReplicaFailed, match="has stopped after a failure"):
            engine.check_health()
        with pytest.raises(ReplicaFailed, match="may be sent again"):
            async with asyncio.timeout(PATIENCE_S):
                await audio(engine, request())


def device_assert(*_: object, **__: object) -> Any:
    raise torch.AcceleratorError("CUDA error: device-side assert triggered")


def without_memory(*_: object, **__: object) -> Any:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 800 MiB")


AUDIO_PROMPT = Audio(np.zeros((1, 6400), np.float32), 32_000)
THREADS = {
    "text": "serve_app.models.t5.TextEncoder.forward",
    "audio prompt": "serve_app.models.encodec.model.Encodec.encode",
    "engine": "serve_app.engine.model_runner.ModelRunner.step",
    "codec": "serve_app.models.encodec.model.Encodec.decode_chunk",
}


@pytest.mark.parametrize("thread", THREADS)
async def test_a_failed_device_ends_the_engine_from_every_thread(
    thread: str, nano: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CUDA error ends the context for all threads: the replica must be replaced."""
    with running(nano) as engine:
        neighbour = asyncio.create_task(audio(engine, request(duration_s=LONG_S)))
        await until(lambda: engine.stats().slots_used == 1)
        monkeypatch.setattr(THREADS[thread], device_assert)
        asking = request("drums", 0.5).model_copy(update={"audio_prompt": AUDIO_PROMPT})
        async with asyncio.timeout(PATIENCE_S):
            for failed in (audio(engine, asking), neighbour):
                with pytest.raises(ReplicaFailed, match="may be sent again"):
                    await failed
        with pytest.raises(ReplicaFailed, match="has stopped after a failure"):
            engine.check_health()


@pytest.mark.parametrize("thread", ["text", "audio prompt"])
async def test_too_little_memory_for_a_prompt_ends_that_request_alone(
    thread: str, nano: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(nano) as engine:
        monkeypatch.setattr(THREADS[thread], without_memory)
        asking = request("drums", 0.5).model_copy(update={"audio_prompt": AUDIO_PROMPT})
        with pytest.raises(GenerationFailed, match=r"could not be encoded \(OutOfMemoryError\)"):
            await audio(engine, asking)
        engine.check_health()


@pytest.mark.parametrize("name", ["text", "audio-prompt", "codec"])
def test_a_thread_that_cannot_be_prepared_keeps_the_engine_from_starting(
    name: str, nano: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(_: torch.device) -> None:
        if name in threading.current_thread().name:
            device_assert()

    monkeypatch.setattr(worker_thread, "use_own_stream", prepare)
    with pytest.raises(torch.AcceleratorError, match="device-side assert"), running(nano):
        pass


def test_a_devices_options_are_set_before_anything_runs_there(
    nano: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    monkeypatch.setattr(engine_module, "configure_device", lambda device: order.append(str(device)))
    monkeypatch.setattr(worker_thread, "use_own_stream", lambda _: order.append("thread"))
    with running(nano):
        assert order == ["cpu", "thread", "thread", "thread"]


def test_an_engines_thread_that_cannot_be_prepared_ends_the_start(
    nano: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_loop, "use_own_stream", device_assert)
    with running(nano) as engine, pytest.raises(torch.AcceleratorError, match="device-side"):
        engine.warm_up()
    assert not engine.loop.alive


def test_all_threads_have_their_streams_before_graphs_are_captured(
    nano: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To give a thread its stream waits for the device, which would invalidate a capture."""
    events: list[str] = []

    def prepare(_: torch.device) -> None:
        events.append(threading.current_thread().name)

    def capture(_: Batch) -> Iterator[None]:
        events.append("capture")
        yield

    for module in (worker_thread, engine_loop):
        monkeypatch.setattr(module, "use_own_stream", prepare)
    monkeypatch.setattr(Batch, "warm_up", capture)
    encode = TextEncoder.forward

    def encode_text(encoder: TextEncoder, tokens: list[int]) -> torch.Tensor:
        events.append("text")
        return encode(encoder, tokens)

    monkeypatch.setattr(TextEncoder, "forward", encode_text)
    with running(nano) as engine:
        engine.warm_up(0.1)
    threads = ["musicgen-text_0", "musicgen-audio-prompt_0", "musicgen-codec_0", "musicgen-engine"]
    assert set(threads) < set(events)
    assert events[-1] == "capture", "the text is encoded before, so that the device rests"


async def test_shutdown_ends_running_sequences(nano: Checkpoint) -> None:
    with running(nano) as engine:
        stream = engine.generate(request(duration_s=LONG_S))
        await anext(stream)
    with pytest.raises(ReplicaFailed):
        await collect(stream)


async def test_warm_up_returns_when_a_track_is_made(nano: Checkpoint) -> None:
    with running(nano) as engine:
        engine.warm_up(0.2)
        await until(lambda: engine.stats().steps_total == 13)


@pytest.mark.parametrize(
    ("kind", "architecture"),
    [
        ("transformers", MONO),
        ("transformers", STEREO),
        ("audiocraft", STEREO),
        ("audiocraft", BIASES),
    ],
    ids=str,
)
async def test_greedy_audio_equals_the_oracles_among_neighbours(
    kind: str, architecture: Architecture, tmp_path: Path, hub_cache: Path
) -> None:
    """The whole path without a pinned batch shape: other requests join and leave midway."""
    checkpoint, oracle = load_pair(kind, architecture, tmp_path, hub_cache)
    duration_s = FRAMES / checkpoint.frame_rate
    expected = oracle.decode(oracle.generate(PROMPT, FRAMES))
    with running(checkpoint, chunk_s=duration_s / 7, first_chunk_s=duration_s / 20) as engine:
        greedy = asyncio.create_task(audio(engine, request(PROMPT, duration_s, temperature=0.0)))
        others = [
            request("loud drums", duration_s * f, seed=i)
            for i, f in enumerate((0.1, 0.5, 0.9, 0.3))
        ]
        await asyncio.gather(*(audio(engine, other) for other in others))
        samples = await greedy
    torch.testing.assert_close(torch.from_numpy(samples), expected, rtol=0, atol=1e-4)
