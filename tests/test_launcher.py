"""Errors of the launcher say how to fix them. The `service` fixture covers starting and stopping."""

import io
import socket
import sys
from pathlib import Path

import pytest

from serve_app.edge import restarts
from serve_app.edge.edge import listen_on
from serve_app.edge.process import EdgeProcess
from serve_app.launch.error import OTHER, LaunchError
from serve_app.launch.progress import ProgressLine
from serve_app.launch.serve_process import ServeProcess
from serve_app.launcher import Service, main
from serve_app.machine import free_port
from serve_app.ray_token import RayToken
from tests.conftest import CONFIGS
from tests.launch.test_serve_process import fake_serve


def start(config: Path, port: int) -> None:
    with Service(config, port, ProgressLine()):
        pytest.fail("the service must not start")


def test_what_keeps_it_from_starting_is_said_before_ray_starts() -> None:
    """tests/test_preflight.py has each cause."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LaunchError, match=f"Port {port} is taken by .*PORT={port + 1}"):
            start(CONFIGS / "nano.yaml", port)


def test_without_a_terminal_each_change_of_state_is_a_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    progress = ProgressLine()
    for elapsed, state in ((0.0, "starting Ray"), (0.5, "starting Ray"), (9.0, "RUNNING")):
        progress(elapsed, state)
    assert capsys.readouterr().out == "   0 s  starting Ray\n   9 s  RUNNING\n"


def test_a_service_that_ends_by_itself_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(fake_serve(tmp_path, "echo its last words")))
    output = io.StringIO()
    service = Service(CONFIGS / "nano.yaml", free_port(), ProgressLine(), output)
    service._serve = ServeProcess({}, RayToken("x"), tmp_path)
    with pytest.raises(LaunchError, match="ended by itself"):
        service.wait()
    assert output.getvalue() == "its last words\n"
    service.stop()
    assert service.processes() == []
    assert (service.log, service.dashboard_url, service.application()) == ("", None, {})


def test_an_edge_that_always_ends_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restarts, "_MAX_RESTARTS", 1)
    monkeypatch.setenv("RAY_SERVE_HAPROXY_BINARY_PATH", "/bin/true")
    monkeypatch.setattr(sys, "executable", str(fake_serve(tmp_path, "exec sleep 60")))
    service = Service(CONFIGS / "nano.yaml", free_port(), ProgressLine())
    service._serve = ServeProcess({}, RayToken("x"), tmp_path)
    with listen_on(service.address) as listener, EdgeProcess(listener, lambda _: "") as edge:
        service._edge = edge
        with pytest.raises(LaunchError, match="HAProxy has ended with status 0") as caught:
            service.wait()
    assert caught.value.exit_code == OTHER
    service.stop(0.1)


@pytest.mark.parametrize("port", ["0", "-1", "65536", "99999", "9" * 5000, "8000.0", "http"])
def test_a_port_that_no_machine_has_is_a_wrong_option(
    port: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["launcher", "nano", f"--port={port}"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "is not a port: 1 to 65535" in capsys.readouterr().err
