"""Memory and ports of this machine."""

import socket

import psutil

GIB = 2**30
NEEDED_MEMORY_GIB = 2.0  # Ray with one small replica
_LOOPBACK = "127.0.0.1"


def free_memory_gib() -> float:
    """Return the memory that programs can still take, in GiB."""
    return float(psutil.virtual_memory().available / GIB)


def port_is_free(port: int) -> bool:
    """Test that nothing listens on `port` of the loopback interface."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Choose a port of the loopback interface that is free at the moment."""
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])
