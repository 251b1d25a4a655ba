"""A client that leaves during its body is no error. tests/service covers it in Serve."""

import logging

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError, TaskCancelledError
from starlette.types import Message, Receive, Scope, Send

from serve_app.api.app import create_api
from serve_app.config.api import ApiConfig
from serve_app.deployments.departed_clients import DepartedClients
from tests.fakes import SMALL, FakeGenerator

SCOPE = {
    "type": "http",
    "http_version": "1.1",
    "method": "POST",
    "path": "/v1/audio/generations",
    "query_string": b"",
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"99")],
}


@pytest.mark.parametrize(
    "error", [TaskCancelledError(), ActorDiedError(), ActorUnavailableError("RPC error", None)]
)
async def test_nothing_is_logged_as_unexpected_and_nothing_is_made(
    error: RayError, caplog: pytest.LogCaptureFixture
) -> None:
    generator = FakeGenerator()
    parts: list[Message] = [{"type": "http.request", "body": b'{"prompt"', "more_body": True}]

    async def receive() -> Message:
        if parts:
            return parts.pop()
        raise error

    async def send(_: Message) -> None:
        return

    app = DepartedClients(create_api(generator, generator, [SMALL], None, ApiConfig()))
    with caplog.at_level(logging.WARNING):
        await app(dict(SCOPE), receive, send)
    assert caplog.text == ""
    assert generator.requests == []


async def test_other_errors_of_the_connection_are_raised() -> None:
    async def app(_: Scope, receive: Receive, __: Send) -> None:
        await receive()

    async def receive() -> Message:
        raise RuntimeError("broken")

    async def send(_: Message) -> None:
        return

    with pytest.raises(RuntimeError, match="broken"):
        await DepartedClients(app)({"type": "http"}, receive, send)


async def test_a_lifespan_is_passed_on() -> None:
    seen: list[str] = []

    async def app(scope: Scope, _: Receive, __: Send) -> None:
        seen.append(scope["type"])

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(_: Message) -> None:
        return

    await DepartedClients(app)({"type": "lifespan"}, receive, send)
    assert seen == ["lifespan"]
