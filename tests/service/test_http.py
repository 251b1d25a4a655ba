"""HTTP through Serve's proxy: headers, compressed bodies, old clients, bytes that are no text."""

import gzip
import json
import zlib
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from serve_app.edge.haproxy import Address
from serve_app.launcher import Service
from tests.service.conftest import GENERATIONS, LONG_S, generate, stats, unfinished, until
from tests.service.raw_http import Answer, ask, connection, get

ORIGIN = {"origin": "http://localhost:5173"}
CORS = "access-control-allow-origin"
SAFE = {
    CORS: ORIGIN["origin"],
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}


@pytest.fixture(params=["edge", "proxy"])
def door(service: Service, request: pytest.FixtureRequest) -> Address:
    """Where a client comes in: the edge, or Serve's own proxy where there is none."""
    return service.address if request.param == "edge" else service.upstream


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/health", {}, 200),
        ("HEAD", "/v1/models", {}, 200),
        ("GET", "/nothing", {}, 404),
        ("GET", "/v1/audio/streams/none", {}, 404),
        ("DELETE", "/v1/models", {}, 405),
        ("GET", "/health", {"x-request-timeout-seconds": "soon"}, 400),
        ("GET", "/health", {"x-request-timeout-seconds": "-1"}, 400),
        ("GET", "/health", {"x-long": "a" * 40_000}, 431),
        ("POST", "/v1/audio/speech", {"content": "a" * 70_000}, 413),
        ("POST", "/generate", {"content-encoding": "br"}, 415),
        ("POST", GENERATIONS, {"content": "[]"}, 400),
    ],
)
async def test_every_answer_has_the_headers_of_browsers(
    client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    sent = headers | ORIGIN
    response = await client.request(method, path, headers=sent, content=sent.pop("content", None))
    assert response.status_code == status
    answered = {name: response.headers.get(name) for name in SAFE}
    if answered[CORS] == "*":
        answered[CORS] = ORIGIN["origin"]  # the edge's own answers
    assert answered == SAFE
    if status >= 400 and method != "HEAD":
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["status"] == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_preflights_are_answered(client: httpx.AsyncClient, method: str) -> None:
    asked = {
        "access-control-request-method": method,
        "access-control-request-private-network": "true",
        "access-control-request-headers": "authorization, content-type, range",
    }
    response = await client.options(GENERATIONS, headers=asked | ORIGIN)
    assert response.status_code == 200
    assert method in response.headers["access-control-allow-methods"]
    assert response.headers["access-control-allow-private-network"] == "true"
    refused = await client.options(GENERATIONS, headers=asked | {"origin": "https://evil.example"})
    assert refused.status_code == 400


@pytest.mark.parametrize("path", ["/", "/health", "/v1/models", "/docs"])
async def test_head_is_get_without_a_body(client: httpx.AsyncClient, path: str) -> None:
    head = await client.head(path)
    whole = await client.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == whole.headers["content-type"]


async def test_a_trailing_slash_is_not_redirected(client: httpx.AsyncClient) -> None:
    headers = {"x-forwarded-proto": "https", "x-forwarded-host": "music.example"}
    for path in ("/v1/models/", "/health/", "/generate/"):
        assert (await client.get(path, headers=headers)).status_code == 404


async def test_compressed_bodies_are_taken_within_the_limits(client: httpx.AsyncClient) -> None:
    body = json.dumps({"prompt": "bells", "duration_s": 0.5, "seed": 3}).encode()
    plain = await generate(client, **json.loads(body))
    kinds = {"gzip": gzip.compress(body), "deflate": zlib.compress(body)}
    for encoding, compressed in kinds.items():
        headers = {"content-encoding": encoding, "content-type": "application/json"}
        response = await client.post(GENERATIONS, content=compressed, headers=headers)
        assert response.content == plain.content
    bomb = gzip.compress(b" " * 100_000_000)
    response = await client.post(GENERATIONS, content=bomb, headers={"content-encoding": "gzip"})
    assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")


async def test_blank_fields_nul_and_surrogates(client: httpx.AsyncClient) -> None:
    form = {"prompt": "bells", "duration_s": "0.5", "seed": "", "bitrate_kbps": ""}
    blank = {"audio_prompt": ("", b"", "application/octet-stream")}
    assert (await client.post(GENERATIONS, data=form, files=blank)).status_code == 200
    response = await client.get("/v1/audio/stream", params=form)
    assert response.status_code == 303
    for content in ('{"prompt": "a\\u0000b"}', '{"prompt": "\\ud800"}', '{"\\ud800": 1}'):
        response = await client.post(GENERATIONS, content=content)
        assert (response.status_code, response.json()["code"]) == (400, "invalid_request")
    response = await client.post(GENERATIONS, content='{"prompt": "a", "model": "\\ud800"}')
    assert (response.status_code, response.json()["code"]) == (404, "model_not_found")


async def test_a_charset_that_is_none(client: httpx.AsyncClient) -> None:
    body = b'--b\r\ncontent-disposition: form-data; name="prompt"\r\n\r\na\r\n--b--\r\n'
    headers = {"content-type": "multipart/form-data; boundary=b; charset=undefined"}
    response = await client.post(GENERATIONS, content=body, headers=headers)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("name", "status"),
    [
        (b"x-request-id", 200),
        (b"x-request-timeout-seconds", 400),
        (b"x-request-disconnect-disabled", 200),
        (b"serve_multiplexed_model_id", 200),
        (b"x-session-id", 200),
        (b"traceparent", 200),
        (b"accept", 200),
        (b"cookie", 200),
        (b"authorization", 200),
        (b"origin", 403),
        (b"content-type", 200),
        (b"if-none-match", 200),
    ],
)
async def test_bytes_outside_ascii_in_a_header(door: Address, name: bytes, status: int) -> None:
    answer = await ask(door, get("/v1/models", name + b": \xff\xfe"))
    assert answer.status == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    if status == 400:
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("sent", ["a" * 20_000, "a b", "<script>", ""])
async def test_a_bad_request_id_is_replaced(door: Address, sent: str) -> None:
    answer = await ask(door, get("/health", b"x-request-id: " + sent.encode()))
    assert answer.status == 200
    assert answer.headers["x-request-id"] != sent
    assert 1 <= len(answer.headers["x-request-id"]) <= 128


async def test_a_good_request_id_is_kept(door: Address) -> None:
    sent = "A-z_0.9:" * 16
    answer = await ask(door, get("/health", b"X-Request-ID: " + sent.encode()))
    assert answer.headers["x-request-id"] == sent


@pytest.mark.parametrize("name", ["x-request-timeout-seconds", "x-musicgen-timeout-seconds"])
async def test_a_deadline_is_answered_by_the_service(
    door: Address, client: httpx.AsyncClient, name: str
) -> None:
    request = post({"prompt": "a", "duration_s": 60}, f"{name}: 0.3".encode())
    answer = await ask(door, request)
    assert (answer.status, json.loads(answer.body)["code"]) == (504, "deadline_exceeded")
    await until(client, lambda s: s["slots_used"] == 0)


async def test_no_header_keeps_the_slot_of_one_who_has_gone(
    door: Address, client: httpx.AsyncClient
) -> None:
    request = post(
        {"prompt": "a", "duration_s": LONG_S, "stream": True}, b"X-Request-Disconnect-Disabled: ?1"
    )
    async with unfinished(client, LONG_S), connection(door, request) as reader:
        assert b" 200 " in await reader.readline()
        await until(client, lambda s: s["slots_used"] == 1)


async def test_one_who_leaves_during_a_body_is_no_error(
    service: Service, door: Address, client: httpx.AsyncClient
) -> None:
    before = len(service.log)
    begun = post({"prompt": "a"}).removesuffix(b"}")
    async with connection(door, begun), connection(door, begun):
        assert (await client.get("/v1/models")).status_code == 200
    answer = await ask(door, post({"prompt": "a", "duration_s": 1}))
    assert answer.status == 200
    said = service.log[before:]
    assert "TaskCancelledError" not in said
    assert "Unexpected error" not in said


@pytest.mark.parametrize("as_events", [False, True])
async def test_an_old_client_gets_a_stream_without_chunks(door: Address, as_events: bool) -> None:
    body: dict[str, Any] = {"prompt": "a", "duration_s": 1, "response_format": "pcm"}
    body |= {"stream": True, "stream_format": "sse" if as_events else "audio"}
    answer = await ask(door, post(body, version="1.0"))
    assert answer.status == 200
    assert_is_framed(answer)
    assert as_events == answer.body.startswith(b"event: ")
    assert as_events or len(answer.body) == 64_000


async def test_an_old_client_follows_a_stream(door: Address) -> None:
    path = "/v1/audio/stream?prompt=a&duration_s=1&response_format=flac"
    redirect = await ask(door, get(path, version="1.0"))
    assert redirect.status == 303
    path = "/v1/audio/" + redirect.headers["location"]
    answer = await ask(door, get(path, version="1.0"))
    assert_is_framed(answer)
    assert answer.body.startswith(b"fLaC")


def assert_is_framed(answer: Answer) -> None:
    """Test that the body ends by its length, or with the connection."""
    assert "transfer-encoding" not in answer.headers
    assert answer.headers.get("content-length", str(len(answer.body))) == str(len(answer.body))


def post(body: Mapping[str, Any], *headers: bytes, version: str = "1.1") -> bytes:
    """POST of a generation, after which the server closes the connection."""
    content = json.dumps(body).encode()
    lines = [
        f"POST {GENERATIONS} HTTP/{version}".encode(),
        b"host: test",
        b"connection: close",
        b"content-type: application/json",
        f"content-length: {len(content)}".encode(),
        *headers,
    ]
    return b"\r\n".join([*lines, b"", content])


async def test_an_idle_service_is_idle(client: httpx.AsyncClient) -> None:
    """No request of these tests is left running."""
    await until(client, lambda s: s["slots_used"] == 0 and s["queued_requests"] == 0)
    assert (await stats(client))["slots_used"] == 0
