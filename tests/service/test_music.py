"""Music of the embedded model through Ray Serve: whole, streamed, continued, as prompted."""

import asyncio
import base64
import json
from typing import Any

import httpx
import numpy as np
import pytest

from tests import riff
from tests.service.conftest import (
    FRAME_RATE,
    GENERATIONS,
    LONG_S,
    generate,
    idle_steps,
    samples_of,
    unfinished,
)
from tools.nano import analysis

MP3_BYTES_PER_S = 16_000  # 128 kbit/s


async def test_music_comes_out(client: httpx.AsyncClient) -> None:
    response = await generate(client, prompt="lofi beat", duration_s=2, seed=7)
    samples = samples_of(response.content)
    assert len(samples) == 2 * 32_000
    assert samples.std() > 0.001
    assert response.headers["x-musicgen-seed"] == "7"
    assert response.headers["x-musicgen-model"] == "nano"
    assert float(response.headers["x-musicgen-generation-s"]) > 0
    assert response.headers.get_list("x-request-id")[1:] == [], "one id"


@pytest.mark.long
async def test_the_prompt_decides_what_is_heard(client: httpx.AsyncClient) -> None:
    """Register, tempo and mode of most draws: a few miss the prompt, depending on the CPU."""
    prompts = {"happy piano, driving drums, 140 bpm": 140, "sad bass, soft drums, 80 bpm": 80}
    answers = await asyncio.gather(
        *(
            generate(client, prompt=prompt, duration_s=8, seed=seed)
            for prompt in prompts
            for seed in range(4)
        )
    )
    heard = [samples_of(answer.content).astype(np.float32) for answer in answers]
    brightness = [analysis.brightness(samples) for samples in heard]
    assert min(brightness[:4]) > 1.3 * max(brightness[4:]), "a piano is brighter than a bass"
    tempos = [analysis.tempo(samples) for samples in heard]
    asked = [bpm for bpm in prompts.values() for _ in range(4)]
    assert sum(map(analysis.same_tempo, tempos, asked)) >= 7
    assert sum(map(analysis.same_tempo, tempos, reversed(asked))) <= 1, "the other prompt's"
    modes = [analysis.mode(samples) for samples in heard]
    assert modes[:4].count("major") + modes[4:].count("minor") >= 7


async def test_concurrent_requests_share_steps_and_equal_lone_ones(
    client: httpx.AsyncClient,
) -> None:
    durations = [0.5 + 0.5 * i for i in range(4)]
    bodies = [
        {"prompt": f"beat {i}", "duration_s": duration, "seed": i}
        for i, duration in enumerate(durations)
    ]
    alone = [(await generate(client, **body)).content for body in bodies]
    before = await idle_steps(client)
    together = await asyncio.gather(*(generate(client, **body) for body in bodies))
    steps = await idle_steps(client) - before
    longest = max(durations) * FRAME_RATE + 3
    assert longest <= steps < sum(duration * FRAME_RATE + 3 for duration in durations)
    assert [response.content for response in together] == alone


async def test_a_stream_holds_what_the_whole_answer_holds(client: httpx.AsyncClient) -> None:
    body: dict[str, Any] = {"prompt": "lofi beat", "duration_s": 2, "seed": 7}
    whole = riff.samples_of((await generate(client, **body)).content)
    assert riff.samples_of((await generate(client, **body, stream=True)).content) == whole
    assert (await generate(client, **body, stream=True, response_format="pcm")).content == whole
    played = await client.get(
        "/v1/audio/stream", params=body | {"response_format": "pcm"}, follow_redirects=True
    )
    assert played.content == whole


@pytest.mark.parametrize(
    "duration_s", [2, pytest.param(31, marks=pytest.mark.long, id="beyond the window")]
)
async def test_a_track_continues_a_sound(client: httpx.AsyncClient, duration_s: int) -> None:
    beginning = (await generate(client, prompt="bells", duration_s=1.5, seed=3)).content
    form = {"prompt": "bells", "duration_s": str(duration_s), "seed": "3", "stream": "true"}
    response = await client.post(
        GENERATIONS, data=form, files={"audio_prompt": ("beginning.wav", beginning)}
    )
    assert response.status_code == 200
    samples = np.frombuffer(riff.samples_of(response.content), np.int16)
    assert len(samples) == duration_s * 32_000
    body = {"audio_prompt": base64.b64encode(beginning).decode(), "duration_s": 1}
    refused = await client.post(GENERATIONS, json=body)
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")
    assert "The audio prompt lasts 1.5 seconds" in refused.json()["detail"]


async def test_audio_comes_while_it_is_being_made(client: httpx.AsyncClient) -> None:
    body: dict[str, Any] = {"prompt": "a", "duration_s": LONG_S, "stream": True}
    body |= {"response_format": "mp3", "bitrate_kbps": 128}
    size = 0
    async with unfinished(client, LONG_S), client.stream("POST", GENERATIONS, json=body) as answer:
        async for part in answer.aiter_bytes():
            size += len(part)
            if size > MP3_BYTES_PER_S:
                break
    assert size > MP3_BYTES_PER_S


async def test_events_say_how_far_the_music_is(client: httpx.AsyncClient) -> None:
    body = {
        "prompt": "lofi beat",
        "duration_s": 4,
        "seed": 7,
        "response_format": "pcm",
        "stream": True,
    }
    response = await generate(client, **body, stream_format="sse")
    assert response.headers["content-type"].startswith("text/event-stream")
    blocks = [block.split("\n") for block in response.text.strip().split("\n\n")]
    events = [
        (name.removeprefix("event: "), json.loads(data.removeprefix("data: ")))
        for name, data in blocks
    ]
    fractions = [data["fraction"] for name, data in events if name == "progress"]
    assert fractions == sorted(fractions)
    assert 0 < fractions[-1] <= 1
    content = b"".join(base64.b64decode(data["audio"]) for name, data in events if name == "audio")
    assert len(content) == 4 * 32_000 * 2
    assert (events[-1][0], events[-1][1]["seed"], events[-1][1]["model"]) == ("done", 7, "nano")
