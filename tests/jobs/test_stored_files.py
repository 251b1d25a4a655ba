"""Uploaded files, whose erasure is noted before they are stored."""

import hashlib
import threading
import time
from typing import Any

import pytest

from serve_app.config.jobs import JobsConfig
from serve_app.errors import Unauthorized
from serve_app.jobs.database_store import DatabaseStore
from serve_app.jobs.errors import UploadNotFound
from serve_app.jobs.links import Links
from serve_app.jobs.stored_files import KEPT_S, StoredFiles
from tests.jobs.rooms import JobRoom


async def test_files_are_named_for_erasure_once_their_time_has_come(store: DatabaseStore) -> None:
    await store.erase_later(("files/a", "files/b"), 0.0)
    await store.erase_later(("files/c",), 3600.0)
    assert set(await store.sweep(1.0)) == {"files/a", "files/b"}


async def test_a_new_secret_ends_the_earlier_ones(store: DatabaseStore) -> None:
    """Also one whose overlap was longer: a secret that leaked has to end."""
    [first] = await store.webhook_secrets("a")
    second = await store.rotate_webhook_secret("a", 3600.0)
    assert await store.webhook_secrets("a") == [second, first]
    third = await store.rotate_webhook_secret("a", 0.0)
    assert await store.webhook_secrets("a") == [third]


async def test_the_loop_goes_on_while_a_file_is_digested(
    room: JobRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    digest = hashlib.sha256

    def recorded(content: bytes) -> Any:
        threads.append(threading.get_ident())
        return digest(content)

    monkeypatch.setattr("serve_app.jobs.stored_files.hashlib.sha256", recorded)
    files = StoredFiles(room.store, room.service.results, room.service.links)
    file = await files.add("a", "name", "audio/wav", b"content", {})
    assert file.sha256 == digest(b"content").hexdigest()
    assert threads
    assert threading.get_ident() not in threads


async def test_files_and_their_links_expire_by_the_databases_clock(
    room: JobRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node whose clock is two days ahead finds what another one stored; and the opposite."""
    ahead = time.time() + 2 * KEPT_S
    here = StoredFiles(room.store, room.service.results, room.service.links)
    links = Links(JobsConfig())
    there = StoredFiles(room.store, room.service.results, links)
    file = await here.add("a", "name", "audio/wav", b"content", {})
    with monkeypatch.context() as patch:
        for module in ("clock", "links", "stored_files"):
            patch.setattr(f"serve_app.jobs.{module}.time", lambda: ahead, raising=False)
        await links.open(room.store)
        late = await there.add("a", "late", "audio/wav", b"content", {})
        assert await there.linked(file.id, here.token(file)) == file
        assert late.expires_at == pytest.approx(file.expires_at, abs=3600)
    assert await here.linked(late.id, there.token(late)) == late
    monkeypatch.setattr("serve_app.jobs.stored_files.KEPT_S", -1.0)
    expired = await here.add("a", "expired", "audio/wav", b"content", {})
    with pytest.raises(UploadNotFound):
        await here.get("a", expired.id)


async def test_a_file_is_its_owners(room: JobRoom) -> None:
    files = StoredFiles(room.store, room.service.results, room.service.links)
    file = await files.add("a", "n\u00e4me", "audio/wav", b"content", {"k": [1]})
    assert await files.get("a", file.id) == file
    assert await files.content(file) == b"content"
    assert await files.linked(file.id, files.token(file)) == file
    for owner, file_id in (("b", file.id), ("a", "x"), ("a", file.id[::-1]), ("a", "../x")):
        with pytest.raises(UploadNotFound):
            await files.get(owner, file_id)
    other = await files.add("a", "other", "audio/wav", b"", {})
    with pytest.raises(Unauthorized):
        await files.linked(other.id, files.token(file))
    await files.delete("a", file.id)
    assert await room.service.results.size(file.key) is None
