"""Files of migrations, and migrations of stores that are in use."""

import sqlite3
from collections.abc import Sequence

import psycopg

from serve_app.jobs.migrations import Migration, migrations_of
from tests.postgres import PostgresServer

URLS = ["https://Hook.example/a", "http://127.0.0.1:81", "https://hook.example:8443/a?b=//c/d"]
HOSTS = ["hook.example", "127.0.0.1:81", "hook.example:8443"]
_JOB = (
    "insert into {db}jobs values ('j', '', 'm', 'queued', 1, '', 0, 0, 0, 0, 0, false, '', '',"
    " null, null, 0, 0, null, null, null, null, 0, null, null, true, '', false, null, null)"
)
_MESSAGE = (
    "insert into {db}deliveries (id, job_id, owner, url, event, body, attempt, created_at, due_at,"
    " settled) values ('{n}', 'j', '', '{url}', 'completed', '', 0, 0, 0, false)"
)


def rows(db: str) -> list[str]:
    """Statements that add a job and its messages."""
    messages = [_MESSAGE.format(db=db, n=n, url=url) for n, url in enumerate(URLS)]
    return [_JOB.format(db=db), *messages]


def statements(migrations: Sequence[Migration]) -> list[str]:
    return [sql for migration in migrations for sql in migration.statements()]


def test_numbers_are_consecutive_and_the_same_for_each_database() -> None:
    """Two branches may have drawn the same number."""
    sqlite = migrations_of("sqlite")
    assert [one.number for one in sqlite] == list(range(1, len(sqlite) + 1))
    assert [one.name for one in migrations_of("postgres")] == [one.name for one in sqlite]


def test_messages_of_an_earlier_schema_get_their_hosts_in_sqlite() -> None:
    first, *later = migrations_of("sqlite")
    connection = sqlite3.connect(":memory:")
    for sql in (*first.statements(), *rows(""), *statements(later)):
        connection.execute(sql)
    assert [
        host for (host,) in connection.execute("select host from deliveries order by id")
    ] == HOSTS
    connection.close()


def test_messages_of_an_earlier_schema_get_their_hosts_in_postgresql(
    postgres: PostgresServer,
) -> None:
    first, *later = migrations_of("postgres")
    with psycopg.connect(postgres.url(postgres.new_database())) as connection:
        connection.execute("create schema musicgen")
        for sql in (*first.statements(), *rows("musicgen."), *statements(later)):
            connection.execute(sql.encode())
        found = connection.execute("select host from musicgen.deliveries order by id").fetchall()
    assert [host for (host,) in found] == HOSTS
