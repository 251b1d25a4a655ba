"""Headers that only jobs obey are named by every route that answers with a track."""

import httpx
import pytest

from tests.fakes import FakeGenerator

BODIES: dict[str, dict[str, object]] = {
    "/v1/audio/generations": {"prompt": "a", "duration_s": 1},
    "/v1/audio/speech": {"input": "a", "duration_s": 1},
    "/v1/audio/generate": {"input": "a", "audio_length": 1.0},
    "/v1/music": {"prompt": "a", "music_length_ms": 3000},
    "/v1/music/stream": {"prompt": "a", "music_length_ms": 3000},
    "/v1/music/detailed": {"prompt": "a", "music_length_ms": 3000},
    "/v1/sound-generation": {"text": "a", "duration_seconds": 1.0},
    "/models/facebook/musicgen-small": {"inputs": "a", "parameters": {"duration": 1.0}},
    "/": {"prompt": "a", "duration": 1},
    "/generate": {"prompt": "a", "duration": 1},
}
NAME = "x-musicgen-ignored"


@pytest.mark.parametrize("path", BODIES)
async def test_headers_without_effect_are_named(
    client: httpx.AsyncClient, generator: FakeGenerator, path: str
) -> None:
    for prefer in ("respond-async", "wait", "wait=0", "respond-async, wait=5"):
        headers = {"idempotency-key": '"k"', "prefer": prefer}
        response = await client.post(path, json=BODIES[path], headers=headers)
        assert (response.status_code, response.headers[NAME]) == (200, "idempotency-key, prefer")
        assert "preference-applied" not in response.headers
    assert len(generator.requests) == 4
    assert {request.deadline for request in generator.requests} == {None}
    plain = await client.post(path, json=BODIES[path], headers={"prefer": "handling=strict"})
    assert (plain.status_code, NAME in plain.headers) == (200, False)


async def test_they_stand_beside_the_fields(client: httpx.AsyncClient) -> None:
    body = BODIES["/v1/audio/speech"] | {"voice": "x"}
    response = await client.post("/v1/audio/speech", json=body, headers={"idempotency-key": "k"})
    assert response.headers[NAME] == "idempotency-key, voice"


async def test_jobs_obey_them(jobs_client: httpx.AsyncClient) -> None:
    headers = {"idempotency-key": '"k"', "prefer": "respond-async"}
    response = await jobs_client.post("/v1/jobs", json={"prompt": "a"}, headers=headers)
    assert (response.status_code, NAME in response.headers) == (202, False)
