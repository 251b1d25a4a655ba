"""A database with the stand-ins for Supabase's own parts and with the migration."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.postgres import postgres_server
from tests.supabase.functions import SUPABASE

_PLATFORM = Path(__file__).parent / "platform.sql"


@pytest.fixture(scope="session")
def dsn() -> Iterator[str]:
    with postgres_server() as server:
        address = server.url(server.new_database())
        with psycopg.connect(address, autocommit=True) as connection:
            for file in (_PLATFORM, *sorted(SUPABASE.glob("migrations/*.sql"))):
                connection.execute(file.read_text())
        yield address
