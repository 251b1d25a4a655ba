"""Melodies through the engine: AudioCraft's codes, alone and among neighbours, in any window."""

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.config.app import EngineConfig
from serve_app.engine.batch import Batch
from serve_app.engine.engine import Engine
from serve_app.engine.input_processor import InputProcessor
from serve_app.engine.sequence import Sequence
from serve_app.engine.streaming_decoder import StreamingDecoder
from serve_app.types import Audio, AudioChunk, GenerationRequest, SamplingParams
from tests.architectures import MELODY, STEREO_MELODY, Architecture
from tests.engine.step_gate import PATIENCE_S, gated
from tests.oracles import PROMPT, AudioCraftOracle, load_pair

SLOTS = 3
RATE = 480
# 20 frames a second; as many codes as the codec has; 113 frames of chroma
SLOW = [
    replace(architecture, sample_rate=RATE, codebook_size=128, chroma_fft_bits=9)
    for architecture in (MELODY, STEREO_MELODY)
]
Pair = tuple[Checkpoint, AudioCraftOracle]


@pytest.fixture(scope="module", params=SLOW, ids=lambda architecture: architecture.name)
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, hub_cache: Path
) -> Pair:
    architecture: Architecture = request.param
    folder = tmp_path_factory.mktemp("checkpoint")
    checkpoint, oracle = load_pair("audiocraft", architecture, folder, hub_cache)
    assert isinstance(oracle, AudioCraftOracle)
    return checkpoint, oracle


@pytest.fixture(scope="module")
def engine(pair: Pair) -> Iterator[Engine]:
    with running(pair[0], pin_batch_shape=True) as engine:
        yield engine


@contextlib.contextmanager
def running(checkpoint: Checkpoint, **options: Any) -> Iterator[Engine]:
    config = EngineConfig(max_slots=SLOTS, num_threads=1, max_duration_s=100.0, **options)
    engine = Engine(checkpoint, config)
    try:
        yield engine
    finally:
        engine.shutdown()


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> dict[StreamingDecoder, list[Tensor]]:
    """The codes that go into the codec, chunk by chunk, of each track."""
    seen: dict[StreamingDecoder, list[Tensor]] = {}
    decode = StreamingDecoder.decode

    def record(self: StreamingDecoder, codes: Tensor, final: bool) -> object:
        seen.setdefault(self, []).append(codes.clone())
        return decode(self, codes, final)

    monkeypatch.setattr(StreamingDecoder, "decode", record)
    return seen


def tune(seconds: float, seed: int = 0) -> Audio:
    """A new note every second, from 30 to 200 Hz."""
    notes = np.random.default_rng(seed).uniform(30, 200, 100)
    time = np.arange(round(seconds * RATE)) / RATE
    samples = 0.5 * np.sin(2 * np.pi * notes[time.astype(int) % 100] * time)
    return Audio(samples[None].astype(np.float32), RATE)


def sound(checkpoint: Checkpoint, seconds: float) -> Audio:
    shape = (checkpoint.audio_channels, round(seconds * RATE))
    noise = np.random.default_rng(3).uniform(-0.8, 0.8, shape)
    return Audio(noise.astype(np.float32), RATE)


def track(
    prompt: str = PROMPT,
    melody: Audio | None = None,
    audio_prompt: Audio | None = None,
    duration_s: float = 3.0,
    **sampling: Any,
) -> GenerationRequest:
    return GenerationRequest(
        request_id="test",
        model="melody",
        prompt=prompt,
        duration_s=duration_s,
        melody=melody,
        audio_prompt=audio_prompt,
        sampling=SamplingParams(**(sampling or {"temperature": 0.0})),
    )


async def collect(engine: Engine, request: GenerationRequest) -> np.ndarray[Any, Any]:
    items = [item async for item in engine.generate(request)]
    return np.concatenate([item.samples for item in items if isinstance(item, AudioChunk)], axis=1)


def expected(oracle: AudioCraftOracle, request: GenerationRequest) -> Tensor:
    melody = None if request.melody is None else torch.from_numpy(request.melody.samples[0])
    return oracle.continue_audio(
        request.prompt or None, request.audio_prompt, request.duration_s, melody
    )


@pytest.mark.parametrize("with_melody", [True, False])
@pytest.mark.parametrize("prompt", [PROMPT, ""])
@pytest.mark.parametrize("audio_s", [0.0, 1.0])
async def test_codes_equal_audiocrafts(
    pair: Pair,
    engine: Engine,
    decoded: dict[StreamingDecoder, list[Tensor]],
    monkeypatch: pytest.MonkeyPatch,
    with_melody: bool,
    prompt: str,
    audio_s: float,
) -> None:
    """Text and melody, each alone, and neither, which requests may leave to a continuation only."""
    checkpoint, oracle = pair
    monkeypatch.setattr(InputProcessor, "_check", lambda *_: None)
    request = track(
        prompt,
        tune(4.0) if with_melody else None,
        sound(checkpoint, audio_s) if audio_s else None,
    )
    await collect(engine, request)
    [codes] = decoded.values()
    assert torch.equal(torch.cat(codes, dim=-1), expected(oracle, request))


async def test_text_and_melody_matter(
    engine: Engine, decoded: dict[StreamingDecoder, list[Tensor]]
) -> None:
    """Some versions of transformers have ignored both."""
    for request in (
        track(melody=tune(4.0)),
        track(melody=tune(4.0, seed=1)),
        track(),
        track("loud drums", tune(4.0)),
    ):
        await collect(engine, request)
    found = {tuple(torch.cat(codes, dim=-1).flatten().tolist()) for codes in decoded.values()}
    assert len(found) == 4


@pytest.mark.parametrize("audio_s", [pytest.param(0.0, marks=pytest.mark.long), 2.5])
async def test_three_windows_hear_the_looped_melody(
    pair: Pair, engine: Engine, decoded: dict[StreamingDecoder, list[Tensor]], audio_s: float
) -> None:
    """A melody of 40 s in windows at 0, 18 and 36 s of the track, an audio prompt included."""
    checkpoint, oracle = pair
    audio_prompt = sound(checkpoint, audio_s) if audio_s else None
    request = track(melody=tune(40.0), audio_prompt=audio_prompt, duration_s=50.0)
    await collect(engine, request)
    [codes] = decoded.values()
    assert torch.equal(torch.cat(codes, dim=-1), expected(oracle, request))


NEIGHBOURS = [
    track("bells", tune(3.0), seed=1),
    track("a long description of loud drums and a slow bass, 90 bpm", tune(9.0, 5), seed=2),
    track("", tune(2.0, 7), seed=3),
    track("calm piano", seed=4),
    track("techno", tune(5.0, 2), duration_s=2.0, temperature=0.0),
]


async def test_neighbours_change_no_track(engine: Engine) -> None:
    """Five tracks in three slots, each with a prefix of its own length, join midway."""
    alone = [await collect(engine, request) for request in NEIGHBOURS]
    together = await asyncio.gather(*(collect(engine, request) for request in NEIGHBOURS))
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one, other)


class Gate:
    """Holds the engine's thread after the first slice of a prefill with a melody."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.slices = 0
        self.reached = threading.Event()
        self.opened = threading.Event()
        prefill = Batch.prefill

        def held(batch: Batch, sequence: Sequence, _: float | None) -> None:
            prefill(batch, sequence, 0.0)
            if sequence.chroma:
                self.slices += 1
                self.reached.set()
                assert self.opened.wait(PATIENCE_S)

        monkeypatch.setattr(Batch, "prefill", held)


async def test_a_request_cancelled_in_its_prefill_frees_its_slot(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, decoded: dict[StreamingDecoder, list[Tensor]]
) -> None:
    """It holds the slot before the last. The next two tracks are made in the free slots."""
    checkpoint, oracle = pair
    with running(checkpoint) as engine:
        gate = Gate(monkeypatch)
        cancelled = asyncio.ensure_future(collect(engine, track("bells", tune(4.0))))
        assert await asyncio.to_thread(gate.reached.wait, PATIENCE_S)
        cancelled.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await cancelled
        gate.opened.set()
        after = [track(), track("calm piano", duration_s=2.0)]
        await asyncio.gather(*(collect(engine, request) for request in after))
        assert gate.slices == 1, "nothing is prefilled for a cancelled request"
    codes = {sum(part.shape[1] for part in parts): parts for parts in decoded.values()}
    for request, frames in zip(after, (60, 40), strict=True):
        assert torch.equal(torch.cat(codes[frames], dim=-1), expected(oracle, request))


async def test_a_stream_goes_on_during_a_neighbours_prefill(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two slices of the melody's prefill the other track advances by one step."""
    steps: list[tuple[int, int]] = []  # of the running track, with the units left of the other's
    with running(pair[0]) as engine:
        prefill = Batch.prefill

        def sliced(batch: Batch, sequence: Sequence, budget_s: float | None) -> None:
            assert (budget_s is None) == (not engine.loop._lanes[""].scheduler.decoding)
            prefill(batch, sequence, budget_s and 0.0)
            if sequence.chroma:
                neighbour = next(iter(engine.loop._lanes[""].scheduler.running.values()))
                steps.append((neighbour.steps, sequence.prefill_units))

        monkeypatch.setattr(Batch, "prefill", sliced)
        running_track = engine.generate(track(duration_s=20.0))
        with gated(engine, steps=60) as gate:
            await anext(running_track)
            await gate.reached()
            bells = track("bells", tune(4.0), duration_s=0.5)
            other = asyncio.create_task(collect(engine, bells))
            await gate.requests(2)
        await other
        await running_track.aclose()
    assert len(steps) > 4
    advances = [after[0] - before[0] for before, after in itertools.pairwise(steps)]
    assert advances == [1] * len(advances)
    assert [units for _, units in steps] == list(reversed(range(len(steps))))


def test_the_loaded_model_takes_a_melody(engine: Engine) -> None:
    assert engine.describe().melody
