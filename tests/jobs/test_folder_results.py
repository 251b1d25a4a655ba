"""Results in a folder: whole or absent, below the folder alone, with clear errors."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from serve_app.jobs.errors import ResultExpired, ResultsUnavailable
from serve_app.jobs.folder_results import FolderResults

KEY = "01abc/1/0.wav"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data" / "results"


@pytest.fixture
def results(root: Path) -> FolderResults:
    results = FolderResults(root)
    results.prepare()
    return results


async def content_of(results: FolderResults, key: str, *span: int) -> bytes:
    return b"".join([block async for block in results.read(key, *span)])


def files_in(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_a_file_is_read_as_it_was_stored(results: FolderResults, root: Path) -> None:
    content = os.urandom(600_000)
    await results.put(KEY, content, "audio/wav")
    assert await results.size(KEY) == len(content)
    assert await content_of(results, KEY) == content
    assert await content_of(results, KEY, 5, 300_000) == content[5:300_000]
    assert await content_of(results, KEY, 599_999) == content[-1:]
    assert await content_of(results, KEY, 7, 7) == b""
    assert files_in(root) == [KEY]


async def test_a_file_is_replaced_whole(results: FolderResults) -> None:
    await results.put(KEY, b"first", "audio/wav")
    await results.put(KEY, b"second", "audio/wav")
    assert await content_of(results, KEY) == b"second"


async def test_a_deleted_file_is_gone_with_its_folders(results: FolderResults, root: Path) -> None:
    await results.put(KEY, b"music", "audio/wav")
    await results.put("01abc/2/0.wav", b"music", "audio/wav")
    await results.delete(KEY)
    await results.delete(KEY)
    assert await results.size(KEY) is None
    assert names_in(root / "01abc") == ["2"]
    await results.delete("01abc/2/0.wav")
    assert names_in(root) == [".incoming"]
    with pytest.raises(ResultExpired):
        await content_of(results, KEY)


@pytest.mark.parametrize(
    "key", ["../secret", "a/../../secret", "/etc/passwd", "a//b", "a/./b", "", ".incoming/a", "a\0b", "a\nb"]
)  # fmt: skip
async def test_a_key_leads_nowhere_else(results: FolderResults, key: str) -> None:
    for call in (results.put(key, b"", ""), results.size(key), results.delete(key)):
        with pytest.raises(ValueError, match="not a key"):
            await call
    with pytest.raises(ValueError, match="not a key"):
        await content_of(results, key)


async def test_a_full_disk_is_told_and_leaves_nothing(
    results: FolderResults, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/secret/path")

    monkeypatch.setattr("serve_app.jobs.folder_results.os.fsync", fail)
    with pytest.raises(ResultsUnavailable, match="disk of results is full") as caught:
        await results.put(KEY, b"music", "audio/wav")
    assert "/secret" not in caught.value.message
    assert files_in(root) == []
    monkeypatch.undo()
    await results.put(KEY, b"music", "audio/wav")
    assert await results.size(KEY) == 5


async def test_a_file_is_flushed_before_it_has_its_name(
    results: FolderResults, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[tuple[str, bool]] = []
    flush = os.fsync

    def record(descriptor: int) -> None:
        name = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        flushed.append((name, (root / KEY).exists()))
        flush(descriptor)

    monkeypatch.setattr("serve_app.jobs.folder_results.os.fsync", record)
    await results.put(KEY, b"music", "audio/wav")
    assert flushed[0][0].startswith(str(root / ".incoming"))
    assert [exists for _, exists in flushed] == [False, True, True, True]
    assert [name for name, _ in flushed[1:]] == [
        str(root / "01abc/1"), str(root / "01abc"), str(root),
    ]  # fmt: skip


async def test_a_folder_that_is_erased_meanwhile_is_made_again(
    results: FolderResults, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.replace
    calls: list[Path] = []

    def replace(self: Path, target: Path) -> Any:
        calls.append(target)
        if len(calls) == 1:
            target.parent.rmdir()
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    await results.put(KEY, b"music", "audio/wav")
    assert len(calls) == 2
    assert files_in(root) == [KEY]


async def test_an_unusable_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    results = FolderResults(tmp_path / "file")
    with pytest.raises(ResultsUnavailable, match="cannot be made"):
        results.prepare()
    with pytest.raises(ResultsUnavailable, match="is missing"):
        await results.put(KEY, b"music", "audio/wav")


@pytest.mark.parametrize("is_unmounted", [False, True])
async def test_a_folder_that_is_missing_or_not_mounted_is_no_erased_file(
    results: FolderResults, root: Path, is_unmounted: bool
) -> None:
    """`410` would be final, and a file that is written below the mount would be lost."""
    await results.put(KEY, b"music", "audio/wav")
    with _away(root, is_unmounted):
        for call in (results.size(KEY), content_of(results, KEY), results.delete(KEY)):
            with pytest.raises(ResultsUnavailable, match="is missing, or its disk is not mounted"):
                await call
        with pytest.raises(ResultsUnavailable):
            await results.put("01abd/1/0.wav", b"music", "audio/wav")
        assert files_in(root) == []
    assert await results.size(KEY) == 5


@contextmanager
def _away(root: Path, is_unmounted: bool) -> Iterator[None]:
    """Take the folder away meanwhile. is_unmounted: an empty one is in its place."""
    root.rename(root.with_name("away"))
    if is_unmounted:
        root.mkdir()
    yield
    if is_unmounted:
        root.rmdir()
    root.with_name("away").rename(root)


def test_unfinished_files_of_a_crash_are_erased(root: Path) -> None:
    incoming = root / ".incoming"
    incoming.mkdir(parents=True)
    for name, modified_at in (("old", 0), ("new", None)):
        (incoming / name).write_text("")
        if modified_at is not None:
            os.utime(incoming / name, (modified_at, modified_at))
    FolderResults(root).prepare()
    assert [path.name for path in incoming.iterdir()] == ["new"]


def test_the_folder_is_for_its_user_alone(root: Path) -> None:
    FolderResults(root).prepare()
    assert (root / ".incoming").stat().st_mode & 0o777 == 0o700
    assert root.stat().st_mode & 0o077 == 0
