"""Limits that a model's replicas know: refused on acceptance while one is ready."""

import random
import string
from pathlib import Path

import httpx
import pytest

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.errors import InvalidRequest, ServeAppError
from serve_app.jobs.job import JobRequest
from serve_app.jobs.model_limits import surely_fits
from tests.fakes import FakeGenerator
from tests.jobs.rooms import JobRoom, client_of, job_room, submission

LONG = "\u00e9 " * 45  # 45 words in the fake, of 40 that it takes; at most 100 characters


async def refusal(room: JobRoom, request: JobRequest) -> ServeAppError:
    with pytest.raises(ServeAppError) as refused:
        await room.service.submit(submission(request=request))
    assert await room.service.page("", None, None, 10) == ([], None)
    return refused.value


async def test_a_prompt_of_too_many_tokens_is_refused_by_each_route_of_jobs(room: JobRoom) -> None:
    async with client_of(room.api()) as client:
        answer = await client.post("/v1/jobs", json={"prompt": LONG, "duration_s": 1})
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (400, "prompt_too_long")
        assert problem["errors"][0]["field"] == problem["error"]["param"] == "prompt"
        for path in ("models/meta/musicgen", "deployments/any/small"):
            body = {"input": {"prompt": LONG, "duration": 1}}
            answer = await client.post(f"/v1/{path}/predictions", json=body)
            assert answer.status_code == 422
            assert answer.json()["detail"].startswith("input.prompt: ")
        assert await listed(client) == []


async def listed(client: httpx.AsyncClient) -> list[object]:
    return list((await client.get("/v1/jobs")).json()["data"])


async def test_without_a_replica_the_job_is_accepted(room: JobRoom) -> None:
    """It waits for one, and fails with the same code then."""
    room.generator.loaded = False
    request = JobRequest(model="small", prompt=LONG, duration_s=1.0)
    job, is_new = await room.service.submit(submission(request=request))
    assert is_new
    assert job.request.prompt == LONG.strip()


async def test_the_models_window_bounds_stride_and_audio_prompt(tmp_path: Path) -> None:
    async with job_room(tmp_path, FakeGenerator(longest_s=120.0)) as room:
        request = JobRequest(model="small", prompt="a", duration_s=60.0, extend_stride_s=30.0)
        error = await refusal(room, request)
        assert isinstance(error, InvalidRequest)
        assert error.field == "extend_stride_s"
        shorter = request.model_copy(update={"extend_stride_s": 29.0})
        assert (await room.service.submit(submission(request=shorter)))[1]
        whole = submission("a", duration_s=60.0, audio_prompt=b"file", audio_prompt_s=30.0)
        with pytest.raises(InvalidRequest, match="this model's window \\(30\\)") as refused:
            await room.service.submit(whole)
        assert refused.value.field == "audio_prompt"


def test_what_surely_fits_has_no_more_tokens(nano: Checkpoint) -> None:
    draw = random.Random(0)
    for length in (1, 10, 60, 250):
        prompt = "".join(draw.choices(string.printable.replace("\0", ""), k=length)).strip()
        tokens = len(nano.text_encoder.tokenize(prompt))
        assert surely_fits(prompt, 2 * len(prompt) + 1)
        assert tokens <= 2 * len(prompt) + 1
    assert not surely_fits("a" * 128, 256)
    assert not surely_fits("\ufdfa", 256), "normalization makes 18 characters of it"
