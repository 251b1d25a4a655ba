"""Sessions in a database with the migration: two users, and what they add."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import psycopg
from psycopg.rows import dict_row

ALICE = str(uuid4())
BOB = str(uuid4())
REQUEST = json.dumps({"customPrompt": "sea shanty"})
INSERT = "insert into public.tracks (id, request, prompt) values (%s, %s, 'sea shanty')"
FILE = f"{ALICE}/track.mp3"

Connection = psycopg.Connection[dict[str, Any]]


@contextmanager
def signed_in(dsn: str, user: str | None, role: str = "authenticated") -> Iterator[Connection]:
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        claims = json.dumps({"sub": user}) if user else ""
        connection.execute("select set_config('request.jwt.claims', %s, true)", [claims])
        connection.execute(f"set local role {role}")
        yield connection


def add(dsn: str, user: str) -> str:
    track = str(uuid4())
    with signed_in(dsn, user) as connection:
        connection.execute(INSERT, [track, REQUEST])
    return track
