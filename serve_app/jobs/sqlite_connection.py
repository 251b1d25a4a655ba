"""Connections to an SQLite file, and transactions on them."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from serve_app.errors import ConfigError
from serve_app.jobs.database import Dialect, Row, Statement, Transaction
from serve_app.jobs.errors import JobStoreUnavailable
from serve_app.jobs.migrations import migrations_of, missing
from serve_app.jobs.network_files import refuse_network_files

T = TypeVar("T")
BUSY_S = 30.0
_DIALECT = Dialect(now="((julianday('now') - 2440587.5) * 86400.0)", db="", lock="", skip_locked="")
_REASONS = {
    sqlite3.SQLITE_FULL: "its disk is full",
    sqlite3.SQLITE_BUSY: "another process has locked it",
    sqlite3.SQLITE_READONLY: "its file cannot be written",
    sqlite3.SQLITE_IOERR: "its disk failed",
    sqlite3.SQLITE_CANTOPEN: "its file cannot be opened",
    sqlite3.SQLITE_CORRUPT: "its file is damaged",
    sqlite3.SQLITE_NOTADB: "its file is not an SQLite database",
}
_RESULT_CODE = 0xFF  # the rest tells more of it
# Faults at the start that pass while the configuration stays as it is.
_PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE)
_PASSING_CODES = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_IOERR)


def prepare(path: Path) -> None:
    """Create the folder and the file, for this user alone. Raises ConfigError."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        refuse_network_files(path.resolve().parent)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        if error.errno in _PASSING:
            raise JobStoreUnavailable(
                f"The database of jobs cannot be used: {error.strerror}."
            ) from error
        raise ConfigError(
            f"The job store {path} cannot be written ({error.strerror}): give this user the right to"
            " write its folder, or name another file in jobs.store."
        ) from error


def connect(path: Path) -> sqlite3.Connection:
    """Open a connection whose commits survive a power cut. Used by one thread at a time."""
    connection = sqlite3.connect(
        path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
    )
    connection.row_factory = sqlite3.Row
    for pragma in ("journal_mode = wal", "synchronous = full", "foreign_keys = on"):
        connection.execute(f"pragma {pragma}")
    connection.execute("pragma secure_delete = on")  # a deleted prompt is overwritten
    return connection


def run_steps(connection: sqlite3.Connection, transaction: Transaction[T]) -> T:
    """Run the statements of a transaction that has begun."""
    steps = transaction()
    try:
        wanted = next(steps)
        while True:
            wanted = steps.send(_rows(connection, wanted))
    except StopIteration as stop:
        result: T = stop.value
        return result


def _rows(connection: sqlite3.Connection, wanted: Statement) -> list[Row]:
    return connection.execute(_DIALECT.text(wanted.sql), wanted.parameters).fetchall()


def migrate(path: Path) -> list[str]:
    """Apply the missing migrations, one process at a time; return their names."""
    try:
        with _closing(path) as connection, transaction_of(connection):
            return _apply(connection)
    except sqlite3.Error as error:
        if _code(error) in _PASSING_CODES:
            raise translated(error) from error
        raise ConfigError(f"The job store {path} cannot be used: {error}.") from error


def _apply(connection: sqlite3.Connection) -> list[str]:
    connection.execute(
        "create table if not exists migrations"
        " (number integer primary key, name text not null, applied_at double precision not null)"
    )
    [row] = connection.execute("select coalesce(max(number), 0) as number from migrations")
    new = missing(migrations_of("sqlite"), row["number"])
    for migration in new:
        for sql in migration.statements():
            connection.execute(sql)
        connection.execute(
            f"insert into migrations values (?, ?, {_DIALECT.now})",
            (migration.number, migration.name),
        )
    return [migration.name for migration in new]


@contextmanager
def _closing(path: Path) -> Iterator[sqlite3.Connection]:
    connection = connect(path)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def transaction_of(
    connection: sqlite3.Connection, begin: str = "begin immediate"
) -> Iterator[None]:
    """Begin, and commit; roll back after any error."""
    connection.execute(begin)
    try:
        yield
        connection.execute("commit")
    except BaseException:
        if connection.in_transaction:
            connection.execute("rollback")
        raise


def translated(error: sqlite3.Error) -> Exception:
    """Find the error to raise: a state of the machine, for which the caller is not to blame."""
    code = _code(error)
    if code not in _REASONS:
        return error
    return JobStoreUnavailable(f"The database of jobs cannot be used: {_REASONS[code]}.")


def _code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & _RESULT_CODE
