"""Answers to HTTP/1.0 clients."""

import socket

import pytest

from tests.fakes import FakeGenerator
from tests.served_api import served_api


def raw(url: str, request: str) -> tuple[str, bytes]:
    """Head and body of the answer to a raw request, read until the server closes."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(request.encode())
        content = bytearray()
        while part := connection.recv(65_536):
            content += part
    head, _, body = bytes(content).partition(b"\r\n\r\n")
    return head.decode().lower(), body


@pytest.mark.parametrize("events", [True, False])
def test_a_stream_has_its_length_and_no_chunks(events: bool) -> None:
    body = '{"prompt": "a", "duration_s": 1, "stream": true, "response_format": "pcm"}'
    if events:
        body = body.replace("}", ', "stream_format": "sse"}')
    with served_api(FakeGenerator()) as url:
        head, content = raw(
            url,
            "POST /v1/audio/generations HTTP/1.0\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n{body}",
        )
    assert "200 ok" in head
    assert "transfer-encoding" not in head
    assert f"content-length: {len(content)}" in head
    assert content.startswith(b"event: progress") if events else len(content) == 64_000


def test_other_answers_are_sent_at_once() -> None:
    with served_api(FakeGenerator()) as url:
        head, content = raw(url, "GET /health HTTP/1.0\r\n\r\n")
        assert f"content-length: {len(content)}" in head
        head, content = raw(url, "HEAD /health HTTP/1.0\r\n\r\n")
        assert ("200 ok" in head, content) == (True, b"")
