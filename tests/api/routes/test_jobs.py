"""`/v1/jobs`: acceptance, states, lists and ends of jobs."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve_app.config.api import AccessConfig
from serve_app.config.jobs import JobsConfig
from serve_app.jobs.job import JobStatus
from serve_app.track_fields import TrackReport
from tests.jobs.rooms import CONTENT, JobRoom, client_of, job_room
from tests.jobs.test_service import wav

BODY = {"prompt": "lofi beat", "duration_s": 2}


async def submit(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    response = await client.post("/v1/jobs", json=BODY | fields)
    assert response.status_code == 202, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def test_a_job_is_accepted_with_its_address(jobs_client: httpx.AsyncClient) -> None:
    response = await jobs_client.post("/v1/jobs", json=BODY)
    job = response.json()
    assert response.status_code == 202
    assert response.headers["location"] == f"http://test/v1/jobs/{job['id']}"
    assert int(response.headers["retry-after"]) >= 1
    assert "preference-applied" not in response.headers
    assert (job["status"], job["progress"], job["queue_position"]) == ("queued", 0.0, 1)
    assert (job["model"], job["request"]["prompt"]) == ("small", "lofi beat")
    assert (await jobs_client.get(response.headers["location"])).json()["id"] == job["id"]


async def test_every_option_of_a_generation_is_taken(
    jobs_client: httpx.AsyncClient, room: JobRoom
) -> None:
    options: dict[str, Any] = {
        "model": "tiny", "max_wait_s": 600, "duration_s": 5, "extend_stride_s": 10, "temperature": 0.5,
        "top_k": 10, "top_p": 0.5, "cfg_coef": 2, "seed": 7, "n": 3, "response_format": "mp3",
        "sample_rate": 44100, "sample_format": "int16", "bitrate_kbps": 128, "normalization": "rms",
        "loudness_lufs": -20, "fade_in_s": 1, "fade_out_s": 1.5,
    }  # fmt: skip
    job = await submit(jobs_client, **options, priority=3, metadata={"a": [1]})
    told = job["request"] | {"model": "tiny", "max_wait_s": 600}
    assert {name: told[name] for name in options} == options
    assert (job["seed"], job["priority"], job["metadata"]) == (7, 3, {"a": [1]})
    assert (await room.claim()).job.request.bitrate_kbps == 128


async def test_forms_carry_audio_and_objects(jobs_client: httpx.AsyncClient, room: JobRoom) -> None:
    content = wav(0.5)
    response = await jobs_client.post(
        "/v1/jobs",
        data={"prompt": "", "duration_s": "2", "n": "2", "metadata": '{"a": 1}', "seed": ""},
        files={"audio_prompt": ("a.wav", content, "audio/wav")},
    )
    job = response.json()
    assert (response.status_code, job["request"]["n"], job["metadata"]) == (202, 2, {"a": 1})
    assert job["request"]["audio_prompt"] is True
    key = (await room.claim()).job.request.audio_prompt
    assert key is not None
    assert b"".join([part async for part in room.service.results.read(key)]) == content
    as_json = await submit(jobs_client, audio_prompt=base64.b64encode(content).decode())
    assert as_json["request"]["audio_prompt"] is True


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"prompt": ""}, "prompt"),
        ({"stream": True}, "stream"),
        ({"response_format": "json"}, "response_format"),
        ({"duration_s": 0}, "duration_s"),
        ({"duration_s": "2"}, "duration_s"),
        ({"n": 9}, "n"),
        ({"n": 2, "seed": 2**63 - 1}, "seed"),
        ({"priority": 11}, "priority"),
        ({"priority": -11}, "priority"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"a": "x" * 4096}}, "metadata"),
        ({"metadata": {"a": "é" * 2048}}, "has 4104 bytes"),
        ({"webhook": "http://x"}, "webhook"),
        ({"webhook": {"url": "ftp://x"}}, "webhook.url"),
        ({"webhook": {"url": "http://x/", "events": []}}, "webhook.events"),
        ({"webhook": {"url": "http://x/", "events": ["ended"]}}, "webhook.events"),
        ({"webhook": {"url": "http://x/", "dialect": "replicate"}}, "webhook.dialect"),
        ({"upload": {"url": "http://x/", "headers": {"Host": "y"}}}, "Host"),
        ({"upload": {"url": "http://x/", "headers": {"a": "b\r\nc"}}}, "upload.headers"),
        ({"upload": {"url": "http://x/", "headers": {str(n): "" for n in range(21)}}}, "headers"),
        ({"upload": {"url": "http://x/"}, "n": 2}, "upload"),
        ({"expires_in_s": 0}, "expires_in_s"),
        ({"expires_in_s": 604_801}, "expires_in_s"),
        ({"deadline_s": -1}, "deadline_s"),
        ({"deadline_s": 604_801}, "deadline_s"),
        ({"other": 1}, "other"),
    ],
)
async def test_a_wrong_field_is_named(
    jobs_client: httpx.AsyncClient, fields: dict[str, Any], named: str
) -> None:
    response = await jobs_client.post("/v1/jobs", json=BODY | fields)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")
    assert named in response.json()["detail"]
    assert (await jobs_client.get("/v1/jobs")).json()["data"] == []


async def test_metadata_has_4096_bytes(jobs_client: httpx.AsyncClient) -> None:
    metadata = {"a": "é" * 2044}
    response = await jobs_client.post("/v1/jobs", json=BODY | {"metadata": metadata})
    assert (response.status_code, response.json()["metadata"]) == (202, metadata)


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"model": "huge"}, 404, "model_not_found"),
        ({"duration_s": 31}, 400, "duration_too_long"),
        ({"prompt": "a" * 101}, 400, "invalid_request"),
        ({"audio_prompt": "!"}, 400, "invalid_audio"),
        ({"audio_prompt": "aGk="}, 400, "invalid_audio"),
        ({"webhook": {"url": "http://u:p@x.example/"}}, 400, "address_refused"),
        ({"model": "large", "max_wait_s": 1}, 503, "model_loading"),
    ],
)
async def test_errors_are_those_of_generations(
    jobs_client: httpx.AsyncClient, fields: dict[str, Any], status: int, code: str
) -> None:
    response = await jobs_client.post("/v1/jobs", json=BODY | fields)
    assert (response.status_code, response.json()["code"]) == (status, code)


@pytest.mark.parametrize("field", ["webhook", "upload"])
async def test_an_address_that_is_refused_is_named(
    jobs_client: httpx.AsyncClient, field: str
) -> None:
    """Also a name that cannot be encoded for DNS."""
    for url in ("http://u:p@x.example/", "http://a..b/", "http://.example.com/"):
        response = await jobs_client.post("/v1/jobs", json=BODY | {field: {"url": url}})
        problem = response.json()
        assert (response.status_code, problem["code"]) == (400, "address_refused")
        assert problem["error"]["param"] == problem["errors"][0]["field"] == field


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"null", b"[" * 10_000])
async def test_other_bodies_are_refused(jobs_client: httpx.AsyncClient, content: bytes) -> None:
    response = await jobs_client.post("/v1/jobs", content=content)
    assert response.status_code in (400, 413) or len(content) < 10
    assert response.status_code != 202


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("form", [False, True])
async def test_metadata_without_a_finite_number_is_refused(
    jobs_client: httpx.AsyncClient, number: str, form: bool
) -> None:
    """JSON has no such numbers, and the job's JSON repeats its metadata."""
    metadata = f'{{"a": [{{"b": {number}}}]}}'
    if form:
        fields = {"prompt": (None, "a"), "metadata": (None, metadata)}
        response = await jobs_client.post("/v1/jobs", files=fields)
    else:
        content = f'{{"prompt": "a", "metadata": {metadata}}}'
        headers = {"content-type": "application/json"}
        response = await jobs_client.post("/v1/jobs", content=content, headers=headers)
    assert response.status_code == 400
    assert "metadata" in response.json()["detail"]


async def test_a_form_with_broken_json_is_refused(jobs_client: httpx.AsyncClient) -> None:
    response = await jobs_client.post("/v1/jobs", data={"prompt": "a", "metadata": "{"})
    assert response.status_code == 400


async def test_a_repeated_key_returns_the_same_job(jobs_client: httpx.AsyncClient) -> None:
    first = await jobs_client.post("/v1/jobs", json=BODY, headers={"idempotency-key": '"k 1"'})
    again = await jobs_client.post("/v1/jobs", json=BODY, headers={"idempotency-key": '"k 1"'})
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert again.json()["seed"] == first.json()["seed"]
    other = await jobs_client.post(
        "/v1/jobs", json=BODY | {"duration_s": 3}, headers={"idempotency-key": '"k 1"'}
    )
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    long = await jobs_client.post("/v1/jobs", json=BODY, headers={"idempotency-key": "a" * 256})
    assert (long.status_code, long.json()["code"]) == (400, "invalid_request")
    assert len((await jobs_client.get("/v1/jobs")).json()["data"]) == 1


async def test_a_caller_may_wait_for_the_end(jobs_client: httpx.AsyncClient, room: JobRoom) -> None:
    headers = {"prefer": "wait=60", "idempotency-key": "k"}
    await jobs_client.post("/v1/jobs", json=BODY, headers={"idempotency-key": "k"})
    waiting = asyncio.create_task(jobs_client.post("/v1/jobs", json=BODY, headers=headers))
    await room.succeed(await room.claim())
    response = await waiting
    assert (response.status_code, response.json()["status"]) == (200, "succeeded")
    assert response.headers["preference-applied"] == "wait=60"
    assert "retry-after" not in response.headers


async def test_a_wait_that_runs_out_answers_202(jobs_client: httpx.AsyncClient) -> None:
    headers = {"prefer": "respond-async, wait=0"}
    response = await jobs_client.post("/v1/jobs", json=BODY, headers=headers)
    assert (response.status_code, response.json()["status"]) == (202, "queued")
    assert response.headers["preference-applied"] == "respond-async, wait=0"


async def test_a_fetch_may_wait_too(jobs_client: httpx.AsyncClient, room: JobRoom) -> None:
    job = await submit(jobs_client)
    url = f"/v1/jobs/{job['id']}"
    at_once = await jobs_client.get(url)
    assert int(at_once.headers["retry-after"]) >= 1
    waiting = asyncio.create_task(jobs_client.get(url, headers={"prefer": "wait=60"}))
    await room.succeed(await room.claim())
    response = await waiting
    assert response.json()["status"] == "succeeded"
    assert response.headers["preference-applied"] == "wait=60"


async def test_a_finished_job_tells_of_its_files(
    jobs_client: httpx.AsyncClient, room: JobRoom
) -> None:
    job = await submit(jobs_client, n=2, seed=7)
    await room.succeed(await room.claim())
    done = (await jobs_client.get(f"/v1/jobs/{job['id']}")).json()
    first, second = done["result"]
    assert set(first) == {"url", "type", "size_bytes", "sha256", *TrackReport.model_fields}
    assert (first["seed"], second["seed"]) == (7, 8)
    assert (first["type"], first["size_bytes"]) == ("audio/wav", len(CONTENT))
    assert (done["cost_usd"], done["error"], done["attempt"]) == (0.5, None, 1)
    assert done["created_at"] <= done["started_at"] <= done["finished_at"] < done["expires_at"]
    assert done["created_at"].endswith("Z")


async def test_a_failed_job_tells_its_problem(
    jobs_client: httpx.AsyncClient, room: JobRoom
) -> None:
    job = await submit(jobs_client)
    problem = {"code": "generation_failed", "status": 500, "detail": "d", "title": "t"}
    await room.fail(await room.claim(), problem)
    done = (await jobs_client.get(f"/v1/jobs/{job['id']}")).json()
    assert (done["status"], done["error"], done["result"]) == ("failed", problem, [])


async def test_pages_go_from_the_newest_job_on(jobs_client: httpx.AsyncClient) -> None:
    ids = [(await submit(jobs_client))["id"] for _ in range(5)]
    found: list[str] = []
    cursor: dict[str, str] = {}
    for expected in (2, 2, 1):
        page = (await jobs_client.get("/v1/jobs", params={"limit": "2", **cursor})).json()
        assert len(page["data"]) == expected
        found += [job["id"] for job in page["data"]]
        cursor = {"cursor": page["next_cursor"]}
    assert page["next_cursor"] is None
    assert found == sorted(ids, reverse=True)


async def test_lists_are_of_one_status(jobs_client: httpx.AsyncClient, room: JobRoom) -> None:
    first = await submit(jobs_client)
    second = await submit(jobs_client)
    await room.succeed(await room.claim())

    async def listed(status: str) -> list[str]:
        answer = await jobs_client.get("/v1/jobs", params={"status": status})
        return [job["id"] for job in answer.json()["data"]]

    assert await listed("succeeded") == [first["id"]]
    assert await listed("queued") == [second["id"]]
    assert await listed("failed") == []


@pytest.mark.parametrize(
    "query",
    [{"status": "done"}, {"limit": "0"}, {"limit": "101"}, {"cursor": "x"}, {"state": "queued"}],
)
async def test_a_wrong_query_is_refused(
    jobs_client: httpx.AsyncClient, query: dict[str, str]
) -> None:
    response = await jobs_client.get("/v1/jobs", params=query)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")


async def test_a_query_that_the_route_does_not_have_is_named(
    jobs_client: httpx.AsyncClient,
) -> None:
    body = {"prompt": "lofi beat", "duration_s": 1}
    response = await jobs_client.post("/v1/jobs", params={"wait": "5"}, json=body)
    assert response.status_code == 400
    assert "'wait' is no parameter" in response.json()["detail"]


async def test_cancelling_twice_is_no_error(jobs_client: httpx.AsyncClient, room: JobRoom) -> None:
    job = await submit(jobs_client)
    for _ in range(2):
        response = await jobs_client.post(f"/v1/jobs/{job['id']}/cancel")
        assert (response.status_code, response.json()["status"]) == (200, "canceled")
    running = await submit(jobs_client)
    await room.claim()
    response = await jobs_client.post(f"/v1/jobs/{running['id']}/cancel")
    assert (response.json()["status"], response.json()["cancel_requested"]) == ("running", True)


async def test_a_deleted_job_is_gone(jobs_client: httpx.AsyncClient) -> None:
    job = await submit(jobs_client)
    assert (await jobs_client.delete(f"/v1/jobs/{job['id']}")).status_code == 204
    for response in (
        await jobs_client.get(f"/v1/jobs/{job['id']}"),
        await jobs_client.delete(f"/v1/jobs/{job['id']}"),
        await jobs_client.post(f"/v1/jobs/{job['id']}/cancel"),
        await jobs_client.get(f"/v1/jobs/{job['id']}/events"),
        await jobs_client.post(f"/v1/jobs/{job['id']}/webhook/redeliver"),
    ):
        assert (response.status_code, response.json()["code"]) == (404, "job_not_found")


async def check_others_files(a: httpx.AsyncClient, b: httpx.AsyncClient, job_url: str) -> None:
    """Check that requests of key b name no file of key a, by a signed link neither."""
    file = (await a.post("/v1/files", files={"content": ("a.wav", CONTENT)})).json()
    link = (await a.get(job_url)).json()["result"][0]["url"]
    path = f"/v1/files/{file['id']}"
    for address in (f"{job_url}/audio", link, path, f"{path}/content", file["urls"]["get"]):
        for route in ("/v1/jobs", "/v1/audio/generations"):
            response = await b.post(route, json={"prompt": "a", "audio_prompt": address})
            assert (response.status_code, response.json()["code"]) == (400, "invalid_audio")
            assert "audio_prompt: There is no" in response.json()["detail"]
    body = {"input": {"prompt": "a", "input_audio": file["urls"]["get"], "continuation": True}}
    response = await b.post("/v1/models/meta/musicgen/predictions", json=body)
    assert (response.status_code, "There is no file" in response.text) == (422, True)
    assert (await b.delete(path)).status_code == 404
    assert (await a.delete(path)).status_code == 204


async def test_a_job_is_seen_by_its_key_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"a": "key-of-a-0123456789", "b": "key-of-b-0123456789"}
    variable = ",".join(f"{name}:{key}" for name, key in keys.items())
    monkeypatch.setenv(AccessConfig().keys_env, variable)
    async with job_room(tmp_path) as room:
        app = room.api()
        async with client_of(app, keys["a"]) as a, client_of(app, keys["b"]) as b:
            job = await submit(a)
            url = f"/v1/jobs/{job['id']}"
            done = await room.succeed(await room.claim())
            assert done.status is JobStatus.SUCCEEDED
            assert (await a.get(url)).status_code == 200
            for path in (url, f"{url}/audio", f"{url}/events"):
                assert (await b.get(path)).status_code == 404
            assert (await b.delete(url)).status_code == 404
            await check_others_files(a, b, url)
            assert (await b.get("/v1/jobs")).json()["data"] == []
            secrets = [(await one.get("/v1/webhooks/secret")).json()["secret"] for one in (a, b)]
            assert secrets[0] != secrets[1]
            link = (await a.get(url)).json()["result"][0]["url"]
        async with client_of(app) as stranger:
            assert (await stranger.get(url)).status_code == 401
            assert (await stranger.get(f"{url}/audio")).status_code == 401
            assert (await stranger.get(link)).content == CONTENT
            assert (await stranger.head(link)).headers["content-length"] == str(len(CONTENT))
            assert (await stranger.get(link + "x")).status_code == 401
            assert (await stranger.get(f"{url}?token=x")).status_code == 401
            assert (await stranger.post(link)).status_code == 401


async def test_a_service_without_jobs_says_so() -> None:
    from serve_app.api.app import create_api
    from serve_app.config.api import ApiConfig
    from tests.fakes import SMALL, FakeGenerator

    fake = FakeGenerator()
    reason = "Set jobs.store to a PostgreSQL database."
    app = create_api(fake, fake, [SMALL], None, ApiConfig(), jobs=lambda *_: reason)
    async with client_of(app) as client:
        for path in ("/v1/jobs", "/v1/jobs/x/audio", "/v1/predictions", "/v1/webhooks/secret"):
            response = await client.get(path)
            assert (response.status_code, response.json()["code"]) == (503, "jobs_disabled")
            assert response.json()["detail"] == reason
        response = await client.post("/v1/jobs", json=BODY)
        assert response.status_code == 503


def test_defaults_of_the_documentation_are_the_configurations() -> None:
    assert JobsConfig().kept_s == 86_400, "the field expires_in_s says: a day when absent"
