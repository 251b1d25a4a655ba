"""`POST /v1/audio/conversions`: files in other formats, refusals, and the limits of a key."""

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from serve_app.api.app import create_api
from serve_app.audio.workers import AudioWorkers, Conversion
from serve_app.config.api import AccessConfig, ApiConfig
from serve_app.gateway.permits import permits
from tests.audio.files import READ_ONLY, case, file_of, pcm_file, tone, with_bytes
from tests.fakes import SMALL, Clock, FakeGenerator, leaks

PATH = "/v1/audio/conversions"
KEY = "web-key-0123456789"


@pytest.fixture
async def limited(
    generator: FakeGenerator, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    """A client whose key has two requests at a time and 60 seconds of music a minute."""
    monkeypatch.setenv("MUSICGEN_API_KEYS", f"web:{KEY}")
    monkeypatch.setattr(permits, "monotonic", Clock())
    access = AccessConfig(max_concurrent_requests=2, max_audio_s_per_minute=60)
    api = create_api(generator, generator, [SMALL], None, ApiConfig(access=access))
    headers = {"authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(api), base_url="http://test", headers=headers
    ) as client:
        yield client


async def convert(client: httpx.AsyncClient, content: bytes, **fields: str) -> httpx.Response:
    return await client.post(PATH, data=fields, files={"audio": ("a", content)})


def sound() -> bytes:
    return pcm_file(tone(0.5, rate=16_000), 16_000)


async def test_audio_is_converted(client: httpx.AsyncClient, generator: FakeGenerator) -> None:
    fields = {"response_format": "flac", "normalization": "peak", "sample_rate": "48000"}
    response = await convert(client, sound(), **fields)
    assert (response.status_code, response.headers["content-type"]) == (200, "audio/flac")
    assert int(response.headers["content-length"]) == len(response.content)
    samples, rate = soundfile.read(io.BytesIO(response.content))
    assert (len(samples), rate) == (24_000, 48_000)
    assert np.abs(samples).max() == pytest.approx(10 ** (-1 / 20), rel=0.02)
    assert generator.requests == []


@pytest.mark.parametrize("kind", ["m4a", "webm", "aac", "aiff", "vorbis"])
async def test_kinds_that_are_only_read_are_taken(client: httpx.AsyncClient, kind: str) -> None:
    content = file_of(kind, tone(0.5, rate=READ_ONLY[kind][2] if kind in READ_ONLY else 32_000))
    response = await convert(client, content, response_format="wav")
    assert response.status_code == 200, response.text
    samples, rate = soundfile.read(io.BytesIO(response.content))
    assert len(samples) / rate == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("fields", "files", "detail"),
    [
        ({"response_format": "mp3"}, {}, "The request's body must be a form (multipart/form-data)"),
        ({"audio": "a"}, {"song": ("a", b"a")}, "song cannot be a file"),
        (
            {"audio": "a", "response_format": "doc"},
            {"audio": ("a", b"a")},
            "audio is repeated",
        ),
        ({"response_format": "doc"}, {"audio": ("a", b"a")}, "response_format: Input should be"),
        ({}, {"audio": ("a", b"a")}, "The audio is not a wav"),
        ({}, {"audio": ("a", b"")}, "The audio is empty"),
        ({"response_format": "mp3"}, {"audio": ("", b"")}, "audio: A file is required"),
        (
            {"bitrate_kbps": "1", "response_format": "mp3"},
            {"audio": ("a", sound())},
            "bitrate_kbps of mp3 must be",
        ),
        (
            {"bitrate_kbps": "300", "response_format": "opus"},
            {"audio": ("a", sound())},
            "bitrate_kbps of opus must be between 6 and 256 for one channel",
        ),
    ],
)
async def test_unusable_files_are_refused(
    client: httpx.AsyncClient, fields: dict[str, str], files: dict[str, Any], detail: str
) -> None:
    response = await client.post(PATH, data=fields, files=files)
    assert response.status_code == 400
    assert response.json()["detail"].startswith(detail)


def changing_rate() -> bytes:
    """A FLAC file whose sample rate changes after half a second."""
    first = pcm_file(tone(0.5, rate=44_100), 44_100, "FLAC")
    second = pcm_file(tone(0.5), 32_000, "FLAC")
    return first + second[second.index(b"\xff\xf8") :]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (with_bytes(sound(), b"fmt ", 8, b"\x99\x99"), "codec (unknown) is not supported"),
        (
            changing_rate(),
            "sample rate or number of channels changes at 0.5 seconds",
        ),
        (pcm_file(np.zeros((1, 0), np.float32), 8000), "has no samples"),
    ],
    ids=["unknown codec", "changing rate", "empty"],
)
async def test_odd_files_are_problems(
    client: httpx.AsyncClient, content: bytes, reason: str
) -> None:
    response = await convert(client, content)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_audio")
    assert reason in response.json()["detail"]
    assert not leaks(response.text)


async def test_not_finite_samples_are_refused_before_normalization(
    limited: httpx.AsyncClient,
) -> None:
    for normalization in ("none", "peak", "rms", "loudness"):
        response = await convert(limited, case("nan.wav"), normalization=normalization)
        assert (response.status_code, response.json()["code"]) == (400, "invalid_audio")


async def test_conversions_count_against_the_key(limited: httpx.AsyncClient) -> None:
    response = await convert(limited, file_of("wav", tone(50.0)), response_format="flac")
    assert response.status_code == 200
    answers = [await convert(limited, file_of("wav", tone(15.0))) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert answers[1].json()["code"] == "rate_limited"
    assert int(answers[1].headers["retry-after"]) >= 1
    generation = await limited.post("/v1/audio/generations", json={"prompt": "a", "duration_s": 30})
    assert generation.json()["code"] == "rate_limited"


async def test_a_key_converts_no_more_at_a_time_than_it_may(
    limited: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two are held until the others have been refused."""
    may_convert = asyncio.Event()
    convert_file = AudioWorkers.convert

    async def held(*args: Any, **options: Any) -> Conversion:
        await may_convert.wait()
        return await convert_file(*args, **options)

    monkeypatch.setattr(AudioWorkers, "convert", held)
    calls = [asyncio.create_task(convert(limited, sound())) for _ in range(4)]
    async with asyncio.timeout(60):
        ended = asyncio.as_completed(calls)
        assert [(await next(ended)).status_code for _ in range(2)] == [429, 429]
        may_convert.set()
        assert [(await one).status_code for one in ended] == [200, 200]


async def test_a_long_file_is_refused_at_the_bound(limited: httpx.AsyncClient) -> None:
    response = await convert(limited, case("long_silence.flac"))
    assert (response.status_code, response.json()["code"]) == (400, "invalid_audio")
    assert "longer than the allowed 60 seconds" in response.json()["detail"]


async def test_a_deadline_ends_a_conversion(client: httpx.AsyncClient) -> None:
    response = await client.post(
        PATH,
        files={"audio": ("a", sound())},
        headers={"x-request-timeout-seconds": "0.000001"},
    )
    assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")
