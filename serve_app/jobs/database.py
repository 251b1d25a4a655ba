"""The seam between statements and databases: one text of SQL, run by SQLite and by PostgreSQL.

A transaction is a generator: it yields statements, is sent their rows, and returns its result. It
therefore knows nothing of threads, connections and event loops, and may be run again.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, TypeVar

from serve_app.errors import ConfigError

T = TypeVar("T")
Row = Mapping[str, Any]


class Statement(NamedTuple):
    """SQL with parameters as `:name`.

    `{now}`: the database's clock, in Unix seconds; `{db}`: prefix of tables; `{lock}` and
    `{skip_locked}`: lock of the selected rows.
    """

    sql: str
    parameters: Mapping[str, Any]


Steps = Generator[Statement, list[Row], T]
Transaction = Callable[[], Steps[T]]


class JobStoreUnreachable(ConfigError):
    """The database does not answer at the start: its address may be wrong, or it may come back."""


class Collision(Exception):
    """Two transactions drew or changed the same row: the later one is run again."""


@dataclass(frozen=True)
class Dialect:
    """Texts that stand for the placeholders of a statement."""

    now: str
    db: str
    lock: str
    skip_locked: str

    @lru_cache(maxsize=256)  # noqa: B019 (two dialects for the life of the process)
    def text(self, sql: str) -> str:
        return sql.format(now=self.now, db=self.db, lock=self.lock, skip_locked=self.skip_locked)


class Database(Protocol):
    """A database that runs transactions: all of a transaction's statements take effect, or none.

    Raises JobStoreUnavailable where the database cannot be reached or is full.
    """

    async def open(self) -> None:
        """Connect. Raises ConfigError where this is not possible."""
        ...

    async def close(self) -> None: ...

    async def migrate(self) -> list[str]:
        """Apply the missing migrations in order; return their names."""
        ...

    async def write(self, transaction: Transaction[T]) -> T:
        """Run a transaction that changes rows."""
        ...

    async def read(self, transaction: Transaction[T]) -> T:
        """Run a transaction that only selects rows."""
        ...


def statement(sql: str, **parameters: Any) -> Statement:
    """Write down a statement with its parameters."""
    return Statement(sql, parameters)
