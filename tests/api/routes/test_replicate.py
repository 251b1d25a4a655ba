"""Predictions: what Replicate's clients send, and the traps in what they read."""

import asyncio
import base64
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve_app.api.app import create_api
from serve_app.api.errors import InvalidInput
from serve_app.api.replicate_models import MUSICGEN, ReplicateModels
from serve_app.api.replicate_predictions import (
    MOST_DATA_URL_BYTES,
    Predictions,
    cancel_after_s,
)
from serve_app.api.schemas.replicate import MusicGenInput
from serve_app.config.api import ApiConfig
from serve_app.jobs.delivery import DeliveryLoop
from serve_app.jobs.job import Job
from tests.api.jobs_api import jobs_api
from tests.fakes import SMALL
from tests.jobs.receiver import deliver_once, receiver
from tests.jobs.rooms import CONTENT, JobRoom, addresses_of, client_of
from tests.jobs.test_service import wav

PREDICTIONS = f"/v1/models/{MUSICGEN}/predictions"
PUBLISHED = "671ac645ce5e552cc63a54a2bbff63fcf798043055d2dac5fc9e36a837eedcfb"
# The pattern of both clients.
PROGRESS = re.compile(r"^\s*(\d+)%\s*\|.+?\|\s*(\d+)/(\d+)")


async def predict(
    client: httpx.AsyncClient, path: str = PREDICTIONS, wait: str | None = None, **body: Any
) -> dict[str, Any]:
    """A prediction that was accepted."""
    body.setdefault("input", {"prompt": "lofi", "duration": 2})
    headers = {} if wait is None else {"prefer": wait}
    response = await client.post(path, json=body, headers=headers)
    assert response.status_code == 201, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def test_a_prediction_has_what_the_clients_validate(
    jobs_client: httpx.AsyncClient, room: JobRoom
) -> None:
    prediction = await predict(jobs_client)
    assert len(prediction["id"]) == 26
    assert (prediction["model"], prediction["version"]) == (MUSICGEN, PUBLISHED)
    assert (prediction["status"], prediction["output"], prediction["error"]) == (
        "starting", None, None,
    )  # fmt: skip
    assert prediction["input"] == {"prompt": "lofi", "duration": 2}
    assert prediction["data_removed"] is False
    base = f"http://test/v1/predictions/{prediction['id']}"
    urls = prediction["urls"]
    assert (urls["get"], urls["cancel"]) == (base, f"{base}/cancel")
    assert urls["stream"].startswith(f"{base}/stream?token=")
    assert urls["web"]
    request = (await room.claim()).job.request
    assert (request.model, request.duration_s, request.normalization) == ("small", 2.0, "loudness")
    assert (request.top_k, request.top_p, request.cfg_coef) == (250, 0.0, 3.0)


async def test_a_repeated_key_returns_the_first_prediction_though_its_audio_has_gone(
    jobs_client: httpx.AsyncClient,
) -> None:
    content = {"content": ("a.wav", wav(0.5), "audio/wav")}
    stored = (await jobs_client.post("/v1/files", files=content)).json()
    audio = {"prompt": "a", "duration": 2, "input_audio": stored["urls"]["get"]}
    body = {"input": audio | {"continuation": True}}
    key = {"idempotency-key": "k"}
    first = await jobs_client.post(PREDICTIONS, json=body, headers=key)
    assert first.status_code == 201, first.text
    assert (await jobs_client.delete(f"/v1/files/{stored['id']}")).is_success
    again = await jobs_client.post(PREDICTIONS, json=body, headers=key)
    assert again.status_code == 201, again.text
    assert again.json()["id"] == first.json()["id"]
    other = await jobs_client.post(PREDICTIONS, json=body)
    assert other.is_client_error, "without the key its audio is looked for"


async def test_every_input_is_translated(jobs_client: httpx.AsyncClient, room: JobRoom) -> None:
    await predict(
        jobs_client,
        input={
            "model_version": "tiny", "prompt": "a", "duration": 3, "multi_band_diffusion": False,
            "normalization_strategy": "peak", "top_k": 5, "top_p": 0.5, "temperature": 0.5,
            "classifier_free_guidance": 4, "output_format": "mp3", "seed": 9, "input_audio": None,
            "continuation": False, "continuation_start": 0, "continuation_end": None,
        },
    )  # fmt: skip
    request = (await room.claim()).job.request
    assert (request.model, request.prompt, request.duration_s) == ("small", "a", 3.0)
    assert (request.normalization, request.response_format, request.seed) == ("peak", "mp3", 9)
    sampling = (request.top_k, request.top_p, request.temperature, request.cfg_coef)
    assert sampling == (5, 0.5, 0.5, 4.0)


@pytest.mark.parametrize("seed", [None, -1, 0])
async def test_a_seed_of_none_is_drawn(
    jobs_client: httpx.AsyncClient, room: JobRoom, seed: int | None
) -> None:
    drawn = set()
    for _ in range(2):
        await predict(jobs_client, input={"prompt": "a", "seed": seed})
        drawn.add((await room.claim()).job.request.seed)
    assert len(drawn) == 2
    assert 0 not in drawn


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, "input.prompt"),
        ({"prompt": " "}, "input.prompt"),
        ({"prompt": "a", "multi_band_diffusion": True}, "input.multi_band_diffusion"),
        ({"prompt": "a", "input_audio": "data:audio/wav;base64,AA=="}, "input.input_audio"),
        ({"prompt": "a", "continuation": True}, "input.continuation"),
        ({"prompt": "a", "model_version": "stereo-melody-large"}, "input.model_version"),
        ({"prompt": "a", "duration": 0}, "input.duration"),
        ({"prompt": "a", "duration": 1.5}, "input.duration"),
        ({"prompt": "a", "output_format": "flac"}, "input.output_format"),
        ({"prompt": "a", "normalization_strategy": "none"}, "input.normalization_strategy"),
        ({"prompt": "a", "seed": -2}, "input.seed"),
        ({"prompt": "a", "top_p": 2}, "input.top_p"),
        ({"prompt": "a", "lyrics": "la"}, "input.lyrics"),
        (
            {"input_audio": "data:audio/wav;base64,!", "continuation": True},
            "input.input_audio: is not valid base64",
        ),
        (
            {
                "input_audio": "data:,", "continuation": True, "continuation_start": 5,
                "continuation_end": 5,
            },
            "input.continuation_end",
        ),
        ({"input_audio": "ftp://x/", "continuation": True}, "input.input_audio"),
        ({"input_audio": "http://127.0.0.1:9/x", "continuation": True}, "input.input_audio"),
    ],
)  # fmt: skip
async def test_what_cannot_be_done_is_refused_by_name(
    jobs_client: httpx.AsyncClient, fields: dict[str, Any], named: str
) -> None:
    response = await jobs_client.post(PREDICTIONS, json={"input": fields})
    assert response.status_code == 422, response.text
    problem = response.json()
    assert problem["code"] == "invalid_input"
    assert named in problem["detail"]
    assert {"type", "title", "detail", "status"} <= set(problem), "the client for Python shows them"


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "JSON"),
        (b"[]", "body"),
        (b"{}", "input"),
        (b'{"input": 1}', "input"),
        (b'{"input": {"prompt": "a"}, "webhook": "x"}', "webhook"),
        (b'{"input": {"prompt": "a"}, "webhook_events_filter": ["x"]}', "webhook_events_filter"),
        (b'{"input": {"prompt": "a"}, "other": 1}', "other"),
        (b"[" * 1900, "JSON"),
    ],
)
async def test_other_bodies_are_refused_by_name(
    jobs_client: httpx.AsyncClient, content: bytes, named: str
) -> None:
    response = await jobs_client.post(PREDICTIONS, content=content)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_input")
    assert named in response.json()["detail"]


@pytest.mark.parametrize(
    ("path", "version", "model"),
    [
        ("/v1/predictions", PUBLISHED, MUSICGEN),
        ("/v1/predictions", MUSICGEN, MUSICGEN),
        ("/v1/predictions", f"{MUSICGEN}:{PUBLISHED}", MUSICGEN),
        ("/v1/predictions", "facebook/musicgen-large", "facebook/musicgen-large"),
        ("/v1/models/facebook/musicgen-large/predictions", None, "facebook/musicgen-large"),
        ("/v1/models/anyone/small/predictions", None, "anyone/small"),
        ("/v1/deployments/acme/tiny/predictions", None, "acme/tiny"),
    ],
)
async def test_models_are_named_in_three_ways(
    jobs_client: httpx.AsyncClient, room: JobRoom, path: str, version: str | None, model: str
) -> None:
    more = {} if version is None else {"version": version}
    prediction = await predict(jobs_client, path, **more)
    assert prediction["model"] == model
    assert len(prediction["version"]) == 64
    expected = "large" if "large" in model else "small"
    assert (await room.claim()).job.request.model == expected


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/predictions", {}, 422),
        ("/v1/predictions", {"version": "f" * 64}, 422),
        ("/v1/predictions", {"version": "meta/llama"}, 422),
        ("/v1/predictions", {"version": f"{MUSICGEN}:abc"}, 422),
        ("/v1/models/meta/llama/predictions", {}, 404),
        ("/v1/deployments/acme/huge/predictions", {}, 404),
    ],
)
async def test_other_models_are_refused(
    jobs_client: httpx.AsyncClient, path: str, body: dict[str, str], status: int
) -> None:
    response = await jobs_client.post(path, json={"input": {"prompt": "a"}} | body)
    assert response.status_code == status


async def test_a_wait_that_runs_out_says_starting(
    jobs_client: httpx.AsyncClient, room: JobRoom
) -> None:
    """Both clients take `processing` in the answer to a creation for the end."""
    creating = asyncio.create_task(predict(jobs_client, wait="wait=1"))
    claim = await room.claim()
    prediction = await creating
    assert prediction["status"] == "starting"
    fetched = (await jobs_client.get(f"/v1/predictions/{prediction['id']}")).json()
    assert fetched["status"] == "processing"
    await room.succeed(claim)


async def test_a_wait_answers_before_the_client_gives_up(
    jobs_client: httpx.AsyncClient, room: JobRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits half a second longer than it asks for, for the answer to arrive."""
    waited_s: list[float] = []

    async def wait(_: object, job: Job, timeout_s: float) -> Job:
        waited_s.append(timeout_s)
        return job

    monkeypatch.setattr(type(room.service), "wait", wait)
    await predict(jobs_client, wait="wait=1")
    assert waited_s == [pytest.approx(0.75, abs=0.25)]


async def test_the_output_over_http_is_a_data_url(
    jobs_client: httpx.AsyncClient, room: JobRoom
) -> None:
    creating = asyncio.create_task(predict(jobs_client, wait="wait"))
    await room.succeed(await room.claim())
    prediction = await creating
    assert prediction["status"] == "succeeded"
    assert prediction["output"].startswith("data:audio/wav;base64,")
    assert base64.b64decode(prediction["output"].partition(",")[2]) == CONTENT
    assert prediction["metrics"]["predict_time"] <= prediction["metrics"]["total_time"]
    listed = (await jobs_client.get("/v1/predictions")).json()
    assert listed["results"][0]["output"].startswith("http://test/"), "lists stay short"


async def test_a_large_output_over_http_is_an_address(
    jobs_client: httpx.AsyncClient, room: JobRoom
) -> None:
    prediction = await predict(jobs_client)
    await room.succeed(await room.claim(), bytes(MOST_DATA_URL_BYTES + 1))
    fetched = (await jobs_client.get(f"/v1/predictions/{prediction['id']}")).json()
    assert fetched["output"].startswith(f"http://test/v1/jobs/{prediction['id']}/audio/0?token=")


async def test_the_output_over_https_is_a_signed_address(room: JobRoom) -> None:
    async with client_of(jobs_api()) as client:
        client.headers["x-forwarded-proto"] = "https"
        prediction = await predict(client)
        await room.succeed(await room.claim())
        output = (await client.get(f"/v1/predictions/{prediction['id']}")).json()["output"]
        assert output.startswith(f"https://test/v1/jobs/{prediction['id']}/audio/0?token=")
        assert (await client.get(output)).content == CONTENT


async def test_progress_is_read_from_the_logs(
    jobs_client: httpx.AsyncClient, room: JobRoom
) -> None:
    prediction = await predict(jobs_client, input={"prompt": "a", "seed": 7})
    claim = await room.claim()
    await room.progress(claim, 0.42)
    logs = (await jobs_client.get(f"/v1/predictions/{prediction['id']}")).json()["logs"]
    first, last = logs.splitlines()
    assert first == "Using seed: 7"
    found = PROGRESS.match(last)
    assert found is not None
    assert found.groups() == ("42", "42", "100")
    await room.succeed(claim)
    logs = (await jobs_client.get(f"/v1/predictions/{prediction['id']}")).json()["logs"]
    assert "100%|####################| 100/100" in logs


async def test_a_failure_and_a_missed_deadline(
    jobs_client: httpx.AsyncClient, room: JobRoom
) -> None:
    """Clients of version 1 know five statuses: a missed deadline is `canceled`."""
    for code, status in (("generation_failed", "failed"), ("deadline_exceeded", "canceled")):
        prediction = await predict(jobs_client)
        await room.fail(await room.claim(), {"code": code, "detail": "It went wrong"})
        fetched = (await jobs_client.get(f"/v1/predictions/{prediction['id']}")).json()
        assert (fetched["status"], fetched["error"]) == (status, "It went wrong")


async def test_a_prediction_is_cancelled(jobs_client: httpx.AsyncClient) -> None:
    prediction = await predict(jobs_client)
    for _ in range(2):
        response = await jobs_client.post(prediction["urls"]["cancel"])
        assert (response.status_code, response.json()["status"]) == (200, "canceled")
    missing = await jobs_client.post("/v1/predictions/x/cancel")
    assert (missing.status_code, missing.json()["code"]) == (404, "job_not_found")


async def test_lists_have_pages(
    jobs_client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.api.routes.replicate._PAGE", 2)
    ids = [(await predict(jobs_client))["id"] for _ in range(3)]
    first = (await jobs_client.get("/v1/predictions")).json()
    second = (await jobs_client.get(first["next"])).json()
    found = [one["id"] for one in (*first["results"], *second["results"])]
    assert found == ids[::-1]
    assert (first["previous"], second["next"]) == (None, None)
    assert (await jobs_client.get("/v1/predictions?cursor=x")).status_code == 400


async def test_the_stream_needs_no_key_and_each_event_has_an_id(
    jobs_client: httpx.AsyncClient, room: JobRoom
) -> None:
    prediction = await predict(jobs_client, stream=True)
    following = asyncio.create_task(jobs_client.get(prediction["urls"]["stream"]))
    await asyncio.sleep(0)
    claim = await room.claim()
    await room.succeed(claim)
    events = _events((await following).text)
    assert [event["event"] for event in events[-2:]] == ["output", "done"]
    assert {event["event"] for event in events[:-2]} == {"logs"}
    assert all(event["id"] for event in events)
    assert events[-2]["data"].startswith("data:audio/wav;base64,")
    assert events[-1]["data"] == "{}"
    wrong = await jobs_client.get(prediction["urls"]["stream"] + "x")
    assert wrong.status_code == 401


async def test_a_stream_tells_failures_and_cancels(
    jobs_client: httpx.AsyncClient, room: JobRoom
) -> None:
    prediction = await predict(jobs_client)
    await room.fail(await room.claim(), {"code": "x", "detail": "It went wrong"})
    events = _events((await jobs_client.get(prediction["urls"]["stream"])).text)
    assert [event["event"] for event in events] == ["logs", "error", "done"]
    assert (events[1]["data"], events[2]["data"]) == ("It went wrong", '{"reason": "error"}')
    prediction = await predict(jobs_client)
    await jobs_client.post(prediction["urls"]["cancel"])
    events = _events((await jobs_client.get(prediction["urls"]["stream"])).text)
    assert events[-1]["data"] == '{"reason": "canceled"}'


async def test_a_stream_tells_that_its_prediction_was_deleted(
    jobs_client: httpx.AsyncClient, room: JobRoom
) -> None:
    prediction = await predict(jobs_client)
    job = (await room.claim()).job
    told = Predictions(room.service, ReplicateModels(room.service.generation.router)).events(job)
    begin = [(await anext(told)).decode() for _ in range(2)]
    assert (await jobs_client.delete(f"/v1/jobs/{prediction['id']}")).status_code == 204
    events = _events("".join([*begin, *[event.decode() async for event in told]]))
    assert [event["event"] for event in events] == ["logs", "error", "done"]
    assert events[1]["data"] == "the prediction was deleted"
    assert len({event["id"] for event in events}) == 3


@pytest.mark.parametrize("number", ["data", "file", "fetched"])
async def test_audio_is_continued(
    jobs_client: httpx.AsyncClient, room: JobRoom, number: str, tmp_path: Path
) -> None:
    """`duration` comes after the part of the file that is kept."""
    content = wav(3.0)
    with receiver() as server:
        address = "data:audio/wav;base64," + base64.b64encode(content).decode()
        if number == "file":
            uploaded = await jobs_client.post("/v1/files", files={"content": ("a.wav", content)})
            address = uploaded.json()["urls"]["get"]
        if number == "fetched":
            server.contents["/a.wav"] = content
            address = server.url.replace("/hook", "/a.wav")
        prediction = await predict(
            jobs_client,
            input={
                "input_audio": address, "continuation": True, "continuation_start": 1,
                "continuation_end": 2, "duration": 4,
            },
        )  # fmt: skip
    request = (await room.claim()).job.request
    assert (request.audio_prompt_start_s, request.audio_prompt_end_s) == (1.0, 2.0)
    assert request.duration_s == 5.0
    assert request.audio_prompt is not None
    stored = [block async for block in room.service.results.read(request.audio_prompt)]
    assert b"".join(stored) == content
    assert len(json.dumps(prediction["input"])) < 500, "data URLs are not repeated"
    assert (tmp_path / "results").exists()


async def test_a_file_of_another_place_must_be_there(jobs_client: httpx.AsyncClient) -> None:
    with receiver() as server:
        fields = {"input_audio": server.url, "continuation": True}
        response = await jobs_client.post(PREDICTIONS, json={"input": fields})
    assert response.status_code == 422
    assert "answered 404" in response.json()["detail"]
    for name in ("01m8bcq5h784qww3fecfhzjmn0", "x", "01m8/content?token=x", ""):
        fields["input_audio"] = f"http://test/v1/files/{name}"
        response = await jobs_client.post(PREDICTIONS, json={"input": fields})
        assert "There is no file" in response.json()["detail"]


async def test_an_own_file_may_be_named_by_another_host(jobs_client: httpx.AsyncClient) -> None:
    """The name of a service inside its network is another than that outside."""
    uploaded = await jobs_client.post("/v1/files", files={"content": ("a.wav", wav(3.0))})
    address = uploaded.json()["urls"]["get"].replace("http://test", "https://other.invalid/music")
    for url in (address, address.partition("/content")[0]):
        await predict(jobs_client, input={"input_audio": url, "continuation": True})


async def test_an_output_is_continued_without_a_connection(
    jobs_client: httpx.AsyncClient, room: JobRoom
) -> None:
    """The service's own address may be a private one, which nothing is fetched from."""
    made = await predict(jobs_client, input={"prompt": "a"})
    address = f"https://10.0.0.1/music/v1/jobs/{made['id']}/audio/0?token=x"
    fields = {"input_audio": address, "continuation": True, "duration": 4}
    waiting = await jobs_client.post(PREDICTIONS, json={"input": fields})
    assert "input.input_audio: The job is queued" in waiting.json()["detail"]
    await room.succeed(await room.claim(), wav(3.0))
    await predict(jobs_client, input=fields)
    assert (await room.claim()).job.request.duration_s == 7.0
    other = await predict(jobs_client, input={"prompt": "a"})
    await room.succeed(await room.claim(), bytes(2**24 + 1))
    fields["input_audio"] = address.replace(made["id"], other["id"])
    large = await jobs_client.post(PREDICTIONS, json={"input": fields})
    assert "input.input_audio: must have at most 16777216 bytes" in large.json()["detail"]


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ({}, ["processing", "succeeded"]),
        ({"webhook_events_filter": ["completed"]}, ["succeeded"]),
        ({"webhook_events_filter": ["output", "completed"]}, ["succeeded"]),
        ({"webhook_events_filter": ["logs"]}, ["processing"]),
    ],
)
async def test_webhooks_obey_their_filter(
    jobs_client: httpx.AsyncClient, room: JobRoom, sent: dict[str, Any], told: list[str]
) -> None:
    with receiver() as hook:
        prediction = await predict(jobs_client, webhook=hook.url, **sent)
        claim = await room.claim()
        await room.progress(claim, 0.5)
        loop = DeliveryLoop(room.store, addresses_of(True, 60.0), 60.0)
        await deliver_once(loop)
        await room.succeed(claim)
        await deliver_once(loop)
    bodies = [json.loads(message.body) for message in hook.received]
    assert [body["status"] for body in bodies] == told
    assert {body["id"] for body in bodies} == {prediction["id"]}


async def test_the_older_webhook_is_told_of_the_end(
    jobs_client: httpx.AsyncClient, room: JobRoom
) -> None:
    await predict(jobs_client, webhook_completed="http://127.0.0.1:9/x")
    webhook = (await room.claim()).job.webhook
    assert webhook is not None
    assert (webhook.events, webhook.dialect) == (("completed",), "replicate")


async def test_the_secret_has_one_underscore(jobs_client: httpx.AsyncClient) -> None:
    """The client for Python splits it there."""
    key = (await jobs_client.get("/v1/webhooks/default/secret")).json()["key"]
    assert key.count("_") == 1
    assert key == (await jobs_client.get("/v1/webhooks/secret")).json()["secret"]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("90", 90.0),
        ("90s", 90.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("24H", 86_400.0),
    ],
)
def test_cancel_after_is_a_duration(header: str | None, seconds: float | None) -> None:
    assert cancel_after_s(header) == seconds


@pytest.mark.parametrize("header", ["", "4s", "25h", "soon", "-1m", "1d"])
def test_other_durations_are_refused(header: str) -> None:
    with pytest.raises(InvalidInput, match="Cancel-After"):
        cancel_after_s(header)


async def test_cancel_after_is_the_deadline(jobs_client: httpx.AsyncClient, room: JobRoom) -> None:
    await jobs_client.post(
        PREDICTIONS, json={"input": {"prompt": "a"}}, headers={"cancel-after": "1m"}
    )
    job = (await room.claim()).job
    assert job.deadline_at == pytest.approx(job.created_at + 60.0, abs=1.0)


async def test_the_dialect_can_be_turned_off(room: JobRoom) -> None:
    fake = room.generator
    config = ApiConfig(dialects=("openai",))
    app = create_api(fake, fake, [SMALL], "small", config, jobs=lambda *_: room.service)
    async with client_of(app) as client:
        response = await client.post(PREDICTIONS, json={"input": {"prompt": "a"}})
        assert response.status_code == 404
        assert (await client.get("/v1/jobs")).status_code == 200


def test_defaults_are_those_of_the_published_model() -> None:
    fields = MusicGenInput(prompt="a").model_dump(exclude={"prompt"})
    assert fields == {
        "model_version": None, "input_audio": None, "duration": 8, "continuation": False,
        "continuation_start": 0, "continuation_end": None, "multi_band_diffusion": False,
        "normalization_strategy": "loudness", "top_k": 250, "top_p": 0.0, "temperature": 1.0,
        "classifier_free_guidance": 3.0, "output_format": "wav", "seed": 0,
    }  # fmt: skip


def _events(text: str) -> list[dict[str, str]]:
    found = []
    for block in text.split("\n\n"):
        fields: dict[str, str] = {}
        for line in block.splitlines():
            name, _, value = line.partition(": ")
            fields.setdefault(name, value)
        if "event" in fields:
            found.append(fields)
    return found
