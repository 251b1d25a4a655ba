"""Predictions that contradict themselves are refused by name, and nothing is ignored in silence."""

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve_app.api.replicate_models import MUSICGEN
from tests.api.routes.test_replicate import PREDICTIONS, PUBLISHED, predict
from tests.jobs.rooms import JobRoom, client_of, job_room
from tests.jobs.test_service import wav

AUDIO = "data:audio/wav;base64," + base64.b64encode(wav(3.0)).decode()
HOOK = "http://127.0.0.1:9/x"
LARGE = "/v1/models/facebook/musicgen-large/predictions"


async def _refused(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> str:
    """The sentence of a refusal."""
    response = await client.post(path, json={"input": {"prompt": "a"}} | body)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_input"), response.text
    detail: str = response.json()["detail"]
    return detail


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/models/musicgen-serve/small/predictions", {}),
        ("/v1/deployments/acme/small/predictions", {}),
        ("/v1/predictions", {"version": "facebook/musicgen-small"}),
    ],
)
async def test_a_named_model_is_the_one_that_runs(
    jobs_client: httpx.AsyncClient, room: JobRoom, path: str, body: dict[str, str]
) -> None:
    other = body | {"input": {"prompt": "a", "model_version": "large"}}
    assert (await _refused(jobs_client, path, other)).startswith("input.model_version: 'large'")
    await predict(jobs_client, path, **body, input={"prompt": "a", "model_version": "tiny"})
    assert (await room.claim()).job.request.model == "small"


async def test_musicgen_leaves_the_choice_open(
    jobs_client: httpx.AsyncClient, room: JobRoom
) -> None:
    wanted = {"prompt": "a", "model_version": "large"}
    await predict(jobs_client, input=wanted)
    await predict(jobs_client, "/v1/predictions", version=PUBLISHED, input=wanted)
    assert [(await room.claim()).job.request.model for _ in range(2)] == ["large", "large"]


@pytest.mark.parametrize("path", [LARGE, "/v1/deployments/acme/large/predictions"])
async def test_a_version_may_not_contradict_the_address(
    jobs_client: httpx.AsyncClient, path: str
) -> None:
    for version in (PUBLISHED, "facebook/musicgen-small", "f" * 64):
        assert "version" in await _refused(jobs_client, path, {"version": version})
    model = (await jobs_client.get("/v1/models/facebook/musicgen-large")).json()
    version = model["latest_version"]["id"]
    assert (await predict(jobs_client, path, version=version))["version"] == version
    older = "7a76a8258b23fae65c5a22debb8841d1d7e816b75c2f24218cd2bd8573787906"
    assert (await predict(jobs_client, version=older))["version"] == older


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"webhook": HOOK, "webhook_completed": HOOK}, "webhook_completed"),
        (
            {"webhook_completed": HOOK, "webhook_events_filter": ["start"]},
            "webhook_events_filter",
        ),
        ({"webhook": HOOK, "webhook_events_filter": []}, "webhook_events_filter"),
        ({"webhook_events_filter": ["completed"]}, "webhook_events_filter"),
        ({"input": {"prompt": "a", "continuation_start": 1}}, "input.continuation_start"),
        ({"input": {"prompt": "a", "continuation_end": 3}}, "input.continuation_end"),
    ],
)
async def test_fields_without_effect_are_refused_by_name(
    jobs_client: httpx.AsyncClient, body: dict[str, Any], named: str
) -> None:
    assert (await _refused(jobs_client, PREDICTIONS, body)).startswith(f"{named}: ")


async def test_a_stream_is_named_among_the_ignored(jobs_client: httpx.AsyncClient) -> None:
    body: dict[str, Any] = {"input": {"prompt": "a"}}
    for more, ignored in (({"stream": True}, "stream"), ({}, None), ({"stream": None}, None)):
        response = await jobs_client.post(PREDICTIONS, json=body | more)
        assert response.headers.get("x-musicgen-ignored") == ignored


@pytest.mark.parametrize(
    ("path", "headers", "body"),
    [
        (LARGE, {}, {}),
        ("/v1/deployments/acme/small/predictions", {}, {}),
        (PREDICTIONS, {"cancel-after": "1m"}, {}),
        (PREDICTIONS, {}, {"version": MUSICGEN, "stream": True}),
    ],
)
async def test_an_idempotency_key_is_of_the_whole_request(
    jobs_client: httpx.AsyncClient, path: str, headers: dict[str, str], body: dict[str, Any]
) -> None:
    key = {"idempotency-key": "one"}
    content = {"input": {"prompt": "a"}}
    ids = {
        (await jobs_client.post(PREDICTIONS, json=content, headers=key)).json()["id"]
        for _ in range(2)
    }
    assert len(ids) == 1
    other = await jobs_client.post(path, json=content | body, headers=key | headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("duration", True),
        ("duration", "8"),
        ("continuation", "no"),
        ("multi_band_diffusion", 0),
        ("seed", "7"),
        ("top_k", True),
        ("temperature", "1"),
        ("temperature", float("nan")),
        ("prompt", 3),
    ],
)
async def test_types_are_not_converted(
    jobs_client: httpx.AsyncClient, field: str, value: object
) -> None:
    content = json.dumps({"input": {"prompt": "a", field: value}})
    response = await jobs_client.post(PREDICTIONS, content=content)
    assert response.status_code == 422
    assert f"input.{field}" in response.json()["detail"]


async def test_whole_numbers_may_be_written_with_a_point(
    jobs_client: httpx.AsyncClient, room: JobRoom
) -> None:
    await predict(jobs_client, input={"prompt": "a", "duration": 2.0, "top_k": 5.0, "seed": 3.0})
    request = (await room.claim()).job.request
    assert (request.duration_s, request.top_k, request.seed) == (2.0, 5, 3)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"input": {"prompt": "a" * 101}}, "input.prompt"),
        ({"input": {"prompt": "a\0"}}, "input.prompt"),
        ({"input": {"prompt": "a\ud800"}}, "input.prompt"),
        ({"input": {"prompt": "a", "duration": 3000}}, "input.duration"),
        ({"input": {"input_audio": "data:audio/wav;base64,AAAA"}}, "input.input_audio"),
        ({"input": {"input_audio": AUDIO, "continuation_start": 9}}, "input.continuation_start"),
        ({"input": {"input_audio": AUDIO, "duration": 3600}}, "input.duration"),
        ({"webhook": "http://192.168.0.1/x"}, "webhook"),
        ({"webhook_completed": "http://192.168.0.1/x"}, "webhook_completed"),
        ({"webhook": "http://exa<mple.com/"}, "webhook"),
        ({"webhook": "http://a..b/"}, "webhook"),
    ],
)
async def test_each_refusal_names_its_field(
    tmp_path: Path, body: dict[str, Any], named: str
) -> None:
    """Also those of checks that all jobs have, which other routes answer with 400."""
    fields = body.get("input", {})
    content = body | {"input": {"prompt": "a", "continuation": "input_audio" in fields} | fields}
    async with job_room(tmp_path) as room, client_of(room.api()) as client:
        response = await client.post(PREDICTIONS, content=json.dumps(content))
        assert (response.status_code, response.json()["code"]) == (422, "invalid_input")
        assert response.json()["detail"].startswith(named)
