"""The Python clients over the real service: through Serve, its proxy and a replica."""

import io
from pathlib import Path

import pytest
import soundfile

from serve_app.client import ApiError, AsyncMusicGenClient, Audio, MusicGenClient, Track
from serve_app.launcher import Service


def test_every_method(service: Service, tmp_path: Path) -> None:
    with MusicGenClient(service.url) as client:
        track = client.generate("lofi beat", seed=7, duration_s=1)
        variations = client.variations("lofi beat", n=2, seed=7, duration_s=1)
        events = list(client.stream("lofi beat", seed=7, duration_s=1))
        track.save(tmp_path / "beginning.wav")
        longer = client.generate(audio_prompt=tmp_path / "beginning.wav", duration_s=2)
        converted = client.convert(track.content, response_format="flac", sample_rate=16_000)
        served = client.models()
    assert [one.seed for one in variations] == [7, 8]
    assert variations[0].content == track.content
    assert isinstance(events[-1], Track)
    assert events[-1].content == track.content
    assert sum(isinstance(event, Audio) for event in events) > 1
    assert longer.duration_s == 2.0
    assert soundfile.info(io.BytesIO(converted.content)).samplerate == 16_000
    assert served[0]["id"] == track.model == "nano"
    assert repr(track) == f"Track(model='nano', seed=7, duration_s=1, {len(track.content)} bytes)"


async def test_both_clients_make_the_same(service: Service) -> None:
    with MusicGenClient(service.url) as client:
        track = client.generate("calm pad", seed=3, duration_s=1)
    async with AsyncMusicGenClient(service.url) as other:
        assert (await other.generate("calm pad", seed=3, duration_s=1)).content == track.content
        *_, streamed = [event async for event in other.stream("calm pad", seed=3, duration_s=1)]
    assert isinstance(streamed, Track)
    assert streamed.content == track.content


def test_refusals_have_a_code(service: Service) -> None:
    with MusicGenClient(service.url) as client:
        with pytest.raises(ApiError) as unknown:
            client.generate("a", model="huge")
        with pytest.raises(ApiError) as damaged:
            client.convert(b"no audio")
        with pytest.raises(ApiError) as many:
            client.variations("a", n=9)
    assert (unknown.value.status, unknown.value.code) == (404, "model_not_found")
    assert (damaged.value.status, damaged.value.code) == (400, "invalid_audio")
    assert (many.value.status, many.value.code) == (400, "invalid_request")
