"""HAProxy as a child process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from serve_app.edge.edge import listen_on
from serve_app.edge.edge_error import EdgeError
from serve_app.edge.haproxy import Address
from serve_app.edge.process import EdgeProcess
from serve_app.machine import free_port, port_owner
from tests.edge.conftest import LOOPBACK, PATIENCE_S, get

CONFIGURATION = """
defaults
  mode http
  timeout client 60s
frontend all
  bind {}
  http-request return status 200
"""
EDGE_OF_ITS_OWN = """
import sys
from serve_app.edge.edge import listen_on
from serve_app.edge.haproxy import Address
from serve_app.edge.process import EdgeProcess
with listen_on(Address("127.0.0.1", int(sys.argv[1]))) as listener:
    with EdgeProcess(listener, lambda bind: sys.argv[2].format(bind)) as edge:
        print(edge.process.pid, flush=True)
        sys.stdin.read()
"""


def test_it_serves_until_the_context_ends() -> None:
    address = Address(LOOPBACK, free_port())
    with listen_on(address) as listener:
        with EdgeProcess(listener, lambda bind: CONFIGURATION.format(bind)) as edge:
            assert get(f"http://{address}").status_code == 200
            pid = edge.process.pid
            assert psutil.Process(pid).cmdline()[0] == "haproxy"
            assert port_owner(address.port) in {
                f"haproxy ({pid})",
                f"{psutil.Process().name()} ({os.getpid()})",
            }
        assert not psutil.pid_exists(pid)


def test_it_can_be_restarted_after_a_crash_without_losing_a_connection() -> None:
    address = Address(LOOPBACK, free_port())
    with (
        listen_on(address) as listener,
        EdgeProcess(listener, lambda bind: CONFIGURATION.format(bind)) as edge,
    ):
        assert get(f"http://{address}").status_code == 200
        assert not edge.ended()
        edge.process.send_signal(signal.SIGKILL)
        edge.process.wait()
        assert edge.ended()
        edge.restart()
        assert get(f"http://{address}").status_code == 200


def test_a_refused_configuration_is_an_error_with_haproxys_words() -> None:
    with listen_on(Address(LOOPBACK, free_port())) as listener:
        edge = EdgeProcess(listener, lambda _: "frontend all\n  bind nowhere\n")
        with pytest.raises(EdgeError, match=r"refuses its configuration: .*nowhere[^\n]*$"), edge:
            pytest.fail("it must not start")
        with pytest.raises(EdgeError, match="not running"):
            edge.ended()


def test_it_ends_with_its_parent_and_its_port_is_free_again() -> None:
    """The parent is killed, so that it cannot end the edge itself."""
    address = Address(LOOPBACK, free_port())
    command = [sys.executable, "-c", EDGE_OF_ITS_OWN, str(address.port), CONFIGURATION]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
    ) as parent:
        assert parent.stdout is not None
        edge = psutil.Process(int(parent.stdout.readline()))
        assert get(f"http://{address}").status_code == 200
        parent.kill()
    psutil.wait_procs([edge], timeout=PATIENCE_S)
    assert not edge.is_running()
    with listen_on(address):
        assert True


@pytest.mark.parametrize("content", [None, b"no program"])
def test_a_haproxy_that_cannot_be_started_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    program = tmp_path / "haproxy"
    if content is not None:
        program.write_bytes(content)
        program.chmod(0o755)
    monkeypatch.setenv("RAY_SERVE_HAPROXY_BINARY_PATH", str(program))
    with (
        listen_on(Address(LOOPBACK, free_port())) as listener,
        pytest.raises(EdgeError, match=f"HAProxy cannot be started: .*{program}"),
        EdgeProcess(listener, lambda bind: CONFIGURATION.format(bind)),
    ):
        pytest.fail("it must not start")
