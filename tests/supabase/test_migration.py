"""The migration on a real PostgreSQL: rights of users, broadcasts, and calls of the project's own API."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.rows import dict_row

ALICE = str(uuid4())
BOB = str(uuid4())
REQUEST = json.dumps({"customPrompt": "sea shanty"})
INSERT = "insert into public.tracks (id, request, prompt) values (%s, %s, 'sea shanty')"
FILE = f"{ALICE}/track.mp3"

Connection = psycopg.Connection[dict[str, Any]]


@pytest.fixture
def admin(dsn: str) -> Iterator[Connection]:
    """A connection with all rights, to a database with both users and without tracks."""
    with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as connection:
        connection.execute("delete from public.tracks")
        connection.execute("truncate net.calls, realtime.messages")
        for user in (ALICE, BOB):
            connection.execute("insert into auth.users values (%s) on conflict do nothing", [user])
        yield connection


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


@pytest.mark.usefixtures("admin")
def test_users_see_their_own_tracks_alone(dsn: str) -> None:
    track = add(dsn, ALICE)
    with signed_in(dsn, ALICE) as alice:
        row = alice.execute("select * from tracks").fetchall()
    assert [(str(one["id"]), str(one["user_id"]), one["status"]) for one in row] == [
        (track, ALICE, "queued")
    ]
    with signed_in(dsn, BOB) as bob:
        assert bob.execute("select * from tracks").fetchall() == []
        assert bob.execute("delete from tracks").rowcount == 0
    with (
        signed_in(dsn, None, "anon") as anyone,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        anyone.execute("select * from tracks")


@pytest.mark.usefixtures("admin")
@pytest.mark.parametrize(
    "change",
    [
        "update tracks set status = 'ready'",
        "update tracks set path = 'other/file.mp3'",
        "update tracks set job_id = 'j'",
        f"insert into tracks (id, request, prompt, status) values ('{uuid4()}', '{{}}', 'p', 'ready')",
        f"insert into tracks (id, request, prompt, user_id) values ('{uuid4()}', '{{}}', 'p', '{BOB}')",
        "select musicgen.secret('musicgen_secret_key')",
        "select musicgen.resend_tracks()",
    ],
)
def test_users_write_nothing_but_requests(dsn: str, change: str) -> None:
    add(dsn, ALICE)
    with signed_in(dsn, ALICE) as alice, pytest.raises(psycopg.errors.InsufficientPrivilege):
        alice.execute(change)


def test_the_secret_key_writes_everything(dsn: str, admin: Connection) -> None:
    track = add(dsn, ALICE)
    with signed_in(dsn, None, "service_role") as project:
        changed = project.execute(
            "update tracks set status = 'ready', path = %s, job_id = 'j'", [FILE]
        )
        assert changed.rowcount == 1
    row = admin.execute("select * from tracks where id = %s", [track]).fetchone()
    assert row is not None
    assert row["updated_at"] > row["created_at"]


def test_ten_tracks_of_a_user_may_be_unfinished(dsn: str, admin: Connection) -> None:
    tracks = [add(dsn, ALICE) for _ in range(10)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        add(dsn, ALICE)
    add(dsn, BOB)
    admin.execute("update tracks set status = 'canceled' where id = %s", [tracks[0]])
    add(dsn, ALICE)


@pytest.mark.usefixtures("admin")
def test_an_id_is_taken_once(dsn: str) -> None:
    track = add(dsn, ALICE)
    with signed_in(dsn, BOB) as bob, pytest.raises(psycopg.errors.UniqueViolation):
        bob.execute(INSERT, [track, REQUEST])


def test_each_change_is_broadcast_to_the_tracks_user_alone(dsn: str, admin: Connection) -> None:
    track = add(dsn, ALICE)
    admin.execute("update tracks set status = 'running', progress = 0.5 where id = %s", [track])
    admin.execute("delete from tracks where id = %s and false", [track])
    messages = admin.execute("select * from realtime.messages order by id").fetchall()
    assert [(one["topic"], one["event"], one["private"]) for one in messages] == [
        (f"track:{track}", "INSERT", True),
        (f"track:{track}", "UPDATE", True),
    ]
    assert messages[1]["payload"]["record"]["progress"] == 0.5
    for user, count in ((ALICE, 2), (BOB, 0)):
        with signed_in(dsn, user) as connection:
            connection.execute("select set_config('realtime.topic', %s, true)", [f"track:{track}"])
            assert len(connection.execute("select * from realtime.messages").fetchall()) == count


def test_users_read_the_files_of_their_folder_alone(dsn: str, admin: Connection) -> None:
    insert = (
        "insert into storage.objects (bucket_id, name) values ('tracks', %s) on conflict do nothing"
    )
    for name in (FILE, f"{BOB}/track.mp3"):
        admin.execute(insert, [name])
    with signed_in(dsn, ALICE) as alice:
        assert [one["name"] for one in alice.execute("select name from storage.objects")] == [FILE]
    assert admin.execute("select public from storage.buckets").fetchall() == [{"public": False}]


def test_a_deleted_track_takes_its_file_along(dsn: str, admin: Connection) -> None:
    track = add(dsn, ALICE)
    admin.execute("update tracks set status = 'ready', path = %s where id = %s", [FILE, track])
    add(dsn, ALICE)
    with signed_in(dsn, ALICE) as alice:
        assert alice.execute("delete from tracks").rowcount == 2
    calls = admin.execute("select method, url, headers from net.calls").fetchall()
    assert calls == [
        {
            "method": "DELETE",
            "url": f"https://project.supabase.co/storage/v1/object/tracks/{FILE}",
            "headers": {"apikey": "sb_secret_1", "content-type": "application/json"},
        }
    ]


def test_unsent_tracks_are_sent_again(dsn: str, admin: Connection) -> None:
    """By the command that pg_cron runs, once they are older than half a minute."""
    jobs = admin.execute("select * from cron.job order by jobname").fetchall()
    assert [(job["jobname"], job["schedule"]) for job in jobs] == [
        ("musicgen-resend", "* * * * *"),
        ("musicgen-retention", "17 3 * * *"),
    ]
    track = add(dsn, ALICE)
    admin.execute(jobs[0]["command"])
    assert admin.execute("select * from net.calls").fetchall() == []
    admin.execute("update tracks set created_at = now() - interval '31 seconds'")
    admin.execute(jobs[0]["command"])
    [call] = admin.execute("select url, body from net.calls").fetchall()
    assert call == {
        "url": "https://project.supabase.co/functions/v1/generate-music",
        "body": {"resend": True},
    }
    admin.execute("update tracks set job_id = 'j' where id = %s", [track])
    admin.execute(jobs[0]["command"])
    assert len(admin.execute("select * from net.calls").fetchall()) == 1


def test_old_tracks_are_deleted(dsn: str, admin: Connection) -> None:
    old = add(dsn, ALICE)
    new = add(dsn, ALICE)
    admin.execute("update tracks set created_at = now() - interval '31 days' where id = %s", [old])
    admin.execute("select musicgen.delete_old_tracks()")
    assert [str(row["id"]) for row in admin.execute("select id from tracks")] == [new]
