"""A private PostgreSQL server of Debian's packages, and PgBouncer in front of it."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from serve_app.machine import free_port
from tools.postgres import START_S, PostgresServer, as_postgres, give_to_postgres, program_of
from tools.postgres import postgres_server as running_server

__all__ = ["PostgresServer", "needed", "pgbouncer", "postgres_server"]


def needed(program: str | Path, package: str) -> None:
    """Skip the test without the program; fail on a machine that checks changes."""
    if shutil.which(program) is None:
        reason = f"{package} is not installed: `apt-get install {package}` (Debian)"
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Run a server of its own until the block ends. It may crash in a test, the machine does not."""
    needed(program_of("initdb"), "postgresql")
    with running_server(durable=False) as server:
        yield server


@contextmanager
def pgbouncer(server: PostgresServer) -> Iterator[int]:
    """Run PgBouncer with one connection for each transaction; yield its port."""
    needed("pgbouncer", "pgbouncer")
    with tempfile.TemporaryDirectory(prefix="musicgen-serve-pgbouncer-") as name:
        folder = Path(name)
        port = free_port()
        (folder / "users").write_text(f'"postgres" "{server.password}"\n')
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={server.port}\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {folder / 'users'}\n"
            "pool_mode = transaction\ndefault_pool_size = 3\n"
        )
        give_to_postgres(folder)
        command = as_postgres(["pgbouncer", str(folder / "pgbouncer.ini")])
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                _wait_for(server.url(port=port), process)
                yield port
            finally:
                process.terminate()


def _wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            assert process.poll() is None, "PgBouncer has ended"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return
