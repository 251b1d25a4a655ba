"""PostgreSQL: restarts, refusals at start, and rights that are enough."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from serve_app.errors import ConfigError
from serve_app.jobs.database_store import DatabaseStore
from serve_app.jobs.errors import JobStoreUnavailable
from serve_app.jobs.job import JobStatus
from serve_app.jobs.postgres import PostgresDatabase
from serve_app.jobs.postgres_pool import MOST_CONNECTIONS
from serve_app.jobs.store import Progressed
from serve_app.machine import free_port
from tests.jobs.stores import LEASE_S, MOST, added, claimed, found, new_job, success
from tests.postgres import PostgresServer, postgres_server

HALF = Progressed(0.5, 2.5)
SOON_S = 25.0  # less than the 30 s for which a caller waits for a free connection


@pytest.fixture
def name(postgres: PostgresServer) -> str:
    """Name of an empty database."""
    return postgres.new_database()


@pytest.fixture(scope="module")
def restarted() -> Iterator[PostgresServer]:
    """A server that tests may stop and start."""
    with postgres_server() as server:
        yield server


def store_on(url: str) -> DatabaseStore:
    return DatabaseStore(PostgresDatabase(url))


@pytest.fixture
async def store(restarted: PostgresServer) -> AsyncIterator[DatabaseStore]:
    store = store_on(restarted.url(restarted.new_database()))
    await store.open()
    yield store
    await store.close()


async def refusal(url: str) -> str:
    """The message with which the store does not open."""
    with pytest.raises(ConfigError) as refused:
        await store_on(url).open()
    return refused.value.message


async def test_a_restart_of_the_server_loses_nothing(
    store: DatabaseStore, restarted: PostgresServer
) -> None:
    """All connections of the pool are broken at once; the work goes on without an error."""
    claim = await claimed(store)
    await asyncio.gather(*(added(store) for _ in range(20)))
    restarted.stop("immediate")
    restarted.start()
    answers = await asyncio.gather(*(added(store) for _ in range(20)))
    assert len({job.id for job in answers}) == 20
    assert await store.heartbeat(claim, HALF, LEASE_S) is False
    assert await store.finish(claim, success(claim)) is not None
    assert (await store.stats()).jobs[JobStatus.QUEUED] == 40


async def test_a_server_that_is_down_is_told_and_used_again(
    store: DatabaseStore, restarted: PostgresServer
) -> None:
    """Each caller is told within seconds, however long the server has been down."""
    job = await added(store)
    restarted.stop("fast")
    for _ in range(2):
        async with asyncio.timeout(SOON_S):
            calls = (store.get("me", job.id) for _ in range(2 * MOST_CONNECTIONS))
            answers = await asyncio.gather(*calls, return_exceptions=True)
        for error in answers:
            assert isinstance(error, JobStoreUnavailable)
            assert "cannot be reached" in error.message
            assert restarted.password not in error.message
    restarted.start()
    async with asyncio.timeout(SOON_S):
        assert await found(store, job) == job


async def test_connections_that_end_in_a_transaction_are_replaced(
    store: DatabaseStore, restarted: PostgresServer
) -> None:
    await added(store)
    restarted.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where application_name = 'musicgen-serve'"
    )
    await added(store)
    assert (await store.stats()).jobs[JobStatus.QUEUED] == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("127.0.0.1:{port}", "127.0.0.1:{free}"), "refused"),
        (("{password}", "wrong-{password}"), "password authentication failed"),
        (("{port}/postgres", "{port}/no_such_database"), "does not exist"),
    ],
)
async def test_a_server_that_cannot_be_used_is_refused_without_the_password(
    postgres: PostgresServer, change: tuple[str, str], reason: str
) -> None:
    values = {"port": postgres.port, "free": free_port(), "password": postgres.password}
    before, after = (text.format(**values) for text in change)
    message = await refusal(postgres.url().replace(before, after))
    assert reason in message
    assert "127.0.0.1" in message
    assert postgres.password not in message


async def test_an_address_that_is_not_valid_is_refused_without_the_password() -> None:
    message = await refusal("postgresql://me:top%zzsecret@host/db?no_such_option=1")
    assert "not valid" in message
    assert "secret" not in message


async def test_a_newer_schema_is_refused(postgres: PostgresServer, name: str) -> None:
    store = store_on(postgres.url(name))
    await store.open()
    await store.close()
    postgres.execute("insert into musicgen.migrations values (99, 'future', 0)", name)
    assert "schema 99" in await refusal(postgres.url(name))


async def test_a_role_without_the_right_to_create_tables_runs_the_service(
    postgres: PostgresServer, name: str
) -> None:
    role = f"role_{name}"
    postgres.execute(f"create role {role} login password 'weak'", name)
    url = postgres.url(name).replace(f"postgres:{postgres.password}", f"{role}:weak")
    assert "musicgen jobs migrate" in await refusal(url)
    owner = store_on(postgres.url(name))
    assert await owner.migrate() != []
    await owner.close()
    postgres.execute(
        f"grant usage on schema musicgen to {role};"
        f" grant select, insert, update, delete on all tables in schema musicgen to {role}",
        name,
    )
    store = store_on(url)
    await store.open()
    await claimed(store)
    await store.close()


async def test_a_database_that_is_read_only_is_told(postgres: PostgresServer, name: str) -> None:
    store = store_on(postgres.url(name))
    await store.open()
    await store.close()
    postgres.execute(f"alter database {name} set default_transaction_read_only = on")
    await store.open()
    with pytest.raises(JobStoreUnavailable, match="read-only"):
        await store.add(new_job(), MOST)
    assert (await store.stats()).jobs[JobStatus.QUEUED] == 0
    await store.close()


async def test_a_pooler_without_its_server_is_told(postgres: PostgresServer, name: str) -> None:
    store = store_on(postgres.url(name))
    await store.open()
    with psycopg.connect(postgres.url(name)) as connection:
        connection.execute(
            "create function fail() returns trigger language plpgsql as"
            " $$begin raise exception 'no server' using errcode = 'XX000'; end$$"
        )
        connection.execute(
            "create trigger fails before insert on musicgen.jobs execute function fail()"
        )
    with pytest.raises(JobStoreUnavailable, match="cannot be reached"):
        await store.add(new_job(), MOST)
    await store.close()


async def test_transactions_that_the_server_undoes_run_again(
    postgres: PostgresServer, name: str
) -> None:
    """Under `serializable`, PostgreSQL undoes transactions that cannot be put into an order."""
    postgres.execute(f"alter database {name} set default_transaction_isolation = serializable")
    store = store_on(postgres.url(name))
    await store.open()
    await asyncio.gather(*(store.add(new_job(), MOST) for _ in range(12)))
    claims = await asyncio.gather(*(store.claim({"nano": 3}, LEASE_S) for _ in range(4)))
    assert len({claim.job.id for ones in claims for claim in ones}) == sum(map(len, claims))
    await store.close()


async def test_nothing_is_kept_in_a_session(postgres: PostgresServer, name: str) -> None:
    """A pooler gives each transaction another connection."""
    store = store_on(postgres.url(name))
    await store.open()
    for _ in range(8):
        claim = await claimed(store)
        await store.finish(claim, success(claim))
    async with store._database._pool.connection() as connection:  # type: ignore[attr-defined]
        for view in ("pg_prepared_statements", "pg_listening_channels()"):
            cursor = await connection.execute(f"select count(*) as count from {view}")
            assert (await cursor.fetchone())["count"] == 0
        cursor = await connection.execute(
            "select count(*) as count from pg_locks where locktype = 'advisory'"
        )
        assert (await cursor.fetchone())["count"] == 0
    await store.close()


def test_tables_are_not_in_the_public_schema(postgres: PostgresServer, name: str) -> None:
    asyncio.run(_open_and_close(postgres.url(name)))
    with psycopg.connect(postgres.url(name)) as connection:
        rows = connection.execute(
            "select distinct schemaname from pg_tables where tablename = 'jobs'"
        ).fetchall()
    assert rows == [("musicgen",)]


async def _open_and_close(url: str) -> None:
    store = store_on(url)
    await store.open()
    await store.close()
