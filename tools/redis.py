"""A private Redis server of Debian's package, for tests and benchmarks."""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from serve_app.machine import free_port

START_S = 60.0
PASSWORD = "a-password-of-tests"


@contextmanager
def redis_server(port: int | None = None) -> Iterator[str]:
    """Run a server that keeps nothing on disk; yield its address."""
    port = port or free_port()
    with tempfile.TemporaryDirectory(prefix="musicgen-serve-redis-") as folder:
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", folder]
        command += ["--save", "", "--appendonly", "no", "--requirepass", PASSWORD]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                _wait_for(port)
                yield f"redis://:{PASSWORD}@127.0.0.1:{port}/0"
            finally:
                process.terminate()


def _wait_for(port: int) -> None:
    client = redis.Redis(port=port, password=PASSWORD)
    until = time.monotonic() + START_S
    while True:
        try:
            client.ping()
            break
        except redis.ConnectionError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
    client.close()
