"""Tracks: finished, and being made."""

import io
from collections.abc import AsyncGenerator

import av
import numpy as np
import pytest
import soundfile

from serve_app.audio.encoder import encode
from serve_app.audio.file_format import FLAC, OPUS, PCM, Encoding
from serve_app.audio.mastering import Mastering, Normalization
from serve_app.errors import GenerationFailed, InvalidRequest
from serve_app.gateway.marking import Marking
from serve_app.gateway.track import LiveTrack
from serve_app.marks import DIGITAL_SOURCE_TYPE
from serve_app.track_fields import TrackReport
from serve_app.types import AudioChunk, GenerationRequest, Progress, SamplingParams, StreamItem
from tests.fakes import SAMPLE_RATE, SMALL, TIMINGS, FakeGenerator

FACTS = {
    "model": "small", "seed": 7, "license": "CC-BY-NC-4.0",
    "digital_source_type": DIGITAL_SOURCE_TYPE, "resume": "approximate",
    "sample_rate": SAMPLE_RATE,
    "duration_s": 1.0,
    "queue_s": 0.25, "time_to_first_audio_s": 0.5, "generation_s": 2.004, "compute_s": 1.5,
    "text_encoder_s": 0.125, "first_step_s": 0.0625, "codec_s": 0.375,
    "real_time_factor": 0.5, "cost_usd": 0.0005,
}  # fmt: skip


async def live(generator: FakeGenerator, *, progress: bool = False) -> LiveTrack:
    request = GenerationRequest(
        request_id="a",
        model="small",
        prompt="lofi",
        duration_s=1.0,
        sampling=SamplingParams(seed=7),
        progress=progress,
    )
    items = generator.generate(request)
    return LiveTrack(request, SMALL, await anext(items), items, Marking())


async def parts(
    track: LiveTrack, mastering: Mastering | None = None
) -> list[Progress | bytes | TrackReport]:
    return [part async for part in track.parts(Encoding(PCM), mastering or Mastering())]


async def test_a_finished_track_reports_its_facts() -> None:
    track = await (await live(FakeGenerator(), progress=True)).finish()
    assert track.samples.shape == (1, SAMPLE_RATE)
    assert track.report().model_dump() == FACTS


async def test_a_track_is_encoded_with_its_tags() -> None:
    track = await (await live(FakeGenerator())).finish()
    content = await track.encode(Encoding(FLAC), Mastering(Normalization.PEAK))
    samples, _ = soundfile.read(io.BytesIO(content))
    assert np.abs(samples).max() == pytest.approx(10 ** (-1 / 20), rel=0.01)
    with av.open(io.BytesIO(content), "r") as container:
        tags = {name.lower(): value for name, value in container.metadata.items()}
    assert tags == Marking().tags(track.request, SMALL)


async def test_parts_are_progress_then_bytes_then_the_report() -> None:
    generator = FakeGenerator()
    made = await parts(await live(generator, progress=True))
    assert [type(part) for part in made] == [Progress, Progress, bytes, bytes, TrackReport]
    whole = await (await live(generator)).finish()
    content = b"".join(part for part in made if isinstance(part, bytes))
    assert content == encode(whole.samples, SAMPLE_RATE, Encoding(PCM))
    report = made[-1]
    assert isinstance(report, TrackReport)
    assert report.model_dump() == FACTS


async def test_a_whole_track_tells_how_much_is_made() -> None:
    """A decoder of whole tracks reports it before there is audio; it never falls."""
    made: list[float] = []
    await (await live(FakeGenerator(), progress=True)).finish(made.append)
    assert made == [0.5, 0.5, 1.0]
    made.clear()
    await (await live(FakeGenerator())).finish(made.append)
    assert made == [10 / SAMPLE_RATE, 1.0]


async def test_a_live_track_fades_as_the_whole_one_does() -> None:
    mastering = Mastering(fade_in_s=0.3, fade_out_s=0.5)
    made = await parts(await live(FakeGenerator()), mastering)
    content = b"".join(part for part in made if isinstance(part, bytes))
    whole = await (await live(FakeGenerator())).finish()
    assert content == encode(
        mastering.whole(whole.samples, SAMPLE_RATE), SAMPLE_RATE, Encoding(PCM)
    )


@pytest.mark.parametrize("progress", [False, True])
async def test_some_facts_are_there_before_the_end(progress: bool) -> None:
    facts = (await live(FakeGenerator(), progress=progress)).facts_so_far()
    expected = {
        name: FACTS[name]
        for name in ("model", "seed", "license", "digital_source_type", "resume", "sample_rate")
    }
    if progress:
        del expected["sample_rate"]  # no chunk has come
    assert facts == expected


@pytest.mark.parametrize("count", [1, 2])
async def test_a_stream_without_an_end_is_a_failure(count: int) -> None:
    items: list[StreamItem] = [Progress(0, 0.0, None)]
    items.append(AudioChunk(np.zeros((1, 10), np.float32), SAMPLE_RATE, timings=None))

    async def later() -> AsyncGenerator[StreamItem, None]:
        for item in items[1:count]:
            yield item

    request = GenerationRequest(request_id="a", model="small", prompt="a", duration_s=1.0)
    with pytest.raises(GenerationFailed, match="ended too early"):
        await LiveTrack(request, SMALL, items[0], later(), Marking()).finish()
    with pytest.raises(GenerationFailed, match="ended too early"):
        await parts(LiveTrack(request, SMALL, items[0], later(), Marking()))


async def test_leaving_the_parts_aborts_the_request() -> None:
    generator = FakeGenerator()
    stream = (await live(generator)).parts(Encoding(PCM), Mastering())
    await anext(stream)
    assert generator.closed == 0
    await stream.aclose()  # type: ignore[attr-defined]
    assert generator.closed == 1
    assert TIMINGS.compute_s == FACTS["compute_s"]


async def test_a_bit_rate_that_the_channels_exclude_aborts_the_request() -> None:
    generator = FakeGenerator()
    track = await live(generator)
    await track.check_channels(Encoding(OPUS, bitrate_kbps=256))
    assert generator.closed == 0
    with pytest.raises(InvalidRequest, match="between 6 and 256 for one channel"):
        await track.check_channels(Encoding(OPUS, bitrate_kbps=257))
    assert generator.closed == 1
