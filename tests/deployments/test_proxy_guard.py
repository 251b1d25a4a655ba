"""The guard in Serve's proxy. tests/service covers it at work."""

import pytest
from starlette.types import Receive, Scope, Send

from serve_app.deployments.proxy_guard import ProxyGuard, middleware


async def passed(*headers: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """The headers that reach what is behind the guard, without the guard's own."""
    seen: list[tuple[bytes, bytes]] = []

    async def app(scope: Scope, _: Receive, __: Send) -> None:
        seen.extend(scope["headers"])

    async def receive() -> dict[str, object]:
        return {}

    async def send(_: object) -> None:
        return

    [one] = middleware()
    scope = {"type": "http", "headers": list(headers)}
    await one.cls(app, *one.args, **one.kwargs)(scope, receive, send)
    assert scope["headers"] == list(headers), "the server's own scope is unchanged"
    assert seen.pop() == (b"x-musicgen-acks", b"1")
    return seen


@pytest.mark.parametrize(
    "header",
    [
        (b"x-request-disconnect-disabled", b"?1"),
        (b"serve_multiplexed_model_id", b"a"),
        (b"serve-multiplexed-model-id", b"\xff"),
        (b"x-session-id", b"\xff"),
        (b"x_musicgen_acks", b"1"),
        (b"x-request-id", b"\xff"),
        (b"x-request-id", b"a" * 129),
        (b"x-request-id", b"a b"),
        (b"x-request-id", b""),
        (b"traceparent", b"\xff"),
    ],
)
async def test_hints_and_malformed_ids_are_removed(header: tuple[bytes, bytes]) -> None:
    assert await passed((b"accept", b"\xff"), header) == [(b"accept", b"\xff")]


async def test_a_deadline_is_for_the_application_alone() -> None:
    header = (b"x-request-timeout-seconds", b"\xff")
    assert await passed(header) == [(b"x-musicgen-timeout-seconds", b"\xff")]


async def test_other_headers_are_passed_on() -> None:
    headers = [
        (b"x-request-id", b"a" * 128),
        (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        (b"authorization", b"Bearer key"),
    ]
    assert await passed(*headers) == headers


async def test_what_has_no_headers_is_passed_on() -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, _: Receive, __: Send) -> None:
        seen.append(scope)

    await ProxyGuard(app)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert seen == [{"type": "lifespan"}]
