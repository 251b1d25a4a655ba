"""Whole tracks by MultiBand Diffusion: one after the other, beside the codec's thread."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.checkpoints.watermark import load_watermark
from serve_app.config.app import EngineConfig
from serve_app.config.watermark import WatermarkConfig
from serve_app.engine import diffusion_output
from serve_app.engine.diffusion_output import DiffusionOutput
from serve_app.engine.engine import Engine
from serve_app.engine.output_processor import OutputProcessor
from serve_app.engine.sequence import Sequence
from serve_app.engine.window import Window
from serve_app.errors import (
    DecoderUnavailable,
    GenerationFailed,
    ReplicaFailed,
    RequestAborted,
    ServeAppError,
)
from serve_app.models.audioseal.watermark import WatermarkStream
from serve_app.models.multiband_diffusion import MultiBandDiffusion
from serve_app.types import (
    ENCODEC,
    MULTIBAND_DIFFUSION,
    AudioChunk,
    Decoder,
    FinishReason,
    GenerationRequest,
    Progress,
    SamplingParams,
)
from tests.audioseal import write_generator
from tests.diffusion import load_converted

FRAMES = 60
PATIENCE_S = 60.0
NOTHING = torch.zeros(4, 0, dtype=torch.int64)


class FakeDiffusion:
    """A decoder that waits at each of its evaluations, and then fails or makes silence."""

    evaluations = 2

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.released = threading.Event()
        self.error: Exception | None = None
        self.value = 0.0

    def decode(self, codes: Tensor, _: int, before_evaluation: Callable[[], None]) -> Tensor:
        for _ in range(self.evaluations):
            before_evaluation()
            self.begun.set()
            assert self.released.wait(PATIENCE_S)
        if self.error is not None:
            raise self.error
        return torch.full((len(codes), 1, codes.shape[-1] * 640), self.value)


class Items(list[Any]):
    """A sink that tells when the last item has come."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = threading.Event()

    def put(self, item: Any) -> None:
        self.append(item)
        if isinstance(item, ServeAppError) or getattr(item, "finish_reason", None):
            self.ended.set()

    def audio(self) -> Any:
        chunks = [item.samples for item in self if isinstance(item, AudioChunk)]
        return np.concatenate(chunks, axis=1)


@pytest.fixture(scope="module")
def diffusion(nano: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> MultiBandDiffusion:
    return load_converted(tmp_path_factory.mktemp("diffusion"), nano)


@pytest.fixture
def failures() -> list[Exception]:
    return []


@pytest.fixture
def fake() -> Iterator[FakeDiffusion]:
    fake = FakeDiffusion()
    yield fake
    fake.released.set()


@pytest.fixture
def output(
    nano: Checkpoint, fake: FakeDiffusion, failures: list[Exception]
) -> Iterator[OutputProcessor]:
    output = OutputProcessor(
        nano, EngineConfig(), failures.append, diffusion=cast(MultiBandDiffusion, fake)
    )
    yield output
    fake.released.set()
    output.shutdown()


def new_sequence(items: Items, decoder: Decoder = MULTIBAND_DIFFUSION, number: int = 1) -> Sequence:
    request = GenerationRequest(
        request_id="1",
        model="nano",
        prompt="music",
        duration_s=1.2,
        sampling=SamplingParams(seed=7),
        decoder=decoder,
    )
    sequence = Sequence(
        number, request, [1], NOTHING, [Window(0, FRAMES, 0)], (0, 1, 2, 3), items.put
    )
    sequence.started_at = sequence.arrived_at
    return sequence


def run(output: OutputProcessor | DiffusionOutput, sequence: Sequence, codes: Tensor) -> None:
    """All steps of the sequence in its windows, as the engine's loop has them."""
    output.open(sequence)
    while True:
        sequence.steps += 1
        sequence.record_step(0.5, share_s=0.25)
        if (frames := output.due(sequence)) is not None:
            output.send(sequence, codes[:, frames.start : frames.stop])
        if sequence.finished:
            return
        if sequence.window_finished:
            sequence.windows.pop(0)
            sequence.steps = sequence.window.prefix_frames


def random_codes(checkpoint: Checkpoint, frames: int = FRAMES) -> Tensor:
    return torch.randint(0, checkpoint.musicgen.config.codebook_size, (4, frames))


def test_a_track_of_several_windows_is_decoded_at_once(
    nano: Checkpoint, diffusion: MultiBandDiffusion, failures: list[Exception]
) -> None:
    items = Items()
    sequence = new_sequence(items)
    sequence.windows = [Window(0, FRAMES, 0), Window(36, 96, 24)]
    codes = random_codes(nano, 96)
    output = OutputProcessor(nano, EngineConfig(), failures.append, diffusion=diffusion)
    run(output, sequence, codes)
    assert items.ended.wait(PATIENCE_S)
    output.shutdown()
    expected = diffusion.decode(codes[None], 7, lambda: None)[0].numpy()
    np.testing.assert_allclose(items.audio(), expected, rtol=0, atol=1e-6)
    assert expected.shape == (1, 96 * nano.codec.config.hop_length)
    progress = [item.audio_s for item in items if isinstance(item, Progress)]
    assert progress[0] == 0.0
    assert progress == sorted(progress)
    last = items[-1]
    assert last.finish_reason is FinishReason.LENGTH
    assert last.track_samples == expected.shape[1]
    steps = 2 * (FRAMES + 3) - 24
    assert last.timings.compute_s == pytest.approx(0.25 * steps + last.timings.codec_s)
    assert 0 < last.timings.codec_s == pytest.approx(output.codec_s)
    assert not failures


def test_streams_go_on_while_a_track_is_decoded(
    nano: Checkpoint, output: OutputProcessor, fake: FakeDiffusion
) -> None:
    whole = Items()
    stream = Items()
    slow = new_sequence(whole)
    run(output, slow, random_codes(nano))
    assert fake.begun.wait(PATIENCE_S)
    assert output.pending_frames == FRAMES
    run(output, new_sequence(stream, ENCODEC, 2), random_codes(nano))
    assert stream.ended.wait(PATIENCE_S)
    assert not whole.ended.is_set()
    fake.released.set()
    assert whole.ended.wait(PATIENCE_S)
    output.abort(slow)
    assert output.pending_frames == 0


def test_a_cancelled_track_ends_before_its_next_evaluation(
    nano: Checkpoint, output: OutputProcessor, fake: FakeDiffusion, failures: list[Exception]
) -> None:
    items = Items()
    waiting = Items()
    sequences = [new_sequence(items), new_sequence(waiting, number=2)]
    for sequence in sequences:
        run(output, sequence, random_codes(nano))
    assert fake.begun.wait(PATIENCE_S)
    for sequence in sequences:
        output.abort(sequence)
    fake.released.set()
    assert items.ended.wait(PATIENCE_S)
    assert waiting.ended.wait(PATIENCE_S)
    assert [type(items[-1]), type(waiting[-1])] == [RequestAborted, RequestAborted]
    assert output.pending_frames == 0
    assert not failures


def test_an_engine_that_stops_ends_its_tracks(
    nano: Checkpoint, output: OutputProcessor, fake: FakeDiffusion
) -> None:
    items = Items()
    run(output, new_sequence(items), random_codes(nano))
    assert fake.begun.wait(PATIENCE_S)
    stopping = threading.Thread(target=output.shutdown)
    stopping.start()
    assert output._diffusion is not None
    while not output._diffusion._stopping:
        stopping.join(0.01)
    fake.released.set()
    stopping.join(PATIENCE_S)
    assert isinstance(items[-1], ReplicaFailed)


@pytest.mark.parametrize(
    ("error", "is_of_device", "raised", "message"),
    [
        (RuntimeError("bug"), False, GenerationFailed, r"MultiBand Diffusion failed \(RuntimeErr"),
        (torch.OutOfMemoryError("full"), False, GenerationFailed, "too little memory to decode 1.2 s"),
        (RuntimeError("gone"), True, ReplicaFailed, "may be sent again"),
    ],
)  # fmt: skip
def test_a_failure_ends_the_track_and_that_of_a_device_the_engine(
    error: Exception,
    is_of_device: bool,
    raised: type[ServeAppError],
    message: str,
    nano: Checkpoint,
    output: OutputProcessor,
    fake: FakeDiffusion,
    failures: list[Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(diffusion_output, "is_device_failure", lambda *_: is_of_device)
    fake.error = error
    fake.released.set()
    items = Items()
    run(output, new_sequence(items), random_codes(nano))
    assert items.ended.wait(PATIENCE_S)
    with pytest.raises(raised, match=message):
        raise items[-1]
    assert failures == ([error] if is_of_device else [])


def test_audio_that_is_not_finite_is_a_failure(
    nano: Checkpoint, output: OutputProcessor, fake: FakeDiffusion
) -> None:
    fake.value = float("nan")
    fake.released.set()
    items = Items()
    run(output, new_sequence(items), random_codes(nano))
    assert items.ended.wait(PATIENCE_S)
    with pytest.raises(GenerationFailed, match="not finite"):
        raise items[-1]


def test_a_long_track_is_sent_in_parts(
    nano: Checkpoint, output: OutputProcessor, fake: FakeDiffusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diffusion_output, "_CHUNK_S", 0.5)
    fake.released.set()
    items = Items()
    run(output, new_sequence(items), random_codes(nano))
    assert items.ended.wait(PATIENCE_S)
    chunks = [item for item in items if isinstance(item, AudioChunk)]
    lengths = [chunk.samples.shape[1] for chunk in chunks]
    assert lengths == [16_000, 16_000, 6400]
    assert [chunk.finish_reason for chunk in chunks] == [None, None, FinishReason.LENGTH]


def test_the_channels_of_a_stereo_track_are_a_batch(
    nano: Checkpoint, diffusion: MultiBandDiffusion, failures: list[Exception]
) -> None:
    """As AudioCraft's demonstration of MusicGen decodes left and right."""
    stereo = SimpleNamespace(
        codec=nano.codec,
        frame_rate=nano.frame_rate,
        sample_rate=nano.sample_rate,
        stereo_codebooks=True,
    )
    output = DiffusionOutput(diffusion, cast(Checkpoint, stereo), failures.append)
    items = Items()
    codes = torch.randint(0, 64, (8, FRAMES))
    run(output, new_sequence(items), codes)
    assert items.ended.wait(PATIENCE_S)
    output.shutdown()
    both = torch.cat([codes[None, 0::2], codes[None, 1::2]])
    expected = diffusion.decode(both, 7, lambda: None)
    assert items.audio().shape == (2, FRAMES * 640)
    np.testing.assert_allclose(items.audio(), expected[:, 0].numpy(), rtol=0, atol=1e-6)


def test_a_whole_track_is_watermarked_as_others_are(
    nano: Checkpoint, fake: FakeDiffusion, failures: list[Exception], tmp_path: Path
) -> None:
    file = write_generator(tmp_path / "generator.safetensors", causal=True)
    config = WatermarkConfig(generator_file=str(file), message=7)
    watermark = load_watermark(config, nano.sample_rate, torch.device("cpu"))
    assert watermark is not None
    fake.value = 0.25
    fake.released.set()
    output = OutputProcessor(
        nano, EngineConfig(), failures.append, watermark, cast(MultiBandDiffusion, fake)
    )
    items = Items()
    sequence = new_sequence(items)
    sequence.windows = [Window(0, 10, 0)]
    run(output, sequence, random_codes(nano, 10))
    assert items.ended.wait(PATIENCE_S)
    output.shutdown()
    audio = torch.full((1, 10 * 640), 0.25)
    expected = WatermarkStream(watermark).add(audio, final=True)
    np.testing.assert_allclose(items.audio(), expected.numpy(), atol=1e-6)
    assert np.abs(items.audio() - 0.25).max() > 1e-4


async def test_an_engine_decodes_what_asks_for_it(
    nano: Checkpoint, diffusion: MultiBandDiffusion
) -> None:
    engine = Engine(nano, EngineConfig(max_slots=2, num_threads=1), diffusion=diffusion)

    async def made(decoder: Decoder, seed: int, **more: Any) -> Any:
        request = GenerationRequest(
            request_id="1", model="nano", prompt="piano", duration_s=0.5, decoder=decoder,
            sampling=SamplingParams(seed=seed, temperature=0.0), **more,
        )  # fmt: skip
        items = [item async for item in engine.generate(request)]
        return np.concatenate([one.samples for one in items if isinstance(one, AudioChunk)], axis=1)

    try:
        whole = await made(MULTIBAND_DIFFUSION, 3)
        plain = await made(ENCODEC, 3)
        assert whole.shape == plain.shape
        np.testing.assert_allclose(await made(MULTIBAND_DIFFUSION, 3), whole, rtol=0, atol=1e-6)
        assert np.abs(whole - plain).max() > 0.01 * np.abs(whole).max()
        assert np.abs(await made(MULTIBAND_DIFFUSION, 4) - whole).max() > 0, (
            "greedy codes, other noise"
        )
        with pytest.raises(DecoderUnavailable, match="'multiband_diffusion' decodes whole tracks"):
            await made(MULTIBAND_DIFFUSION, 3, streamed=True)
    finally:
        engine.shutdown()


async def test_an_engine_without_it_refuses_the_request(nano: Checkpoint) -> None:
    engine = Engine(nano, EngineConfig(max_slots=2, num_threads=1))
    request = GenerationRequest(
        request_id="1", model="nano", prompt="a", duration_s=0.5, decoder=MULTIBAND_DIFFUSION
    )
    try:
        with pytest.raises(DecoderUnavailable, match="is not available for this model"):
            await anext(engine.generate(request))
    finally:
        engine.shutdown()
