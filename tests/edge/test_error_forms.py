"""Errors of the edge in the forms that clients of each route read, in a real HAProxy."""

import socket
from typing import Any

import httpx
import pytest

from serve_app.api.error_forms import form_of
from serve_app.error_bodies import error_body, media_type
from tests.edge.conftest import PATIENCE_S, Server, StartEdge, exchange, get, post, waiting

PATHS = [
    "/", "/generate", "/generate/more", "/models/facebook/musicgen-small", "/models", "/v1/models/nano",
    "/v1/music", "/v1/music/stream", "/v1/music/detailed", "/v1/musical", "/v1/sound-generation",
    "/v1/audio/speech", "/v1/audio/generate", "/v1/audio/generations", "/v1/predictions", "/v1/jobs",
]  # fmt: skip
OF_CLIENTS = [
    "/v1/music/stream",
    "/models/facebook/musicgen-small",
    "/generate",
    "/v1/audio/speech",
]


def has_form_of(answer: httpx.Response, path: str, status: int, code: str) -> bool:
    """Test that an answer is the body and the media type that the app would send at this path."""
    form = form_of(path)
    body = answer.json()
    told = body["detail"] if form == "elevenlabs" else body
    return (
        (answer.status_code, told["code"]) == (status, code)
        and answer.headers["content-type"] == media_type(form)
        and answer.headers["x-content-type-options"] == "nosniff"
        and answer.headers["access-control-allow-origin"] == "*"
        and body == error_body(form, _problem(body, status, code))
    )


def _problem(body: dict[str, Any], status: int, code: str) -> dict[str, Any]:
    """Find the members of the problem that a body tells of."""
    if isinstance(body["detail"], dict):
        return {"status": status, "code": code, "detail": body["detail"]["message"]}
    return {name: value for name, value in body.items() if name != "error"}


@pytest.mark.parametrize("prefix", ["", "/band"])
def test_the_edge_chooses_forms_as_the_app_does(start_edge: StartEdge, prefix: str) -> None:
    address = start_edge(route_prefix=prefix or "/")
    for path in PATHS:
        answer = get(f"http://{address}{prefix}{path}", headers={"cookie": 33_000 * "a"})
        assert has_form_of(answer, path, 431, "headers_too_large"), (path, answer.text)


@pytest.mark.parametrize("path", OF_CLIENTS)
def test_every_refusal_has_the_form_of_its_path(start_edge: StartEdge, path: str) -> None:
    address = start_edge(body_timeout_s=0.3)
    at = f"http://{address}{path}"
    stalled = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n".encode()
    received = _response(exchange(address, stalled))
    assert has_form_of(received, path, 408, "request_timeout")
    long = get(f"{at}?{25_000 * 'a'}")
    assert has_form_of(long, path, 414, "uri_too_long")
    headers = get(at, headers={"cookie": 33_000 * "a"})
    assert has_form_of(headers, path, 431, "headers_too_large")
    assert has_form_of(post(at, content=bytes(1_000_001)), path, 413, "payload_too_large")


def test_too_many_requests_are_told_in_the_form_of_the_path(
    start_edge: StartEdge, server: Server
) -> None:
    """No request comes before them: it would count until HAProxy has let go of it."""
    address = start_edge(trust_loopback=False, max_requests_per_address=2)
    with waiting(address, server, 2):
        for path in OF_CLIENTS:
            refused = get(f"http://{address}{path}")
            assert has_form_of(refused, path, 429, "too_many_requests")
        server.released.set()


@pytest.mark.parametrize("path", OF_CLIENTS)
def test_a_server_that_fails_is_told_in_the_form_of_the_path(
    start_edge: StartEdge, path: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as broken:
        address = start_edge(upstream_port=broken.getsockname()[1])
        with socket.create_connection(address, timeout=PATIENCE_S) as connection:
            connection.sendall(
                f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode()
            )
            accepted, _ = broken.accept()
            accepted.recv(65536)
            accepted.close()
            received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert has_form_of(_response(received), path, 502, "bad_gateway")


@pytest.mark.parametrize(
    ("status", "answered", "code"),
    [
        (404, 503, "unavailable"),
        (408, 504, "gateway_timeout"),
        (500, 500, "internal_error"),
        (403, 400, "malformed_request"),
    ],
)
def test_serves_proxy_is_told_in_the_form_of_the_path(
    start_edge: StartEdge, status: int, answered: int, code: str
) -> None:
    address = start_edge()
    for path in (f"/v1/music/proxy/{status}", f"/models/proxy/{status}", f"/proxy/{status}"):
        assert has_form_of(get(f"http://{address}{path}"), path, answered, code)


def test_an_answer_of_the_service_keeps_its_form(start_edge: StartEdge) -> None:
    answer = get(f"http://{start_edge()}/v1/music")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["size"] == 0


def _response(received: bytes) -> httpx.Response:
    """Parse an answer that has come in full."""
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    return httpx.Response(int(first.split()[1]), headers=headers, content=body)
