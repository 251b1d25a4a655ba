"""A private PostgreSQL server of Debian's packages, for tests and benchmarks.

The server runs as the user `postgres` where the caller is root, which PostgreSQL refuses. It
listens on the loopback interface only.
"""

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from serve_app.machine import free_port

_PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda one: int(one.parent.name))
START_S = 30
_CONFIGURATION = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 60
password_encryption = scram-sha-256
"""


class PostgresError(RuntimeError):
    """The server cannot be started or stopped."""


@dataclass
class PostgresServer:
    """A server in a folder of its own, with a password.

    durable: whether a commit survives a crash of the machine, at the price of a flush to the disk.
    """

    folder: Path
    durable: bool = True
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
        flushes = "on" if self.durable else "off"
        settings = self.folder / "data" / "postgresql.auto.conf"
        settings.write_text(f"{_CONFIGURATION}fsync = {flushes}\nport = {self.port}\n")

    def start(self) -> None:
        self._run("pg_ctl", "start", "-w", "-t", str(START_S), "-l", str(self.folder / "log"))

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
        """Run a program of the server. Raises PostgresError."""
        command = [str(program_of(program)), "-D", str(self.folder / "data"), *arguments]
        with (self.folder / "errors").open("w") as errors:
            done = subprocess.run(
                as_postgres(command),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # the server keeps what it inherits
                stderr=errors,
                check=False,
            )
        if done.returncode != 0:
            raise PostgresError(f"{program} failed: {(self.folder / 'errors').read_text()}")


def program_of(name: str) -> Path:
    """Find a program of the newest server that is installed; its bare name where none is."""
    return _PROGRAMS[-1] / name if _PROGRAMS else Path(name)


@contextmanager
def postgres_server(*, durable: bool = True) -> Iterator[PostgresServer]:
    """Run a server of its own until the block ends. Raises PostgresError."""
    if shutil.which(program_of("initdb")) is None:
        raise PostgresError("PostgreSQL is not installed: `apt-get install postgresql` (Debian)")
    with tempfile.TemporaryDirectory(prefix="musicgen-serve-postgres-") as folder:
        server = PostgresServer(Path(folder), durable)
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop()


def give_to_postgres(folder: Path) -> None:
    """Let the user `postgres` own a folder, where the caller is root."""
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
