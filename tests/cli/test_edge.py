"""`musicgen edge` runs the edge alone."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from serve_app.edge import restarts
from serve_app.machine import free_port
from tests.cli.conftest import Run
from tests.conftest import CONFIGS
from tests.edge.conftest import LOOPBACK, PATIENCE_S, Server, get, refusing_address
from tests.edge.conftest import server as server


@contextmanager
def started(upstream: str, *options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run `musicgen edge` in front of HOST:PORT; return its process and its port."""
    port = free_port()
    command = [sys.executable, "-m", "serve_app.cli.app", "edge", str(CONFIGS / "nano.yaml")]
    where = ["--port", str(port), "--upstream", upstream]
    with subprocess.Popen(
        [*command, *where, *options], stdout=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == (
                f"The edge listens on 127.0.0.1:{port} and passes requests to {upstream}.\n"
            )
            yield process, port
        finally:
            process.kill()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_runs_until_it_is_ended(ending: signal.Signals) -> None:
    with refusing_address() as upstream, started(str(upstream)) as (edge, port):
        response = get(f"http://{LOOPBACK}:{port}/health")
        edge.send_signal(ending)
        assert edge.wait(PATIENCE_S) == 0
        with pytest.raises(httpx.ConnectError):
            get(f"http://{LOOPBACK}:{port}/health")
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")


def address_of(server: Server) -> str:
    return f"{LOOPBACK}:{server.server_port}"


def wait_until_refused(port: int) -> None:
    """Connect until nobody listens any more. A connect while the listener closes may be reset."""
    with suppress(ConnectionError):
        while True:
            socket.create_connection((LOOPBACK, port), PATIENCE_S).close()


def test_a_drain_ends_with_the_requests_under_way(server: Server) -> None:
    with (
        started(address_of(server), "--drain", str(10 * PATIENCE_S)) as (edge, port),
        httpx.Client(timeout=PATIENCE_S) as idle,
        ThreadPoolExecutor(1) as pool,
    ):
        assert idle.get(f"http://{LOOPBACK}:{port}/").status_code == 200
        call = pool.submit(get, f"http://{LOOPBACK}:{port}/wait")
        assert server.waiting.acquire(timeout=PATIENCE_S)
        edge.terminate()
        wait_until_refused(port)
        server.released.set()
        assert call.result().status_code == 200
        assert edge.wait(PATIENCE_S) == 0, "the idle connection does not keep it"


def test_a_drain_has_an_end(server: Server) -> None:
    with (
        started(address_of(server), "--drain", "0.5") as (edge, port),
        ThreadPoolExecutor(1) as pool,
    ):
        call = pool.submit(get, f"http://{LOOPBACK}:{port}/wait")
        assert server.waiting.acquire(timeout=PATIENCE_S)
        edge.terminate()
        assert edge.wait(PATIENCE_S) == 0
        assert isinstance(call.exception(), httpx.HTTPError)


def test_a_file_that_is_no_configuration_is_an_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("[1]")
    (tmp_path / "other.yaml").write_text("applications: [{args: {edge: 1}}]")
    for name, message in (
        ("none.yaml", "is not a readable YAML file"),
        ("list.yaml", "has no 'applications'"),
        ("other.yaml", "other.yaml: The application's args are not valid"),
    ):
        result = run("edge", tmp_path / name)
        assert result.exit_code == 2
        assert message in result.stderr


def test_wrong_options_are_errors(run: Run, tmp_path: Path) -> None:
    config = CONFIGS / "nano.yaml"
    for options, message in (
        (["--upstream", "8000"], "--upstream is HOST:PORT with a port of 1 to 65535, not '8000'"),
        (["--upstream", "a:99999"], "a port of 1 to 65535, not 'a:99999'"),
        (["--tls-cert", tmp_path / "a.pem"], "HTTPS needs both --tls-cert and --tls-key"),
        (["--host", "0.0.0.0"], "without API keys"),
        (["--host", "no.invalid"], "cannot listen on no.invalid:8100: "),
        (["--host", "a..b"], "cannot listen on a..b:8100: "),
        (
            ["--host", "192.0.2.1"],
            "192.0.2.1:8100: Cannot assign requested address. Choose another",
        ),
    ):
        result = run("edge", config, *options)
        assert result.exit_code == 2
        assert message in result.stderr


def test_an_haproxy_that_always_ends_is_given_up(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RAY_SERVE_HAPROXY_BINARY_PATH", "/bin/true")
    monkeypatch.setattr(restarts, "_MAX_RESTARTS", 1)
    result = run("edge", CONFIGS / "nano.yaml", "--port", free_port())
    assert result.exit_code == 1
    assert "HAProxy has ended with status 0; its last output: none." in result.stderr
    assert "RAY_SERVE_HAPROXY_BINARY_PATH" in result.stderr
    assert "It is restarted in 0 s." in caplog.text
