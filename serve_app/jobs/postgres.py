"""The job store's database on a PostgreSQL server.

It works through a pooler that gives each transaction another connection: there are no prepared
statements, no settings of a session, no LISTEN, and locks end with their transaction.
"""

import asyncio
import random
import re
from functools import lru_cache
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row
from psycopg_pool import PoolClosed, PoolTimeout

from serve_app.errors import ConfigError
from serve_app.jobs.database import Dialect, JobStoreUnreachable, Transaction
from serve_app.jobs.errors import JobStoreUnavailable
from serve_app.jobs.migrations import migrations_of, missing
from serve_app.jobs.postgres_pool import MOST_CONNECTIONS, Connection, PostgresPool

T = TypeVar("T")
_DIALECT = Dialect(
    now="cast(extract(epoch from clock_timestamp()) as double precision)",
    db="musicgen.",  # not `public`, which Supabase serves to the internet
    lock="for update",
    skip_locked="for update skip locked",
)
_TRANSACTION_S = 30.0
_ATTEMPTS = 3 * MOST_CONNECTIONS  # after a restart each connection fails once
_BACK_OFF_S = 0.02  # longest pause after the first collision
_MIGRATION_LOCK = 0x6D75_7369_6367_656E  # pg_advisory_xact_lock: "musicgen"
_DEFAULTS = {
    "application_name": "musicgen-serve",
    "client_encoding": "utf8",
    "connect_timeout": "5",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
_UNDONE = (errors.SerializationFailure, errors.DeadlockDetected)
_STATES = (
    psycopg.OperationalError, psycopg.InterfaceError, errors.ReadOnlySqlTransaction, PoolTimeout, PoolClosed,
    TimeoutError, errors.InternalError_,  # XX000: of a pooler whose server is gone
)  # fmt: skip


class _LostBeforeCommit(Exception):
    """The connection ended before the commit was sent: nothing was changed."""


class PostgresDatabase:
    """A PostgreSQL server. url: `postgresql://...`, in libpq's form."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: PostgresPool | None = None

    async def open(self) -> None:
        options = _options(self._url)
        await _try(options)
        self._pool = PostgresPool(options)
        await self._pool.open()

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()

    async def migrate(self) -> list[str]:
        try:
            async with self._connections.connection() as connection:
                return await _migrate(connection)
        except _STATES as error:
            raise JobStoreUnavailable(
                f"The database of jobs cannot be used: {_reason(error)}."
            ) from error
        except psycopg.Error as error:
            raise ConfigError(
                f"The job store cannot be migrated: {_first_line(error)}. Let an owner of the database"
                " run `musicgen jobs migrate`."
            ) from error

    async def write(self, transaction: Transaction[T]) -> T:
        return await self._run(transaction)

    async def read(self, transaction: Transaction[T]) -> T:
        return await self._run(transaction)

    @property
    def _connections(self) -> PostgresPool:
        if self._pool is None:
            raise JobStoreUnavailable("The database of jobs is not open.")
        return self._pool

    async def _run(self, transaction: Transaction[T]) -> T:
        try:
            for attempt in range(_ATTEMPTS):
                try:
                    return await self._attempt(transaction)
                except _LostBeforeCommit:
                    continue
                except _UNDONE:  # apart in time, those that collided pass
                    await asyncio.sleep(random.uniform(0.0, _BACK_OFF_S * (attempt + 1)))
        except _STATES as error:
            raise JobStoreUnavailable(
                f"The database of jobs cannot be used: {_reason(error)}."
            ) from error
        raise JobStoreUnavailable("The database of jobs is busy, or ends its connections.")

    async def _attempt(self, transaction: Transaction[T]) -> T:
        async with self._connections.connection() as connection, asyncio.timeout(_TRANSACTION_S):
            try:
                result = await _run_steps(connection, transaction)
            except _STATES as error:
                if connection.closed:
                    raise _LostBeforeCommit from error
                raise
            await connection.commit()
            return result


async def _run_steps(connection: Connection, transaction: Transaction[T]) -> T:
    """Run the statements of a transaction, the first of which begins it."""
    steps = transaction()
    try:
        wanted = next(steps)
        while True:
            cursor = await connection.execute(_text(wanted.sql), wanted.parameters)
            wanted = steps.send(list(await cursor.fetchall()))
    except StopIteration as stop:
        result: T = stop.value
        return result


@lru_cache(maxsize=256)
def _text(sql: str) -> str:
    """Write the placeholders in psycopg's form."""
    return re.sub(r":([a-z_][a-z0-9_]*)", r"%(\1)s", _DIALECT.text(sql))


def _options(url: str) -> dict[str, Any]:
    """Parse the address and add what it leaves open. Raises ConfigError, without the password."""
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise ConfigError(
            "The job store's postgresql:// address is not valid: it must be"
            " postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with special characters as %XX."
        ) from None
    return _DEFAULTS | given | {"prepare_threshold": None, "row_factory": dict_row}


async def _try(options: dict[str, Any]) -> None:
    """Connect once. Raises JobStoreUnreachable."""
    try:
        connection = await Connection.connect(**options)
        await connection.close()
    except psycopg.Error as error:
        where = f"{options.get('host', 'localhost')}:{options.get('port', 5432)}"
        raise JobStoreUnreachable(
            f"The job store cannot be reached: PostgreSQL at {where}, database"
            f" {options.get('dbname', '')!r}: {_without(_first_line(error), options.get('password'))}."
            " Check jobs.store, or the environment variable that names the store."
        ) from None


def _without(text: str, password: object) -> str:
    return text.replace(str(password), "***") if password else text


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _reason(error: BaseException) -> str:
    """Name the cause for callers, without addresses."""
    if isinstance(error, errors.DiskFull):
        return "its disk is full"
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return "it is read-only"
    return "it cannot be reached"


async def _migrate(connection: Connection) -> list[str]:
    """Apply the missing migrations in one transaction, one process at a time."""
    migrations = migrations_of("postgres")
    if not missing(migrations, await _applied(connection)):
        return []  # a role without rights to create tables may run the service
    await connection.commit()
    await connection.execute("select pg_advisory_xact_lock(%s)", [_MIGRATION_LOCK])
    new = missing(migrations, await _applied(connection))
    if new and new[0] is migrations[0]:
        await connection.execute("create schema if not exists musicgen")
        await connection.execute(
            "create table musicgen.migrations"
            " (number integer primary key, name text not null, applied_at double precision not null)"
        )
    for migration in new:
        for sql in migration.statements():
            await connection.execute(sql)
        await connection.execute(
            _text("insert into {db}migrations values (:number, :name, {now})"),
            {"number": migration.number, "name": migration.name},
        )
    return [migration.name for migration in new]


async def _applied(connection: Connection) -> int:
    """Read the number of the latest migration; 0: none."""
    cursor = await connection.execute(
        "select 1 from pg_catalog.pg_tables"  # to_regclass() may answer from a cache
        " where schemaname = 'musicgen' and tablename = 'migrations'"
    )
    if await cursor.fetchone() is None:
        return 0
    cursor = await connection.execute(
        "select coalesce(max(number), 0) as number from musicgen.migrations"
    )
    row = await cursor.fetchone()
    return 0 if row is None else int(row["number"])
