"""Uploads through the real Serve: prompts of any recorder, conversions, what the worst file costs."""

import asyncio
import io
from time import monotonic

import httpx
import numpy as np
import pytest
import soundfile

from serve_app.launcher import Service
from tests.audio.files import case, file_of, pcm_file, tone
from tests.service.conftest import GENERATIONS, ingress, samples_of

CONVERSIONS = "/v1/audio/conversions"
PROVENANCE = "/v1/audio/provenance"


@pytest.mark.parametrize(
    "content",
    [case("m.m4a"), case("m.webm"), case("sox_pipe.wav"), pcm_file(tone(2.0, rate=47_999), 47_999)],
    ids=["m4a", "webm", "pipe", "47999 Hz"],
)
async def test_a_track_continues_a_recording(client: httpx.AsyncClient, content: bytes) -> None:
    form = {"prompt": "bells", "duration_s": "3", "seed": "3"}
    response = await client.post(GENERATIONS, data=form, files={"audio_prompt": ("a", content)})
    assert response.status_code == 200, response.text
    assert len(samples_of(response.content)) == 3 * 32_000


async def test_a_broken_recording_is_a_problem(client: httpx.AsyncClient) -> None:
    for path, field in ((GENERATIONS, "audio_prompt"), (CONVERSIONS, "audio")):
        form = {"prompt": "bells"} if field == "audio_prompt" else {}
        response = await client.post(path, data=form, files={field: ("a", case("nan.wav"))})
        assert (response.status_code, response.json()["code"]) == (400, "invalid_audio")


async def test_a_file_is_converted(client: httpx.AsyncClient) -> None:
    form = {"response_format": "flac", "normalization": "peak", "fade_out_s": "0.5"}
    response = await client.post(CONVERSIONS, data=form, files={"audio": ("a", file_of("m4a"))})
    assert response.status_code == 200, response.text
    samples, rate = soundfile.read(io.BytesIO(response.content))
    assert len(samples) / rate == pytest.approx(2.0, abs=0.05)
    assert np.abs(samples).max() == pytest.approx(10 ** (-1 / 20), abs=0.01)


async def test_the_marks_of_a_track_are_read(client: httpx.AsyncClient) -> None:
    track = await client.post(GENERATIONS, json={"prompt": "bells", "duration_s": 1, "seed": 3})
    response = await client.post(PROVENANCE, files={"audio": ("a", track.content)})
    assert response.status_code == 200, response.text
    report = response.json()
    assert (report["generated"], report["tags"]["seed"], report["duration_s"]) == (True, "3", 1.0)


@pytest.mark.long
async def test_long_files_leave_the_ingress_free(
    client: httpx.AsyncClient, service: Service
) -> None:
    """Ten minutes of stereo, 230 MB as samples, three times at once: memory stays far below."""
    content = case("long_silence.flac")

    async def convert(response_format: str) -> httpx.Response:
        form = {"response_format": response_format}
        return await client.post(CONVERSIONS, data=form, files={"audio": ("a", content)})

    assert (await convert("flac")).status_code == 200
    before = ingress(service).memory_info().rss
    began = monotonic()
    answers = asyncio.gather(*(convert("flac") for _ in range(3)))
    health = [(await client.get("/health")).elapsed.total_seconds() for _ in range(10)]
    assert [answer.status_code for answer in await answers] == [200] * 3
    assert ingress(service).memory_info().rss - before < 64 * 2**20
    assert np.median(health) < (monotonic() - began) / 4, "it waits for no conversion"
    assert len((await convert("wav")).content) > 115_000_000
    assert ingress(service).memory_info().rss - before < 230_000_000
