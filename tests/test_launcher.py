"""Errors of the launcher say how to fix them. The `service` fixture covers starting and stopping."""

import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from serve_app.launch_error import LaunchError
from serve_app.launch_progress import ProgressLine
from serve_app.launcher import Service
from serve_app.machine import free_port
from tests.conftest import CONFIGS


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


def test_a_service_that_ends_by_itself_is_an_error() -> None:
    service = Service(CONFIGS / "nano.yaml", free_port(), ProgressLine())
    with tempfile.TemporaryDirectory() as folder, subprocess.Popen(["true"], text=True) as process:
        (Path(folder) / "serve.log").write_text("")
        service._file = lambda name: Path(folder) / name  # type: ignore[method-assign]
        service._process = process
        with pytest.raises(LaunchError, match="ended by itself"):
            service.wait()
