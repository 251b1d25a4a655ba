"""Reading of the dashboard's API, and its absence."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from serve_app.launch import ray_dashboard
from serve_app.launch.ray_dashboard import RayDashboard
from serve_app.machine import free_port
from tests.raw_server import answer, raw_server

APPLICATION = {"status": "DEPLOYING", "deployments": {}}
ANSWERS: dict[str, Any] = {
    "/api/serve/applications/": {"applications": {"musicgen": APPLICATION}},
    "/api/v0/nodes": {"data": {"result": {"result": [{"resources_total": {"CPU": 2.0}}]}}},
}


class Handler(BaseHTTPRequestHandler):
    """Answers a caller who has the token."""

    def do_GET(self) -> None:
        answer = ANSWERS[self.path.partition("?")[0]]
        self.send_response(200 if self.headers["Authorization"] == "Bearer t" else 401)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(ray_dashboard, "_TIMEOUT_S", 60.0)
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_it_reads_application_and_nodes(url: str) -> None:
    dashboard = RayDashboard(url, {"Authorization": "Bearer t"})
    assert dashboard.application() == APPLICATION
    assert dashboard.nodes() == [{"CPU": 2.0}]


def test_an_unavailable_dashboard_gives_nothing(url: str) -> None:
    for dashboard in (RayDashboard(url, {}), RayDashboard(f"http://127.0.0.1:{free_port()}", {})):
        assert dashboard.application() == {}
        assert dashboard.nodes() == []


def test_a_dashboard_that_ends_in_the_middle_of_an_answer_gives_nothing() -> None:
    begun = answer("200 OK", b'{"applications": {"musicgen": ', length=100)
    with raw_server(begun, b"HTTP/1", None) as server:
        dashboard = RayDashboard(server.url, {})
        assert [dashboard.application() for _ in range(3)] == [{}, {}, {}]
    assert len(server.requests) == 3
