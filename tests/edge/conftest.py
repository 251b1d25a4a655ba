"""HAProxy in front of a small HTTP server."""

import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from serve_app.config.api import ApiConfig
from serve_app.config.edge import EdgeConfig
from serve_app.edge.edge import listen_on
from serve_app.edge.haproxy import Address, Served, Timeouts, render
from serve_app.edge.process import EdgeProcess
from serve_app.machine import free_port
from tests.raw_server import refusing_port

LOOPBACK = "127.0.0.1"
PATIENCE_S = 60.0  # a busy machine is slow; only a failing test waits as long
API = ApiConfig(max_upload_bytes=1_000_000)
StartEdge = Callable[..., Address]


class Server(ThreadingHTTPServer):
    """A server on a port of its own. `/wait` counts up `waiting`, and answers after `released`.

    `/large` answers with 50 MB, `/early` before it reads the body.
    """

    def __init__(self) -> None:
        self.waiting = threading.Semaphore(0)
        self.released = threading.Event()
        self.cut_off = threading.Event()
        super().__init__((LOOPBACK, 0), _Handler)

    def handle_error(self, *_: object) -> None:
        """Note that a connection was cut off."""
        assert isinstance(sys.exception(), ConnectionError)
        self.cut_off.set()


class _Handler(BaseHTTPRequestHandler):
    """Answer with headers, size of the body and port of a request; `/proxy/STATUS` as Serve's proxy would."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        if "/proxy/" in self.path:
            self._answer(int(self.path.rpartition("/")[2]), b"in plain text", "text/plain")
            return
        if self.path == "/wait":
            self.server.waiting.release()
            self.server.released.wait(PATIENCE_S)
        if self.path == "/large":
            self._answer(200, bytes(50_000_000), "application/octet-stream")
            return
        size = int(self.headers.get("content-length", 0))
        if self.path == "/early":
            self._answer(401, b"", "application/json")
            self.rfile.read(size)
            return
        received = len(self.rfile.read(size))
        if received < size:
            self.server.cut_off.set()
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = {"headers": headers, "size": received, "from_port": self.client_address[1]}
        self._answer(200, json.dumps(body).encode(), "application/json")

    do_POST = do_GET

    def _answer(self, status: int, body: bytes, media_type: str) -> None:
        self.send_response(status)
        self.send_header("content-type", media_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the tests' output stays readable."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def start_edge(server: Server) -> Iterator[StartEdge]:
    """Start an edge with the limits given as keywords; return its address.

    trust_loopback: False counts this machine's own connections, too; accepts_silent: False keeps
    connections from HAProxy until their first bytes are there, so that its limits of time do not
    run while a client stands still between connecting and sending.
    """
    with ExitStack() as stack:

        def start(
            *,
            trust_loopback: bool = True,
            accepts_silent: bool = False,
            upstream_port: int | None = None,
            route_prefix: str = "/",
            **limits: Any,
        ) -> Address:
            port = server.server_port if upstream_port is None else upstream_port
            served = Served(Address(LOOPBACK, port), route_prefix, Timeouts(PATIENCE_S, 90))

            def rendered(bind: str) -> str:
                text = render(EdgeConfig(**limits), API, bind, served)
                return text if trust_loopback else text.replace("127.0.0.0/8 ::1", "192.0.2.1")

            address = Address(LOOPBACK, free_port())
            listener = stack.enter_context(listen_on(address))
            if not accepts_silent:
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, round(PATIENCE_S))
            stack.enter_context(EdgeProcess(listener, rendered))
            return address

        yield start


@contextmanager
def refusing_address() -> Iterator[Address]:
    """Hold an address on which nothing listens: connections are refused."""
    with refusing_port() as port:
        yield Address(LOOPBACK, port)


def get(url: str, **options: Any) -> httpx.Response:
    """Send a GET as `httpx.get` does, with patience."""
    return httpx.get(url, timeout=PATIENCE_S, **options)


def post(url: str, **options: Any) -> httpx.Response:
    """Send a POST likewise."""
    return httpx.post(url, timeout=PATIENCE_S, **options)


def exchange(address: Address, sent: bytes) -> bytes:
    """Send bytes; return everything until the other side closes.

    An answer may come before the last byte is sent; the other side's close is a reset then.
    """
    received = b""
    with socket.create_connection(address, timeout=PATIENCE_S) as connection:
        with suppress(ConnectionError):
            connection.sendall(sent)
        with suppress(ConnectionError):
            while part := connection.recv(65536):
                received += part
    return received


def is_problem(response: httpx.Response, code: str) -> bool:
    """Test that an answer is problem details with a code, readable by any page and by its path's clients."""
    return (
        response.headers["content-type"] == "application/problem+json"
        and response.headers["access-control-allow-origin"] == "*"
        and response.headers["x-content-type-options"] == "nosniff"
        and response.json()["code"] == code
        and response.json()["status"] == response.status_code
        and sentence_of(response) == response.json()["detail"]
    )


def sentence_of(response: httpx.Response) -> object:
    """Return what clients show of an error: Hugging Face's at `/`, OpenAI's at other paths."""
    error = response.json()["error"]
    return error if isinstance(error, str) else error["message"]


@contextmanager
def waiting(address: Address, server: Server, count: int) -> Iterator[None]:
    """Hold `count` requests that the server has received and does not answer yet."""
    with ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection(address, PATIENCE_S))
            connection.sendall(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
            assert server.waiting.acquire(timeout=PATIENCE_S)
        yield
