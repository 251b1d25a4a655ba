"""The client for asyncio. tests/client/test_sync_client.py tests the rules that both share."""

from pathlib import Path

import numpy as np
import pytest

from serve_app.client import ApiError, AsyncMusicGenClient, Retries, Track
from tests.client.facts import FACTS, TRACK, WAV, event, problem
from tests.fakes import FakeGenerator
from tests.raw_server import answer, raw_server
from tests.riff import samples_of


async def test_it_does_the_same(url: str) -> None:
    async with AsyncMusicGenClient(url) as client:
        track = await client.generate("lofi beat", duration_s=1, seed=7)
        events = [event async for event in client.stream("lofi beat", duration_s=1, seed=7)]
        served = await client.models()
        variations = await client.variations("lofi beat", n=2, duration_s=1, seed=7)
        converted = await client.convert(track.content, response_format="flac")
        report = await client.check_provenance(converted.content)
        with_manifest = await client.check_provenance(converted.content, b"damaged")
        with pytest.raises(ApiError, match="is not served here"):
            await client.generate("a", model="huge")
        with pytest.raises(ApiError, match="is not served here"):
            await anext(client.stream("a", model="huge"))
    assert isinstance(events[-1], Track)
    assert np.array_equal(
        np.frombuffer(samples_of(events[-1].content), np.int16),
        np.frombuffer(samples_of(track.content), np.int16),
    )
    assert [one["id"] for one in served] == ["small", "large"]
    assert variations[0].content == track.content
    assert converted.content.startswith(b"fLaC")
    assert report.generated
    assert report.tags["seed"] == "7"
    assert (report.manifest.state, with_manifest.manifest.state) == ("none", "unreadable")


async def test_audio_may_be_a_path(url: str, backend: FakeGenerator, tmp_path: Path) -> None:
    async with AsyncMusicGenClient(url) as client:
        (await client.generate("a", duration_s=0.5)).save(tmp_path / "a.wav")
        await client.generate(audio_prompt=tmp_path / "a.wav", duration_s=1)
    prompt = backend.requests[-1].audio_prompt
    assert prompt is not None
    assert prompt.duration_s == 0.5


async def test_it_tries_again_and_follows_redirects() -> None:
    moved = answer("307 Temporary", b"", "location: /elsewhere")
    with raw_server(problem(503, "model_loading"), moved, None, TRACK) as server:
        async with AsyncMusicGenClient(server.url, retries=Retries(first_delay_s=0.01)) as client:
            assert (await client.generate("a", seed=7)).content == WAV
    assert len(server.requests) == 4


async def test_a_stream_that_ends_early_raises() -> None:
    body = event("audio", {"audio": "UklGRg=="})
    stream = answer("200 OK", body, "content-type: text/event-stream")
    with raw_server(stream) as server:
        async with AsyncMusicGenClient(server.url) as client:
            with pytest.raises(ApiError, match="lacks the event 'done'") as error:
                [event async for event in client.stream("a")]
    assert error.value.code == "cut_off"


async def test_a_stream_ends_with_the_track() -> None:
    body = event("audio", {"audio": "UklGRg=="}) + event("done", FACTS)
    with raw_server(answer("200 OK", body, "content-type: text/event-stream")) as server:
        async with AsyncMusicGenClient(server.url) as client:
            events = [event async for event in client.stream("a")]
    assert isinstance(events[-1], Track)
    assert events[-1].content == b"RIFF"
