"""A receiver of webhooks: an HTTP server that records what it gets."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import time

from serve_app.jobs.delivery import DeliveryLoop
from tests.jobs.patience import PATIENCE_S


@dataclass(frozen=True)
class Received:
    """One message. at: Unix time of its arrival."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=time)


class Receiver:
    """Answers each message with the next of `answers` (a status, headers); the last one is repeated."""

    def __init__(self, answers: list[tuple[int, dict[str, str]]]) -> None:
        self.received: list[Received] = []
        self.arrived = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._counted = threading.Condition()
        self.answered = 0
        self.contents: dict[str, bytes] = {}  # by path, for GET
        self._answers = answers
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/hook"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.may_answer.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def expect(self, count: int) -> None:
        """Wait until so many messages are answered. Raises TimeoutError."""
        with self._counted:
            if not self._counted.wait_for(lambda: self.answered >= count, timeout=PATIENCE_S):
                raise TimeoutError(f"{self.answered} of {count} messages were answered")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.received.append(Received(self.path, headers, body))
                receiver.may_answer.wait()
                number = min(len(receiver.received), len(receiver._answers)) - 1
                status, sent = receiver._answers[number]
                self.send_response(status)
                for name, value in (sent | {"content-length": "0"}).items():
                    self.send_header(name, value)
                self.end_headers()
                receiver.arrived.set()
                with receiver._counted:
                    receiver.answered += 1
                    receiver._counted.notify_all()

            def do_GET(self) -> None:
                content = receiver.contents.get(self.path)
                self.send_response(404 if content is None else 200)
                self.send_header("content-length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        return Handler


@contextmanager
def receiver(*answers: int | tuple[int, dict[str, str]]) -> Iterator[Receiver]:
    """Run a receiver in a thread; it answers 204 unless told otherwise."""
    given = [one if isinstance(one, tuple) else (one, {}) for one in answers or (204,)]
    server = Receiver(given)
    server.start()
    try:
        yield server
    finally:
        server.stop()


async def deliver_once(loop: DeliveryLoop) -> int:
    """Send the messages that are due, as the loop does in a round; return their number."""
    due = await loop._due(())
    await asyncio.gather(*(loop._deliver(one) for one in due))
    return len(due)
