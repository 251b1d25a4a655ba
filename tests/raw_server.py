"""A server of raw bytes, for answers that no HTTP server would send."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_PATIENCE_S = 60


class RawServer:
    """Answers each connection with the next of the given byte strings, and closes it.

    answers: the last one is repeated; None closes the connection without an answer.
    requests: what clients have sent, head and body, as far as it is complete.
    """

    def __init__(self, answers: list[bytes | None]) -> None:
        self.requests: list[bytes] = []
        self._answers = answers
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self._connection = self._listener  # the one that is served now

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with suppress(OSError):  # a client that keeps its connection open is not waited for
            self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connection = connection
            with connection, suppress(OSError):  # the client may leave at any time
                connection.settimeout(_PATIENCE_S)
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        request = _read_request(connection)
        if request is None:
            return
        self.requests.append(request)
        answer = self._answers[min(len(self.requests), len(self._answers)) - 1]
        if answer is not None:
            connection.sendall(answer)


@contextmanager
def raw_server(*answers: bytes | None) -> Iterator[RawServer]:
    """Run a RawServer in a thread."""
    server = RawServer(list(answers))
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def refusing_port() -> Iterator[int]:
    """Hold a port of the loopback interface on which nothing listens: connections are refused."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])


def answer(status: str, body: bytes = b"", *headers: str, length: int | None = None) -> bytes:
    """An HTTP answer. length: what `content-length` says, if not the truth."""
    lines = [
        f"HTTP/1.1 {status}",
        *headers,
        f"content-length: {len(body) if length is None else length}",
    ]
    return "\r\n".join([*lines, "connection: close", "", ""]).encode() + body


def _read_request(connection: socket.socket) -> bytes | None:
    """Read head and body; None if the client leaves before their end."""
    data = b""
    while not _is_complete(data):
        part = connection.recv(65_536)
        if not part:
            return None
        data += part
    return data


def _is_complete(data: bytes) -> bool:
    head, end, body = data.partition(b"\r\n\r\n")
    return bool(end) and len(body) >= _content_length(head)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0
