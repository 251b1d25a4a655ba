"""A database with the stand-ins for Supabase's own parts and with the migration."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.postgres import postgres_server
from tests.supabase.functions import SUPABASE
from tests.supabase.sessions import ALICE, BOB, Connection

_PLATFORM = Path(__file__).parent / "platform.sql"


@pytest.fixture(scope="session")
def dsn() -> Iterator[str]:
    with postgres_server() as server:
        address = server.url(server.new_database())
        with psycopg.connect(address, autocommit=True) as connection:
            for file in (_PLATFORM, *sorted(SUPABASE.glob("migrations/*.sql"))):
                connection.execute(file.read_text())
        yield address


@pytest.fixture
def admin(dsn: str) -> Iterator[Connection]:
    """A connection with all rights, to a database with both users and without tracks."""
    with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as connection:
        connection.execute("delete from public.tracks")
        connection.execute("truncate net.calls, realtime.messages")
        for user in (ALICE, BOB):
            connection.execute("insert into auth.users values (%s) on conflict do nothing", [user])
        yield connection
