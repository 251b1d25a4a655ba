"""OpenAPI documents the routes of jobs; requests made up from it are answered so."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import settings
from pydantic import BaseModel
from schemathesis import Case, GenerationMode

from serve_app.api.replicate_files import FileAnswer
from serve_app.api.schemas.jobs import JobBody, JobList, WebhookBody, WebhookSecrets
from serve_app.api.schemas.replicate import (
    HostedModel,
    ModelVersion,
    MusicGenInput,
    PredictionBody,
    PredictionPage,
)
from serve_app.jobs.description import JobDescription, JobResult
from serve_app.jobs.prediction import Prediction
from tests.api.jobs_api import CURRENT, jobs_api
from tests.api.test_openapi import CHECKS, THOROUGHLY
from tests.jobs.rooms import JobRoom, job_room, submission

TAKING_FILES = ["/v1/jobs", "/v1/files"]
FOLLOWING = ("/events", "/stream")  # an unfinished job is followed to its end
QUICKLY = settings(THOROUGHLY, max_examples=8)
KNOWN: dict[str, str] = {}  # ids of jobs by their states


async def _known(room: JobRoom) -> dict[str, str]:
    """Make a job in each state."""
    done, _ = await room.service.submit(submission(n=2))
    await room.succeed(await room.claim())
    failed, _ = await room.service.submit(submission())
    await room.fail(await room.claim(), {"detail": "It went wrong"})
    queued, _ = await room.service.submit(submission())
    return {"succeeded": done.id, "failed": failed.id, "queued": queued.id}


DOCUMENT = schemathesis.openapi.from_asgi("/openapi.json", jobs_api())
OF_JOBS = DOCUMENT.include(tag=["jobs", "Replicate clients"])
UPLOADS = schemathesis.openapi.from_asgi("/openapi.json", jobs_api())
UPLOADS.config.generation.update(modes=[GenerationMode.POSITIVE])


@pytest.fixture(scope="module")
def kept_room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobRoom]:
    """Jobs for all requests of this module: the API's event loop is another in each of them."""
    folder = tmp_path_factory.mktemp("jobs")
    opening = job_room(folder)
    with asyncio.Runner() as runner:
        room = runner.run(opening.__aenter__())
        KNOWN.update(runner.run(_known(room)))
        yield room
        runner.run(opening.__aexit__(None, None, None))


@pytest.fixture(autouse=True)
def _current(kept_room: JobRoom) -> None:
    """Put the kept room behind the API again: another test may have had its own there."""
    CURRENT.service = kept_room.service


def with_known_job(case: Case[Any]) -> Case[Any]:
    """Put the id of a job into most requests; others keep one that is made up."""
    parameters = case.path_parameters or {}
    made_up = str(parameters.get("job_id", ""))
    if "job_id" in parameters and len(made_up) % 4:
        state = ("succeeded", "failed", "queued")[len(made_up) % 4 - 1]
        is_followed = case.path.endswith(FOLLOWING)
        parameters["job_id"] = KNOWN["succeeded" if is_followed else state]
    return case


@OF_JOBS.exclude(path=TAKING_FILES).parametrize()
@QUICKLY
def test_any_request_gets_a_documented_answer(case: Case[Any]) -> None:
    with_known_job(case).call_and_validate(checks=CHECKS, timeout=120)


@DOCUMENT.include(path="/v1/jobs", method=["GET"]).parametrize()
@QUICKLY
def test_any_list_gets_a_documented_answer(case: Case[Any]) -> None:
    case.call_and_validate(checks=CHECKS, timeout=120)


@UPLOADS.include(path=TAKING_FILES, method=["POST"]).parametrize()
@QUICKLY
def test_any_upload_gets_a_documented_answer(case: Case[Any]) -> None:
    case.call_and_validate(checks=CHECKS, timeout=120)


async def test_the_document_names_every_route(jobs_client: httpx.AsyncClient) -> None:
    paths = (await jobs_client.get("/openapi.json")).json()["paths"]
    model = "/v1/models/{owner}/{name}"
    assert {path: sorted(paths[path]) for path in paths if "jobs" in path} == {
        "/v1/jobs": ["get", "post"],
        "/v1/jobs/{job_id}": ["delete", "get"],
        "/v1/jobs/{job_id}/cancel": ["post"],
        "/v1/jobs/{job_id}/audio": ["get"],
        "/v1/jobs/{job_id}/audio/{number}": ["get"],
        "/v1/jobs/{job_id}/events": ["get"],
        "/v1/jobs/{job_id}/webhook/redeliver": ["post"],
    }
    assert set(paths) >= {
        "/v1/webhooks/secret", "/v1/webhooks/secret/rotate", "/v1/webhooks/default/secret",
        "/v1/predictions", "/v1/predictions/{job_id}", "/v1/predictions/{job_id}/cancel",
        "/v1/predictions/{job_id}/stream", "/v1/deployments/{owner}/{name}/predictions",
        model, f"{model}/predictions", f"{model}/versions", f"{model}/versions/{{version_id}}",
        "/v1/files", "/v1/files/{file_id}", "/v1/files/{file_id}/content",
    }  # fmt: skip
    content = paths["/v1/jobs"]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json", "multipart/form-data"}
    parameters = {one["name"] for one in paths["/v1/jobs"]["post"]["parameters"]}
    assert parameters == {"prefer", "idempotency-key"}


@pytest.mark.parametrize(
    "model",
    [
        JobBody, WebhookBody, WebhookSecrets, JobList, JobDescription, JobResult, Prediction,
        PredictionBody, PredictionPage, MusicGenInput, HostedModel, ModelVersion, FileAnswer,
    ],
)  # fmt: skip
def test_every_field_is_described(model: type[BaseModel]) -> None:
    fields = model.model_json_schema(mode="serialization")["properties"]
    undescribed = [
        name
        for name, field in fields.items()
        if not field.get("description") and field.get("type") not in ("array", "null")
    ]
    assert [name for name in undescribed if not {"const", "enum"} & set(fields[name])] == []
