"""The thread that writes to an SQLite file, and commits what waits for it together."""

import queue
import sqlite3
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from serve_app.jobs.database import Transaction
from serve_app.jobs.errors import JobStoreUnavailable
from serve_app.jobs.sqlite_connection import connect, run_steps, transaction_of, translated

T = TypeVar("T")
_MOST_TOGETHER = 64


class SqliteWriter:
    """One thread and its connection. A flush to the disk serves all transactions of a batch.

    A transaction that fails is undone alone; one that breaks the batch is found by running each of
    them alone.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inbox: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="jobs-writer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, once the transactions before this call are done."""
        if self._thread is not None:
            self._inbox.put(None)
            self._thread.join()
            self._thread = None

    def submit(self, transaction: Transaction[T]) -> Future[T]:
        if self._thread is None:
            raise JobStoreUnavailable("The database of jobs is closed.")
        entry = _Entry(transaction)
        self._inbox.put(entry)
        return entry.future

    def _run(self) -> None:
        stopping = False
        while not stopping:
            waiting = self._wait()
            batch = [one for one in waiting if one is not None]
            stopping = len(batch) < len(waiting)
            self._serve([one for one in batch if one.future.set_running_or_notify_cancel()])
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _wait(self) -> list["_Entry | None"]:
        """Wait for an entry, and take those that wait with it."""
        waiting = [self._inbox.get()]
        while len(waiting) < _MOST_TOGETHER and not self._inbox.empty():
            waiting.append(self._inbox.get())
        return waiting

    def _serve(self, batch: Sequence["_Entry"]) -> None:
        try:
            self._commit(batch)
        except sqlite3.Error as error:
            if len(batch) == 1:
                batch[0].future.set_exception(translated(error))
                return
            for entry in batch:
                self._serve([entry])
        except BaseException as error:
            for entry in batch:
                entry.future.set_exception(error)

    def _commit(self, batch: Sequence["_Entry"]) -> None:
        """Run the batch and commit, then answer."""
        if self._connection is None:
            self._connection = connect(self._path)
        with transaction_of(self._connection):
            for entry in batch:
                entry.run(self._connection)
        for entry in batch:
            entry.answer()


class _Entry:
    """A transaction, and the future of its result."""

    def __init__(self, transaction: Transaction[Any]) -> None:
        self.future: Future[Any] = Future()
        self._transaction = transaction
        self._result: Any = None
        self._error: Exception | None = None

    def run(self, connection: sqlite3.Connection) -> None:
        """Run within a batch; undo this transaction alone if it raises an error of its own."""
        self._error = None
        connection.execute("savepoint entry")
        try:
            self._result = run_steps(connection, self._transaction)
        except sqlite3.Error:
            raise
        except Exception as error:
            self._error = error
            connection.execute("rollback to entry")
        connection.execute("release entry")

    def answer(self) -> None:
        if self._error is not None:
            self.future.set_exception(self._error)
        else:
            self.future.set_result(self._result)
