"""Stores on SQLite, on PostgreSQL, and on PostgreSQL through a transaction pooler; services of jobs."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from serve_app.jobs.database_store import DatabaseStore
from serve_app.jobs.stores import StoreAddress, store_at
from tests.jobs.rooms import JobRoom, job_room
from tests.postgres import PostgresServer, pgbouncer, postgres_server

TABLES = ("jobs", "webhooks_disabled", "webhook_secrets", "store_secrets", "erasures")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def database(postgres: PostgresServer) -> str:
    """Name of the database that tests of the store share."""
    return postgres.new_database()


@pytest.fixture(scope="session")
def pooler(postgres: PostgresServer) -> Iterator[int]:
    """Port of PgBouncer."""
    with pgbouncer(postgres) as port:
        yield port


@pytest.fixture(params=["sqlite", "postgres", "pgbouncer"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Address of an empty store."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'jobs.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = request.getfixturevalue("database")
    port = request.getfixturevalue("pooler") if request.param == "pgbouncer" else None
    yield server.url(name, port)
    server.execute("; ".join(f"delete from musicgen.{table}" for table in TABLES), name)


@pytest.fixture(params=["sqlite", "postgres", "pgbouncer"])
def empty_store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of a database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.db'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    port = request.getfixturevalue("pooler") if request.param == "pgbouncer" else None
    return server.url(server.new_database(), port)


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[DatabaseStore]:
    store = store_at(StoreAddress(store_url, named=True))
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[JobRoom]:
    """A service of jobs whose webhooks may go to this machine."""
    async with job_room(tmp_path, webhooks={"allow_private_addresses": True}) as room:
        yield room
