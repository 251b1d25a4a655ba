"""Memory, GPUs and ports of this machine."""

import random
import shutil
import socket
from pathlib import Path

import psutil

GIB = 2**30
NEEDED_MEMORY_GIB = 2.0  # Ray with one small replica
HIGHEST_PORT = 65_535
_LOOPBACK = "127.0.0.1"
_SEARCHED_PORTS = range(20_000, 32_768)  # above Ray's workers, below the kernel's ephemeral ports


def free_memory_gib() -> float:
    """Return the memory that programs can still take, in GiB."""
    return float(psutil.virtual_memory().available / GIB)


def has_nvidia_gpu() -> bool:
    """Whether NVIDIA's driver is there: its devices, or its command where it has no devices (WSL)."""
    return nvidia_gpus() > 0


def nvidia_gpus() -> int:
    """Count the devices of NVIDIA's driver; 1 where it has its command alone (WSL)."""
    devices = len(list(Path("/dev").glob("nvidia[0-9]*")))
    return devices or int(shutil.which("nvidia-smi") is not None)


def is_port(text: str) -> bool:
    """Test that a text is a port that clients can be told: 1 to HIGHEST_PORT."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(HIGHEST_PORT))
    return is_number and 1 <= int(text) <= HIGHEST_PORT


def port_is_free(port: int) -> bool:
    """Test that nothing listens on `port` of the loopback interface."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except OSError:
            return False
    return True


def port_owner(port: int) -> str | None:
    """Name the process that listens on `port`, as `NAME (PID)`; None where that is not to be seen."""
    try:
        for connection in psutil.net_connections("tcp"):
            is_there = getattr(connection.laddr, "port", None) == port
            if is_there and connection.status == psutil.CONN_LISTEN and connection.pid is not None:
                return f"{_name_of(psutil.Process(connection.pid))} ({connection.pid})"
    except psutil.Error:
        return None
    return None


def _name_of(process: psutil.Process) -> str:
    """Return the name of a process; a program that runs from memory has a number for its own."""
    name = process.name()
    return Path(process.cmdline()[0]).name if name.isdecimal() else name


def free_port() -> int:
    """Choose a port of the loopback interface that is free now.

    Neither Ray's workers nor outgoing connections are given ports of the range that is searched,
    so the port stays free until its owner listens. Raises OSError if the whole range is taken.
    """
    for port in random.sample(_SEARCHED_PORTS, len(_SEARCHED_PORTS)):
        if port_is_free(port):
            return port
    raise OSError(f"No port from {_SEARCHED_PORTS.start} to {_SEARCHED_PORTS.stop - 1} is free.")
