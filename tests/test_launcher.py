"""Errors of the launcher say how to fix them. The `service` fixture covers starting and stopping."""

import socket
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from serve_app.launch_progress import ProgressLine
from serve_app.launcher import LaunchError, Service
from serve_app.machine import free_port
from tests.conftest import CONFIGS


def start(config: Path, port: int) -> None:
    with Service(config, port, ProgressLine()):
        pytest.fail("the service must not start")


def test_a_taken_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            LaunchError, match=rf"cannot listen on 127\.0\.0\.1:{port}: Address already in use"
        ):
            start(CONFIGS / "nano.yaml", port)


def test_a_lack_of_memory_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2**30))
    with pytest.raises(
        LaunchError, match=r"Only 1\.0 GiB of memory are free.*Close other programs"
    ):
        start(CONFIGS / "nano.yaml", free_port())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not a readable YAML file"),
        ("a: [", "is not a readable YAML file"),
        ("a: 1", "has no 'applications'"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(
    tmp_path: Path, content: str | None, message: str
) -> None:
    config = tmp_path / "config.yaml"
    if content is not None:
        config.write_text(content)
    with pytest.raises(LaunchError, match=message):
        start(config, free_port())


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
