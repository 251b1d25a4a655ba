"""Taken ports are named with their owner; missing weights are a problem only where they are needed."""

import os
import socket
from pathlib import Path

import pytest

from serve_app.config.app import AppConfig
from serve_app.doctor import Level, network
from serve_app.doctor.network import check_ports, check_weights
from serve_app.machine import free_port
from tests.architectures import put_in_cache

NANO = "embedded:musicgen-nano"


def app(*sources: str) -> AppConfig:
    models = [
        {"model_loading_config": {"model_id": f"m{number}", "model_source": source}}
        for number, source in enumerate(sources)
    ]
    return AppConfig.model_validate({"models": models})


@pytest.fixture(autouse=True)
def _free_dashboard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_DASHBOARD_PORT", free_port())


def reach(monkeypatch: pytest.MonkeyPatch, is_reachable: bool) -> None:
    monkeypatch.setattr(network, "hub_is_reachable", lambda: is_reachable)


def test_free_ports() -> None:
    http = free_port()
    grpc = free_port()
    [found] = check_ports({"grpc_options": {"port": grpc}}, http)
    assert found.level is Level.OK
    assert found.state == f"{http} (HTTP), {grpc} (gRPC) free; Ray takes others that are free"


def test_a_taken_port_is_named_with_its_owner() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        [found] = check_ports({}, port)
    assert found.level is Level.PROBLEM
    assert found.state.startswith(f"{port} (HTTP) is taken by ")
    assert found.state.endswith(f"(process {os.getpid()})")
    assert "--port" in found.advice


def test_a_taken_dashboard_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(network, "_DASHBOARD_PORT", taken.getsockname()[1])
        found = list(check_ports({}, free_port()))
    assert [finding.level for finding in found] == [Level.OK, Level.NOTE]


def test_offline_is_a_note_where_the_weights_are_here(monkeypatch: pytest.MonkeyPatch) -> None:
    reach(monkeypatch, False)
    found = list(check_weights(app(NANO)))
    assert [finding.level for finding in found] == [Level.OK, Level.NOTE]


def test_offline_is_a_problem_where_weights_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    reach(monkeypatch, False)
    found = list(check_weights(app(NANO, "facebook/musicgen-none")))
    assert [finding.level for finding in found] == [Level.OK, Level.PROBLEM]
    assert "facebook/musicgen-none is not in the cache, and the hub" in found[1].state


def test_missing_weights_are_fetched_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    reach(monkeypatch, True)
    [found] = check_weights(app("facebook/musicgen-none"))
    assert found.level is Level.OK
    assert found.state == "facebook/musicgen-none: not in the cache yet; the hub answers"


def test_folders_and_the_cache_need_no_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hub_cache: Path
) -> None:
    def write(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"weights")

    put_in_cache(hub_cache, "me/cached", write)
    reach(monkeypatch, False)
    first, second = check_weights(app("me/cached", str(tmp_path)))
    assert first.state == f"me/cached, {tmp_path}: here"
    assert second.level is Level.NOTE


def test_a_source_that_is_no_id_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    reach(monkeypatch, False)
    [found] = check_weights(app("a/b/c"))
    assert found.level is Level.PROBLEM
