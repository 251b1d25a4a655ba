"""Whether the hub answers is known within seconds, whatever the network does."""

import socket
import time

import pytest

from serve_app import hub_reachability
from serve_app.hub_reachability import hub_endpoint, hub_is_reachable
from tests.raw_server import answer, raw_server

PATIENCE_S = 60.0  # a busy machine is slow; only a failing test waits as long


@pytest.fixture(autouse=True)
def _online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


def test_an_offline_hub_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_server(answer("200 OK")) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        assert not hub_is_reachable()
        assert server.requests == []


@pytest.mark.parametrize(
    ("status", "reachable"),
    [("200 OK", True), ("401 No", True), ("404 No", True), ("502 Bad Gateway", False)],
)
def test_an_answer(monkeypatch: pytest.MonkeyPatch, status: str, reachable: bool) -> None:
    with raw_server(answer(status)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        assert hub_is_reachable(PATIENCE_S) is reachable


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "http://a:b", "hub"])
def test_no_answer(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert not hub_is_reachable()


def test_silence_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        started_at = time.monotonic()
        assert not hub_is_reachable(patience_s=0.2)
        assert time.monotonic() - started_at < PATIENCE_S


def test_the_public_hub_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    assert hub_endpoint() == hub_reachability.DEFAULT_ENDPOINT
