"""The facts that the middleware puts into a request reach the generator."""

from time import time

import httpx
import pytest
from fastapi import Request

from serve_app.api.request_context import request_context
from serve_app.types import GenerationRequest
from tests.fakes import FakeGenerator

ROUTES = [
    ("/v1/audio/generations", {"prompt": "a", "duration_s": 1}),
    ("/", {"prompt": "a", "duration": 1}),
    ("/models/facebook/musicgen-small", {"inputs": "a", "parameters": {"duration": 1}}),
]


def test_the_context_is_the_state_of_the_request() -> None:
    state = {"request_id": "id-1", "caller": "web", "deadline": 99.5}
    context = request_context(Request({"type": "http", "headers": [], "state": state}))
    assert context == state
    request = GenerationRequest(**context, model="small", prompt="a", duration_s=1.0)
    assert request.caller == "web"


@pytest.mark.parametrize(("path", "body"), ROUTES)
async def test_every_dialect_passes_it_on(
    client: httpx.AsyncClient, generator: FakeGenerator, path: str, body: dict[str, object]
) -> None:
    headers = {"x-request-id": "id-2", "x-musicgen-timeout-seconds": "1000"}
    before = time()
    assert (await client.post(path, json=body, headers=headers)).status_code == 200
    [request] = generator.requests
    assert request.request_id == "id-2"
    assert request.caller == ""
    assert request.deadline is not None
    assert before + 1000 <= request.deadline <= time() + 1000
