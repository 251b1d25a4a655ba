"""The job store's database in an SQLite file: one thread writes, one reads.

Other processes of the same node take turns by SQLite's lock.
"""

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from serve_app.jobs.database import Transaction
from serve_app.jobs.sqlite_connection import (
    connect,
    migrate,
    prepare,
    run_steps,
    transaction_of,
    translated,
)
from serve_app.jobs.sqlite_writer import SqliteWriter

T = TypeVar("T")


class SqliteDatabase:
    """An SQLite file. path: created, with its folder, readable by this user alone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer = SqliteWriter(path)
        self._reader = ThreadPoolExecutor(1, "jobs-reader")
        self._reading: sqlite3.Connection | None = None

    async def open(self) -> None:
        await asyncio.to_thread(prepare, self._path)
        self._writer.start()

    async def close(self) -> None:
        await asyncio.to_thread(self._writer.stop)
        await asyncio.wrap_future(self._reader.submit(self._close_reader))

    async def migrate(self) -> list[str]:
        return await asyncio.to_thread(migrate, self._path)

    async def write(self, transaction: Transaction[T]) -> T:
        return await asyncio.wrap_future(self._writer.submit(transaction))

    async def read(self, transaction: Transaction[T]) -> T:
        return await asyncio.wrap_future(self._reader.submit(self._read, transaction))

    def _read(self, transaction: Transaction[T]) -> T:
        try:
            if self._reading is None:
                self._reading = connect(self._path)
            with transaction_of(self._reading, "begin"):
                return run_steps(self._reading, transaction)
        except sqlite3.Error as error:
            raise translated(error) from error

    def _close_reader(self) -> None:
        if self._reading is not None:
            self._reading.close()
            self._reading = None
