"""Uploads of jobs: each belongs to a job that was accepted, or is noted for its erasure."""

import asyncio
import itertools
import json
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest

from serve_app.jobs.database import Steps, statement
from serve_app.jobs.database_store import DatabaseStore
from serve_app.jobs.errors import ResultExpired, ResultsUnavailable
from serve_app.jobs.sqlite import SqliteDatabase
from tests.jobs.rooms import JobRoom, submission
from tests.jobs.stores import pass_time, rows_of
from tests.jobs.test_service import wav


class _Left:
    """Run a coroutine whose task is cancelled at its n-th wait.

    before: called then, such as until what is awaited has happened, and its answer has not been seen.
    """

    def __init__(
        self, work: Coroutine[Any, Any, Any], wait: int, before: Callable[[], None]
    ) -> None:
        self._work = work
        self._wait = wait
        self._before = before
        self.has_left = False

    async def run(self) -> None:
        await self

    def __await__(self) -> Generator[Any, Any, None]:
        inner = self._work.__await__()
        raised: BaseException | None = None
        for number in itertools.count():
            try:
                awaited = inner.send(None) if raised is None else inner.throw(raised)
            except StopIteration:
                return
            if number == self._wait:
                self._leave()
            raised = None
            try:
                yield awaited
            except asyncio.CancelledError as error:
                raised = error

    def _leave(self) -> None:
        self._before()
        self.has_left = True
        cast("asyncio.Task[None]", asyncio.current_task()).cancel()


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_caller_that_leaves_at_any_point_loses_no_upload_and_leaves_none(
    room: JobRoom, tmp_path: Path, is_late: bool
) -> None:
    one_thread = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(one_thread)

    def finish() -> None:
        """Wait until the threads of files and of the database have done what they were given."""
        one_thread.submit(lambda: None).result()
        database = cast(SqliteDatabase, cast(DatabaseStore, room.store)._database)
        database._reader.submit(lambda: None).result()
        database._writer.submit(_nothing).result()

    accepted = 0
    for wait in itertools.count():
        new = submission(audio_prompt=wav(0.5), idempotency_key=f"k{wait}", body_sha256="1")
        left = _Left(room.service.submit(new), wait, finish if is_late else lambda: None)
        await asyncio.gather(asyncio.create_task(left.run()), return_exceptions=True)
        finish()
        await _consistent(room, tmp_path)
        accepted = len(await rows_of(cast(DatabaseStore, room.store), "jobs"))
        if not left.has_left:
            break
    assert wait >= 4, "the key, the note, the file and the row are awaited"
    assert accepted >= (2 if is_late else 1)


def _nothing() -> Steps[None]:
    yield statement("select 1")


async def _consistent(room: JobRoom, folder: Path) -> None:
    """Assert that each job has its upload, and each upload a job or a note."""
    store = cast(DatabaseStore, room.store)
    rows = await rows_of(store, "jobs")
    named = {json.loads(row["request"])["audio_prompt"] for row in rows}
    noted = {row["key"] for row in await rows_of(store, "erasures")}
    results = folder / "results"
    stored = {f"inputs/{file.name}" for file in (results / "inputs").glob("*")}
    assert named <= stored, "no job is without its upload"
    assert stored <= named | noted, "no upload is forgotten"
    assert not named & noted, "no job's upload is erased"


async def test_an_upload_without_a_job_is_erased(
    room: JobRoom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_: Any) -> Any:
        raise asyncio.CancelledError

    monkeypatch.setattr(DatabaseStore, "add", lost)
    with pytest.raises(asyncio.CancelledError):
        await room.service.submit(submission(audio_prompt=wav(0.5)))
    [file] = (tmp_path / "results" / "inputs").iterdir()
    store = cast(DatabaseStore, room.store)
    assert await store.sweep(1.0) == []
    await pass_time(store, 3601.0)
    assert await store.sweep(1.0) == [f"inputs/{file.name}"]


async def test_a_job_is_deleted_while_its_files_are_out_of_reach(
    room: JobRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row is gone, nothing leads to its files, and sweeps erase them."""
    job, _ = await room.service.submit(submission(audio_prompt=wav(0.5)))
    done = await room.succeed(await room.claim())
    token = (room.service.links.audio(done, 0) or "").partition("?token=")[2]

    async def away(_: str) -> None:
        raise ResultsUnavailable("The bucket of results cannot be reached.")

    monkeypatch.setattr(room.service.results, "delete", away)
    await room.service.delete("", job.id)
    store = cast(DatabaseStore, room.store)
    assert await rows_of(store, "jobs") == []
    with pytest.raises(ResultExpired):
        await room.service.linked_file(job.id, 0, token)
    await pass_time(store, 3601.0)
    assert job.request.audio_prompt in await store.sweep(1.0)
