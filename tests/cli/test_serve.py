"""`musicgen serve` starts the embedded model's configuration and stops on Ctrl-C."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from serve_app.cli.serve import NANO
from serve_app.config.files import find_config
from serve_app.machine import free_port
from tests.cli.conftest import Run
from tests.conftest import CONFIGS


def test_the_default_configuration_is_the_embedded_models() -> None:
    assert find_config(NANO).resolve() == CONFIGS.resolve() / "nano.yaml"


def test_a_missing_configuration_is_an_error(run: Run, tmp_path: Path) -> None:
    result = run("serve", tmp_path / "none.yaml")
    assert result.exit_code == 2
    message = " ".join(result.stderr.split())
    assert "is not a readable YAML file" in message
    assert "This package has: all, large, medium, nano, small." in message


@pytest.mark.long
def test_it_serves_until_ctrl_c() -> None:
    port = free_port()
    command = [sys.executable, "-m", "serve_app.cli.app", "serve", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        try:
            ready = next(line for line in process.stdout if line.startswith("http://"))
            assert ready == f"http://127.0.0.1:{port}  API: http://127.0.0.1:{port}/docs\n"
            health = httpx.get(f"http://127.0.0.1:{port}/health").json()
            children = psutil.Process(process.pid).children(recursive=True)
        finally:
            process.send_signal(signal.SIGINT)
            output = process.stdout.read()
    assert health["status"] == "healthy"
    assert process.returncode == 0
    assert output.endswith("Stopped.\n")
    assert [child for child in children if child.is_running()] == []
