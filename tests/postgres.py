"""A private PostgreSQL server of Debian's packages, and PgBouncer in front of it.

The server runs as the user `postgres` where the tests run as root, which PostgreSQL refuses. It
listens on the loopback interface only.
"""

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from serve_app.machine import free_port

_PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda one: int(one.parent.name))
_START_S = 30
_CONFIGURATION = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 60
fsync = off  # the server may crash in a test, the machine does not
password_encryption = scram-sha-256
"""


def needed(program: str | Path, package: str) -> None:
    """Skip the test without the program; fail on a machine that checks changes."""
    if shutil.which(program) is None:
        reason = f"{package} is not installed: `apt-get install {package}` (Debian)"
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)


@dataclass
class PostgresServer:
    """A server in a folder of its own, with a password."""

    folder: Path
    port: int = field(default_factory=free_port)
    password: str = field(default_factory=lambda: secrets.token_hex(8))

    def url(self, database: str = "postgres", port: int | None = None) -> str:
        address = f"127.0.0.1:{port or self.port}"
        return f"postgresql://postgres:{self.password}@{address}/{database}"

    def create(self) -> None:
        """Initialize the server's files."""
        file = self.folder / "password"
        file.write_text(self.password)
        give_to_postgres(self.folder)
        self._run("initdb", "-A", "scram-sha-256", "-U", "postgres", "--pwfile", str(file))
        settings = self.folder / "data" / "postgresql.auto.conf"
        settings.write_text(f"{_CONFIGURATION}port = {self.port}\n")

    def start(self) -> None:
        self._run("pg_ctl", "start", "-w", "-t", str(_START_S), "-l", str(self.folder / "log"))

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server. mode: of pg_ctl; `immediate` is a crash."""
        self._run("pg_ctl", "stop", "-w", "-m", mode)

    def new_database(self) -> str:
        """Create an empty database; return its name."""
        name = f"test_{secrets.token_hex(6)}"
        self.execute(f"create database {name}")
        return name

    def execute(self, sql: str, database: str = "postgres") -> None:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(sql)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(_PROGRAMS[-1] / program), "-D", str(self.folder / "data"), *arguments]
        with (self.folder / "errors").open("w") as errors:
            done = subprocess.run(
                as_postgres(command),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # the server keeps what it inherits
                stderr=errors,
                check=False,
            )
        assert done.returncode == 0, (self.folder / "errors").read_text()


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Run a server of its own until the block ends."""
    needed(_PROGRAMS[-1] / "initdb" if _PROGRAMS else "initdb", "postgresql")
    with tempfile.TemporaryDirectory(prefix="musicgen-serve-postgres-") as folder:
        server = PostgresServer(Path(folder))
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop()


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
    deadline = time.monotonic() + _START_S
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            assert process.poll() is None, "PgBouncer has ended"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


def give_to_postgres(folder: Path) -> None:
    """Let the user `postgres` own a folder, where the tests run as root."""
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, "postgres", "postgres")


def as_postgres(command: Sequence[str]) -> list[str]:
    """Change a command so that root runs it as the user `postgres`."""
    if os.geteuid() != 0:
        return list(command)
    user = pwd.getpwnam("postgres")
    group = f"--regid={user.pw_gid}"
    return ["setpriv", f"--reuid={user.pw_uid}", group, "--clear-groups", *command]
