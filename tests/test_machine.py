"""Memory and ports of this machine."""

import socket
from pathlib import Path

import psutil
import pytest

from serve_app import machine


def test_memory_is_in_gib(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = psutil.virtual_memory()._replace(available=3 * 2**29)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    assert machine.free_memory_gib() == 1.5


def test_a_port_is_taken_while_something_listens() -> None:
    port = machine.free_port()
    assert machine.port_is_free(port)
    with socket.create_server(("127.0.0.1", port)):
        assert not machine.port_is_free(port)


def test_a_chosen_port_is_given_to_nobody_else() -> None:
    """The kernel takes the ports of outgoing connections from its ephemeral range, Ray up to 19999."""
    ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(20_000 <= machine.free_port() < ephemeral for _ in range(100))


def test_no_free_port_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "port_is_free", lambda _: False)
    with pytest.raises(OSError, match="No port from 20000 to 32767 is free"):
        machine.free_port()
