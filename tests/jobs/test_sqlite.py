"""SQLite: what is refused at start, a disk that is full, and a loop that is never blocked."""

import asyncio
import os
import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from serve_app.errors import ConfigError
from serve_app.jobs import sqlite_connection
from serve_app.jobs.database import Steps, statement
from serve_app.jobs.database_store import DatabaseStore
from serve_app.jobs.errors import JobStoreUnavailable
from serve_app.jobs.sqlite import SqliteDatabase
from tests.jobs.stores import LEASE_S, MOST, added, claimed, new_job, rows_of, success


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "new" / "jobs.db"


@pytest.fixture
async def store(file: Path) -> AsyncIterator[DatabaseStore]:
    store = DatabaseStore(SqliteDatabase(file))
    await store.open()
    yield store
    await store.close()


async def refusal(file: Path) -> str:
    """The message with which the store does not open."""
    with pytest.raises(ConfigError) as refused:
        await DatabaseStore(SqliteDatabase(file)).open()
    return refused.value.message


async def test_files_are_readable_by_this_user_alone(store: DatabaseStore, file: Path) -> None:
    await added(store)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir()}
    assert modes == {"jobs.db": 0o600, "jobs.db-wal": 0o600, "jobs.db-shm": 0o600}
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_commits_survive_a_power_cut(tmp_path: Path) -> None:
    with closing(sqlite_connection.connect(tmp_path / "jobs.db")) as connection:
        [[journal]] = connection.execute("pragma journal_mode")
        [[synchronous]] = connection.execute("pragma synchronous")
    assert (journal, synchronous) == ("wal", 2)


async def test_a_store_outlives_its_process(store: DatabaseStore, file: Path) -> None:
    job = await added(store)
    again = DatabaseStore(SqliteDatabase(file))
    await again.open()
    assert await again.get("me", job.id) == job
    await again.close()


async def test_a_full_disk_is_told_and_the_store_goes_on(store: DatabaseStore, file: Path) -> None:
    claim = await claimed(store)
    pages = (await asyncio.to_thread(file.stat)).st_size // 4096 + 40
    await limit_pages(store, pages)
    with pytest.raises(JobStoreUnavailable, match="its disk is full") as error:
        await add_until_refused(store)
    assert str(file) not in error.value.message
    count = len(await rows_of(store, "jobs"))
    answers = await asyncio.gather(
        *(store.add(new_job(metadata={"x": "y" * 4000}), 1000) for _ in range(5)),
        store.webhook_secrets("me"),
        return_exceptions=True,
    )
    assert [type(one) for one in answers[:5]] == [JobStoreUnavailable] * 5
    assert isinstance(answers[5], list), "what has room is done"
    assert len(await rows_of(store, "jobs")) == count, "nothing is left of what failed"
    await limit_pages(store, pages * 10)
    await added(store)
    assert await store.finish(claim, success(claim)) is not None


async def add_until_refused(store: DatabaseStore) -> None:
    for _ in range(100):
        await store.add(new_job(metadata={"x": "y" * 4000}), 1000)


async def limit_pages(store: DatabaseStore, pages: int) -> None:
    """Let the file have so many pages at most, as a full disk does."""

    def steps() -> Steps[None]:
        yield statement(f"pragma max_page_count = {pages}")

    await store._database.write(steps)


async def test_a_lock_of_another_program_is_told(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_connection, "BUSY_S", 0.05)
    store = DatabaseStore(SqliteDatabase(file))
    await store.open()
    with closing(sqlite3.connect(file)) as other:
        other.execute("begin exclusive")
        with pytest.raises(JobStoreUnavailable, match="another process has locked it"):
            await added(store)
        other.rollback()
    await added(store)
    await store.close()


async def test_an_error_of_one_transaction_undoes_it_alone(store: DatabaseStore) -> None:
    """Transactions that wait together share a commit."""

    def broken() -> Steps[None]:
        yield statement("insert into store_secrets values ('a', 'b')")
        raise LookupError("own error")

    def wrong() -> Steps[None]:
        yield statement("insert into store_secrets values ('c', 'd')")
        yield statement("select * from no_such_table")

    write = store._database.write
    answers = await asyncio.gather(
        added(store), write(broken), write(wrong), added(store), return_exceptions=True
    )
    assert [type(one).__name__ for one in answers] == [
        "Job",
        "LookupError",
        "OperationalError",
        "Job",
    ]
    assert len(await rows_of(store, "jobs")) == 2
    assert await rows_of(store, "store_secrets") == []


async def test_what_is_no_longer_awaited_is_not_done(store: DatabaseStore) -> None:
    holding = asyncio.Event()

    def slow() -> Steps[None]:
        loop.call_soon_threadsafe(holding.set)
        asyncio.run_coroutine_threadsafe(released.wait(), loop).result()
        yield statement("select 1")

    loop = asyncio.get_running_loop()
    released = asyncio.Event()
    first = asyncio.create_task(store._database.write(slow))
    await holding.wait()
    second = asyncio.create_task(added(store))
    await asyncio.sleep(0)
    second.cancel()
    released.set()
    await first
    assert (await asyncio.gather(second, return_exceptions=True))[
        0
    ].__class__ is asyncio.CancelledError
    assert await store.claim({"nano": MOST}, LEASE_S) == []


async def test_a_closed_store_says_so(store: DatabaseStore) -> None:
    await store.close()
    with pytest.raises(JobStoreUnavailable, match="closed"):
        await added(store)


async def test_deleted_prompts_leave_the_file(store: DatabaseStore, file: Path) -> None:
    job = await added(store, metadata={"secret": "bossa nova"})
    await store.delete("me", job.id)
    await store.close()  # moves the log into the file
    assert b"bossa nova" not in await asyncio.to_thread(file.read_bytes)


async def test_a_newer_schema_is_refused(store: DatabaseStore, file: Path) -> None:
    def steps() -> Steps[None]:
        yield statement("insert into migrations values (99, '0099_future', 0)")

    await store._database.write(steps)
    assert "schema 99" in await refusal(file)


async def test_a_file_that_is_no_database_is_refused() -> None:
    assert "not a database" in await refusal(Path(__file__))


async def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = await refusal(tmp_path / "file" / "jobs.db")
    assert "cannot be written" in message
    assert str(tmp_path) in message


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to change the user")
async def test_a_folder_without_the_right_to_write_is_refused(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o555)  # noqa: PTH101 (nothing else runs in this loop)
    os.seteuid(65534)
    try:
        message = await refusal(tmp_path / "jobs.db")
    finally:
        os.seteuid(0)
    assert "Permission denied" in message


async def test_a_network_file_system_is_refused(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 0 0:1 / / rw - ext4 a rw\n2 1 0:2 / {tmp_path} rw - nfs4 host:/x rw\n")
    monkeypatch.setattr("serve_app.jobs.network_files.MOUNTS", mounts)
    message = await refusal(file)
    assert "network file system (nfs4)" in message
    assert not await asyncio.to_thread(file.exists)


async def test_a_link_to_a_network_file_system_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = tmp_path / "share"
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 0 0:1 / / rw - ext4 a rw\n2 1 0:2 / {share} rw - nfs4 host:/x rw\n")
    monkeypatch.setattr("serve_app.jobs.network_files.MOUNTS", mounts)
    link = tmp_path / "jobs.db"
    link.symlink_to(share / "jobs.db")
    assert "network file system (nfs4)" in await refusal(link)
