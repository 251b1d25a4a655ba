"""This machine's memory and ports."""

import socket

import psutil

GIB = 2**30
NEEDED_MEMORY_GIB = 2.0  # by Ray with one small replica
_LOOPBACK = "127.0.0.1"


def free_memory_gib() -> float:
    return float(psutil.virtual_memory().available / GIB)


def port_is_free(port: int) -> bool:
    """Whether nothing listens on it, on the loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port that nothing listens on at the moment."""
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])
