"""Melodies of jobs and predictions, and files of the service that requests name."""

import base64
from typing import Any

import httpx
import pytest

from serve_app.api.replicate_models import MUSICGEN
from serve_app.jobs.erasure import files_of
from tests.api.jobs_api import jobs_api
from tests.audio.files import RATE, case, pcm_file, tone
from tests.jobs.rooms import JobRoom

SONG = pcm_file(tone(0.5), RATE)
IN_BASE64 = base64.b64encode(SONG).decode()
PREDICTIONS = f"/v1/models/{MUSICGEN}/predictions"


@pytest.fixture
def singing(room: JobRoom) -> JobRoom:
    """Jobs for models that take a melody."""
    room.generator.melody = ("small",)
    return room


async def stored(room: JobRoom, key: str | None) -> bytes:
    assert key is not None
    return b"".join([block async for block in room.service.results.read(key)])


@pytest.mark.parametrize("as_form", [True, False])
async def test_it_is_stored_as_a_file_and_erased_with_the_job(
    jobs_client: httpx.AsyncClient, singing: JobRoom, as_form: bool
) -> None:
    sent: dict[str, Any] = {"json": {"melody": IN_BASE64}}
    if as_form:
        sent = {"data": {"prompt": "a"}, "files": {"melody": ("a.wav", SONG)}}
    response = await jobs_client.post("/v1/jobs", **sent)
    assert response.status_code == 202, response.text
    job = response.json()
    assert (job["request"]["melody"], job["request"]["audio_prompt"]) == (True, False)
    claimed = (await singing.claim()).job
    assert IN_BASE64 not in claimed.request.model_dump_json()
    assert await stored(singing, claimed.request.melody) == SONG
    assert claimed.request.melody in files_of(claimed)
    assert (await jobs_client.delete(f"/v1/jobs/{job['id']}")).status_code == 204
    assert claimed.request.melody is not None
    assert await singing.service.results.size(claimed.request.melody) is None


async def test_both_uploads_of_a_job_are_kept_and_told_apart(
    jobs_client: httpx.AsyncClient, singing: JobRoom
) -> None:
    beginning = pcm_file(tone(0.25), RATE)
    files = {"melody": ("a.wav", SONG), "audio_prompt": ("b.wav", beginning)}
    response = await jobs_client.post("/v1/jobs", data={"duration_s": "2"}, files=files)
    assert response.status_code == 202, response.text
    wanted = (await singing.claim()).job.request
    assert await stored(singing, wanted.melody) == SONG
    assert await stored(singing, wanted.audio_prompt) == beginning


@pytest.mark.parametrize(
    ("fields", "status", "code", "named"),
    [
        ({"melody": IN_BASE64, "model": "tiny"}, 422, "melody_not_supported", "'tiny'"),
        ({"melody": "!"}, 400, "invalid_audio", "melody is not valid base64"),
        ({"melody": "aGk="}, 400, "invalid_audio", "not a "),
        (
            {"melody": base64.b64encode(case("nan.wav")).decode()},
            400,
            "invalid_audio",
            "not finite",
        ),
        ({"prompt": "", "melody": None}, 400, "invalid_request", "no audio_prompt or melody"),
    ],
)
async def test_refusals_are_those_of_generations(
    jobs_client: httpx.AsyncClient,
    room: JobRoom,
    fields: dict[str, Any],
    status: int,
    code: str,
    named: str,
) -> None:
    room.generator.melody = () if code == "melody_not_supported" else ("small",)
    response = await jobs_client.post("/v1/jobs", json={"prompt": "a"} | fields)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert named in response.json()["detail"]
    listed = (await jobs_client.get("/v1/jobs")).json()
    assert listed["data"] == []


@pytest.mark.parametrize("field", ["melody", "audio_prompt"])
async def test_a_file_of_the_service_may_be_named(
    jobs_client: httpx.AsyncClient, singing: JobRoom, field: str
) -> None:
    """By the link that the service gave, or by its path, of any host name of the service."""
    made = (await jobs_client.post("/v1/jobs", json={"prompt": "a", "duration_s": 1})).json()
    await singing.succeed(await singing.claim(), SONG)
    link = (await jobs_client.get(f"/v1/jobs/{made['id']}")).json()["result"][0]["url"]
    upload = await jobs_client.post("/v1/files", files={"content": ("a.wav", SONG)})
    file = upload.json()
    for address in (
        link,
        f"/v1/jobs/{made['id']}/audio",
        f"https://other.invalid/music/v1/jobs/{made['id']}/audio/0",
        file["urls"]["get"],
        f"/v1/files/{file['id']}",
    ):
        body = {"duration_s": 2, field: address}
        response = await jobs_client.post("/v1/jobs", json=body)
        assert response.status_code == 202, response.text
        request = (await singing.claim()).job.request
        assert await stored(singing, getattr(request, field)) == SONG
        # In a generation, whose uploads are read by the same reader.
        if field == "audio_prompt":
            answer = await jobs_client.post("/v1/audio/generations", json=body)
            assert answer.status_code == 200, answer.text


async def test_a_file_that_is_not_there_is_named_with_its_field(
    jobs_client: httpx.AsyncClient, singing: JobRoom
) -> None:
    waiting = (await jobs_client.post("/v1/jobs", json={"prompt": "a", "duration_s": 1})).json()
    unknown = "01m8bcq5h784qww3fecfhzjmn0"
    for address, named in (
        (f"/v1/jobs/{waiting['id']}/audio", "melody: The job is queued"),
        (f"/v1/jobs/{unknown}/audio/0", f"melody: There is no job '{unknown}'"),
        (f"http://test/v1/files/{unknown}", f"melody: There is no file '{unknown}'"),
        ("https://elsewhere.example/a.wav", "no address of a file that this service keeps"),
        ("/v1/jobs/../../etc/passwd", "no address of a file that this service keeps"),
    ):
        for path in ("/v1/jobs", "/v1/audio/generations"):
            response = await jobs_client.post(path, json={"prompt": "a", "melody": address})
            assert (response.status_code, response.json()["code"]) == (400, "invalid_audio")
            assert named in response.json()["detail"]
    assert singing.generator.requests == []


async def test_a_repetition_does_not_need_the_file_any_more(
    jobs_client: httpx.AsyncClient, singing: JobRoom
) -> None:
    upload = await jobs_client.post("/v1/files", files={"content": ("a.wav", SONG)})
    file = upload.json()["id"]
    body = {"prompt": "a", "melody": f"/v1/files/{file}"}
    headers = {"idempotency-key": "one"}
    first = await jobs_client.post("/v1/jobs", json=body, headers=headers)
    assert (await jobs_client.delete(f"/v1/files/{file}")).status_code == 204
    again = await jobs_client.post("/v1/jobs", json=body, headers=headers)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    other = await jobs_client.post("/v1/jobs", json=body | {"n": 2}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert (await jobs_client.post("/v1/jobs", json=body)).status_code == 400
    assert (await singing.claim()).job.request.melody is not None


async def test_a_file_beyond_the_limit_is_not_read(
    jobs_client: httpx.AsyncClient, singing: JobRoom
) -> None:
    made = (await jobs_client.post("/v1/jobs", json={"prompt": "a", "duration_s": 1})).json()
    await singing.succeed(await singing.claim(), bytes(2**24 + 1))
    body = {"prompt": "a", "melody": f"/v1/jobs/{made['id']}/audio"}
    response = await jobs_client.post("/v1/jobs", json=body)
    assert response.status_code == 400
    assert "16777217 bytes, and the limit is 16777216" in response.json()["detail"]


async def test_a_service_without_jobs_keeps_no_files(client: httpx.AsyncClient) -> None:
    body = {"prompt": "a", "audio_prompt": "/v1/files/01m8bcq5h784qww3fecfhzjmn0"}
    response = await client.post("/v1/audio/generations", json=body)
    assert response.status_code == 400
    assert "audio_prompt: this service keeps no files" in response.json()["detail"]


async def predicted(client: httpx.AsyncClient, status: int = 201, **fields: Any) -> dict[str, Any]:
    given = {"input_audio": f"data:audio/wav;base64,{IN_BASE64}"} | fields
    response = await client.post(PREDICTIONS, json={"input": given})
    assert response.status_code == status, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def test_replicates_audio_is_a_melody_without_continuation(
    jobs_client: httpx.AsyncClient, singing: JobRoom
) -> None:
    await predicted(jobs_client, prompt="a", duration=4)
    request = (await singing.claim()).job.request
    assert await stored(singing, request.melody) == SONG
    assert (request.audio_prompt, request.duration_s) == (None, 4.0)
    await predicted(jobs_client, continuation=True)
    request = (await singing.claim()).job.request
    assert await stored(singing, request.audio_prompt) == SONG
    assert (request.melody, request.duration_s) == (None, 8.5)


async def test_replicates_part_is_of_the_melody_too(
    jobs_client: httpx.AsyncClient, singing: JobRoom
) -> None:
    long = base64.b64encode(pcm_file(tone(3.0), RATE)).decode()
    part = {"continuation_start": 1, "continuation_end": 2}
    await predicted(jobs_client, input_audio=f"data:audio/wav;base64,{long}", **part)
    request = (await singing.claim()).job.request
    assert (request.melody_start_s, request.melody_end_s) == (1.0, 2.0)
    problem = await predicted(jobs_client, 422, continuation_start=1)
    assert problem["code"] == "invalid_input"
    assert problem["detail"].startswith("input.input_audio: The melody has 0.50 s")


async def test_replicates_melody_needs_a_model_that_takes_one(
    jobs_client: httpx.AsyncClient, room: JobRoom
) -> None:
    assert jobs_api()
    problem = await predicted(jobs_client, 422, prompt="a")
    assert problem["code"] == "invalid_input"
    assert problem["detail"].startswith("input.input_audio: Model 'small' takes no melody.")
    assert room.generator.requests == []
