"""Memory and ports of this machine."""

import socket

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
