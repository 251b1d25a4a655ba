"""A local stand-in for the metadata services of AWS (IMDSv2) and Google Cloud, strict about their headers."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GCP_PREFIX = "/computeMetadata/"


class MetadataService(ThreadingHTTPServer):
    """Answers with `values` by path; AWS's paths need a token that it has given, Google's their header."""

    daemon_threads = True

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.tokens: set[str] = set()
        self.fails = False
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: MetadataService

    def do_PUT(self) -> None:
        lifetime = int(self.headers["X-aws-ec2-metadata-token-ttl-seconds"])
        if self.path != "/latest/api/token" or not 1 <= lifetime <= 21_600:
            return self._answer(400, "")
        token = f"token-{len(self.server.tokens)}"
        self.server.tokens = {token}
        return self._answer(200, token)

    def do_GET(self) -> None:
        if self.server.fails:
            return self._answer(500, "")
        if self.path.startswith(GCP_PREFIX):
            if self.headers["Metadata-Flavor"] != "Google":
                return self._answer(403, "")
        elif self.headers["X-aws-ec2-metadata-token"] not in self.server.tokens:
            return self._answer(401, "")
        value = self.server.values.get(self.path)
        return self._answer(404, "") if value is None else self._answer(200, value)

    def _answer(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the tests' output stays readable."""


@contextmanager
def metadata_service() -> Iterator[MetadataService]:
    with MetadataService() as service:
        thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield service
        service.shutdown()
        thread.join()
