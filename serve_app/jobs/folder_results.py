"""Results in a folder of this node: files by key, which survive a crash once they are stored."""

import asyncio
import contextlib
import errno
import logging
import os
import re
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from time import time
from typing import BinaryIO

from serve_app.jobs.errors import ResultExpired, ResultsUnavailable

logger = logging.getLogger(__name__)

_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_INCOMING = ".incoming"  # files that are being written; no key begins with a dot
_STALE_S = 86_400.0
_BLOCK_BYTES = 2**18


class FolderResults:
    """A ResultStore in the folder `root`, which is made with its parents.

    A file appears under its key at once and whole: it is written beside, flushed to the disk, and
    renamed. A folder without its subfolder `.incoming` is missing, or its disk is not mounted: then
    no file counts as erased, and none is written to the disk below.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def prepare(self) -> None:
        """Make the folder, for this user alone, and erase files that a crash left unfinished.

        Raises ResultsUnavailable.
        """
        incoming = self._root / _INCOMING
        with _told("made"):
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            incoming.mkdir(mode=0o700, exist_ok=True)
            for file in incoming.iterdir():
                if time() - file.stat().st_mtime > _STALE_S:
                    file.unlink(missing_ok=True)

    async def put(self, key: str, content: bytes, media_type: str) -> None:  # noqa: ARG002
        """Store a file. Raises ResultsUnavailable."""
        await asyncio.to_thread(self._store, key, lambda file: file.write(content))

    async def size(self, key: str) -> int | None:
        """Size in bytes; None: there is no such file. Raises ResultsUnavailable."""
        return await asyncio.to_thread(self._size, key)

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Stream the bytes from `start` to `end`. Raises ResultExpired and ResultsUnavailable."""
        file = await asyncio.to_thread(self._open, key, start)
        with file:
            left = None if end is None else end - start
            while left is None or left > 0:
                block = await asyncio.to_thread(_read, file, left)
                if not block:
                    return
                left = None if left is None else left - len(block)
                yield block

    async def delete(self, key: str) -> None:
        """Erase a file, and the folders that it leaves empty. Raises ResultsUnavailable."""
        await asyncio.to_thread(self._delete, key)

    def _path(self, key: str) -> Path:
        """Find the place of a key. Raises ValueError for one that could lead elsewhere."""
        segments = key.split("/")
        if not all(_SEGMENT.fullmatch(segment) for segment in segments):
            raise ValueError(f"not a key of results: {key!r}")
        return self._root.joinpath(*segments)

    def _store(self, key: str, write: Callable[[BinaryIO], object]) -> None:
        path = self._path(key)
        unfinished = self._root / _INCOMING / uuid.uuid4().hex
        with _told("written"):
            self._check_root()
            try:
                with unfinished.open("xb") as file:
                    write(file)
                    file.flush()
                    os.fsync(file.fileno())
                self._rename(unfinished, path)
            finally:
                with contextlib.suppress(OSError):
                    unfinished.unlink(missing_ok=True)

    def _rename(self, unfinished: Path, path: Path) -> None:
        """Put a file in its place. Its folder may be erased meanwhile, if it was empty."""
        while True:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                unfinished.replace(path)
                break
        for folder in (path.parent, *path.parent.parents):
            _flush_folder(folder)
            if folder == self._root:
                return

    def _check_root(self) -> None:
        """Raise ResultsUnavailable unless this is the folder that was prepared."""
        if not (self._root / _INCOMING).is_dir():
            logger.error(
                "The folder of results %s is missing, or its disk is not mounted", self._root
            )
            raise ResultsUnavailable(
                "The folder of results is missing, or its disk is not mounted. Mount it, or restart the"
                " service to begin with an empty one."
            )

    def _size(self, key: str) -> int | None:
        path = self._path(key)
        with _told("read"):
            try:
                return path.stat().st_size
            except (FileNotFoundError, NotADirectoryError):
                self._check_root()
                return None

    def _open(self, key: str, start: int) -> BinaryIO:
        path = self._path(key)
        with _told("read"):
            try:
                file = path.open("rb")
            except (FileNotFoundError, NotADirectoryError) as error:
                self._check_root()
                raise ResultExpired("The file has been deleted. Make the track again.") from error
            file.seek(start)
            return file

    def _delete(self, key: str) -> None:
        path = self._path(key)
        with _told("erased"):
            self._check_root()
            path.unlink(missing_ok=True)
            for folder in path.parents:
                if folder == self._root:
                    return
                try:
                    folder.rmdir()
                except OSError:  # it holds other files, or is gone
                    return


@contextlib.contextmanager
def _told(done: str) -> Iterator[None]:
    """Translate the errors of files. Raises ResultsUnavailable, whose text names no path."""
    try:
        yield
    except OSError as error:
        logger.error("A file of results cannot be %s: %s", done, error)
        raise ResultsUnavailable(_reason(error, done)) from error


def _reason(error: OSError, done: str) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "The disk of results is full. Free some of it, or shorten jobs.kept_s."
    return f"A file of results cannot be {done} ({error.strerror}). The log names it."


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(file: BinaryIO, left: int | None) -> bytes:
    with _told("read"):
        return file.read(_BLOCK_BYTES if left is None else min(_BLOCK_BYTES, left))
