"""`/v1`: files that are streamed while the track is made."""

import io
from typing import Any

import av
import httpx
import numpy as np
import pytest

from serve_app.audio.file_format import FORMATS
from serve_app.errors import QueueFull
from tests.fakes import SAMPLE_RATE, FakeGenerator
from tests.riff import samples_of

PATH = "/v1/audio/generations"
MP3_DELAY = 1105  # samples of silence; a whole file's header tells players to skip them


async def streamed(client: httpx.AsyncClient, response_format: str) -> bytes:
    body = {
        "prompt": "a",
        "duration_s": 1,
        "seed": 7,
        "response_format": response_format,
        "stream": True,
    }
    async with client.stream("POST", PATH, json=body) as response:
        assert response.status_code == 200
        assert response.headers["content-type"] == FORMATS[response_format].media_type
        assert response.headers["x-musicgen-seed"] == "7"
        assert "content-length" not in response.headers
        return await response.aread()


def decoded(content: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
    resampler = av.AudioResampler(format="flt", layout="mono")
    with av.open(io.BytesIO(content), "r") as container:
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]).astype(np.float32)


async def test_a_streamed_file_holds_the_same_samples(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    whole = await client.post(PATH, json={"prompt": "a", "duration_s": 1, "seed": 7})
    content = await streamed(client, "wav")
    assert samples_of(content) == samples_of(whole.content)
    assert await streamed(client, "pcm") == samples_of(whole.content)
    assert generator.closed == 3


@pytest.mark.parametrize(
    ("response_format", "least_db"), [("mp3", 20.0), ("opus", 10.0), ("flac", np.inf)]
)
async def test_compressed_streams_sound_as_the_whole_file(
    client: httpx.AsyncClient, response_format: str, least_db: float
) -> None:
    """Lossy streams are encoded with faster settings, at the same bit rates."""
    body = {"prompt": "a", "duration_s": 1, "seed": 7, "response_format": response_format}
    whole = decoded((await client.post(PATH, json=body)).content)
    stream = decoded(await streamed(client, response_format))
    start = MP3_DELAY if response_format == "mp3" else 0
    noise = np.mean((stream[start : start + len(whole)] - whole) ** 2)
    assert not noise or 10 * np.log10(np.mean(whole**2) / noise) > least_db
    assert len(whole) >= SAMPLE_RATE


async def test_a_failure_before_the_first_audio_has_its_status(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    generator.error = QueueFull("Too many wait.", retry_after_s=3)
    response = await client.post(PATH, json={"prompt": "a", "duration_s": 1, "stream": True})
    assert (response.status_code, response.json()["code"]) == (429, "queue_full")
    assert generator.closed == 1


async def test_normalization_that_measures_the_track_is_not_streamed(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    body = {"prompt": "a", "stream": True, "normalization": "loudness"}
    response = await client.post(PATH, json=body)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")
    assert "cannot be streamed" in response.json()["detail"]
    assert generator.requests == []
