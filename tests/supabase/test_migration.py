"""The migration on a real PostgreSQL: rights of users, their limit, and broadcasts."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from uuid import uuid4

import psycopg
import pytest

from tests.supabase.sessions import ALICE, BOB, FILE, INSERT, REQUEST, Connection, add, signed_in


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
    with pytest.raises(psycopg.Error, match="Ten of your tracks are unfinished") as refused:
        add(dsn, ALICE)
    assert refused.value.sqlstate == "PT429", "PostgREST makes the status 429 of it"
    with signed_in(dsn, ALICE) as alice, pytest.raises(psycopg.errors.UniqueViolation):
        alice.execute(INSERT, [tracks[0], REQUEST])
    add(dsn, BOB)
    admin.execute("update tracks set status = 'canceled' where id = %s", [tracks[0]])
    add(dsn, ALICE)


def test_one_statement_adds_ten_unfinished_tracks_at_most(dsn: str, admin: Connection) -> None:
    bulk = (
        "insert into tracks (id, request, prompt)"
        " select gen_random_uuid(), '{}', 'p' from generate_series(1, %s)"
    )
    with signed_in(dsn, ALICE) as alice, pytest.raises(psycopg.Error, match="Ten of your tracks"):
        alice.execute(bulk, [200])
    with signed_in(dsn, ALICE) as alice:
        assert alice.execute(bulk, [10]).rowcount == 10
    assert count(admin) == 10


def test_two_sessions_at_once_add_ten_unfinished_tracks_at_most(
    dsn: str, admin: Connection
) -> None:
    """The second waits for the first, and then counts what it has added."""
    for _ in range(9):
        add(dsn, ALICE)
    with ThreadPoolExecutor() as threads:
        with signed_in(dsn, ALICE) as first:
            first.execute(INSERT, [str(uuid4()), REQUEST])
            second = threads.submit(add, dsn, ALICE)
            wait_for_a_lock(admin, second)
            add(dsn, BOB)
        with pytest.raises(psycopg.Error, match="Ten of your tracks are unfinished"):
            second.result()
    assert count(admin) == 11


def count(admin: Connection) -> int:
    [row] = admin.execute("select count(*) from tracks").fetchall()
    return int(row["count"])


def wait_for_a_lock(admin: Connection, session: Future[str]) -> None:
    """Wait until a session waits for an advisory lock, or until `session` has ended."""
    waiting = "select 1 from pg_locks where locktype = 'advisory' and not granted"
    while not session.done() and not admin.execute(waiting).fetchall():
        time.sleep(0.01)


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


@pytest.mark.usefixtures("admin")
@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        (f"{ALICE}/melodies/a.m4a", True),
        (f"{ALICE}/a.mp3", False),
        (f"{BOB}/melodies/a.m4a", False),
        ("melodies/a.m4a", False),
    ],
    ids=["a melody", "another folder", "another user", "no user"],
)
def test_users_add_and_delete_melodies_in_their_folder_alone(
    dsn: str, name: str, allowed: bool
) -> None:
    insert = "insert into storage.objects (bucket_id, name) values ('tracks', %s)"
    with signed_in(dsn, ALICE) as alice:
        if not allowed:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                alice.execute(insert, [name])
            return
        alice.execute(insert, [name])
        remove = "delete from storage.objects where name = %s"
        with signed_in(dsn, BOB) as bob:
            assert bob.execute(remove, [name]).rowcount == 0
        assert alice.execute(remove, [name]).rowcount == 1


def test_users_read_the_files_of_their_folder_alone(dsn: str, admin: Connection) -> None:
    insert = (
        "insert into storage.objects (bucket_id, name) values ('tracks', %s) on conflict do nothing"
    )
    for name in (FILE, f"{BOB}/track.mp3"):
        admin.execute(insert, [name])
    with signed_in(dsn, ALICE) as alice:
        assert [one["name"] for one in alice.execute("select name from storage.objects")] == [FILE]
    assert admin.execute("select public from storage.buckets").fetchall() == [{"public": False}]
