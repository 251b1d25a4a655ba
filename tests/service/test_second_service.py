"""A second service on the same machine, whose launcher is killed."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from time import monotonic, sleep

import httpx
import psutil
import pytest

from serve_app.edge.edge import listen_on
from serve_app.edge.haproxy import Address
from serve_app.launcher import Service
from serve_app.machine import free_port
from tests.conftest import CONFIGS
from tests.service.conftest import GENERATIONS, PATIENCE_S

STARTED_S = 420.0  # on a machine whose cores are all busy


@pytest.mark.long
def test_two_services_fit_and_a_killed_launcher_leaves_nothing(service: Service) -> None:
    """Its port is free again, and the first service goes on."""
    address = Address("127.0.0.1", free_port())
    command = [sys.executable, "-m", "serve_app.launcher", str(CONFIGS / "nano.yaml")]
    with subprocess.Popen(
        [*command, "--port", str(address.port)], stdout=subprocess.DEVNULL, env=os.environ
    ) as launcher:
        wait_until_healthy(f"http://{address}/health", launcher)
        body = {"prompt": "a", "duration_s": 0.5, "seed": 1}
        answers = {
            httpx.post(f"{url}{GENERATIONS}", json=body, timeout=PATIENCE_S).content
            for url in (service.url, f"http://{address}")
        }
        assert len(answers) == 1
        children = psutil.Process(launcher.pid).children(recursive=True)
        assert len(children) > 5
        launcher.send_signal(signal.SIGKILL)
    _, left = psutil.wait_procs(children, timeout=PATIENCE_S)
    assert left == []
    with listen_on(address):
        assert httpx.get(f"{service.url}/health", timeout=PATIENCE_S).status_code == 200


def wait_until_healthy(url: str, launcher: "subprocess.Popen[bytes]") -> None:
    """Poll a service that is starting: its edge answers 503 from the beginning."""
    deadline = monotonic() + STARTED_S
    while True:
        with suppress(httpx.TransportError):  # the launcher itself is starting
            if httpx.get(url, timeout=PATIENCE_S).status_code == 200:
                return
        assert launcher.poll() is None, "it has ended"
        assert monotonic() < deadline
        sleep(0.5)
