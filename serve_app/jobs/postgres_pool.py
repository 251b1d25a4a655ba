"""Connections to a PostgreSQL server, whose callers learn soon that it cannot be reached."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import psycopg
from psycopg.rows import DictRow
from psycopg_pool import AsyncConnectionPool

Connection = psycopg.AsyncConnection[DictRow]
MOST_CONNECTIONS = 4
_BUSY_S = 30.0  # until a connection is free, while the server can be reached
_RECONNECT_S = 2.0  # of attempts to connect, after which those who wait are told


class PostgresPool:
    """At most MOST_CONNECTIONS connections, which are opened again after a restart of the server.

    The pool of psycopg lets its callers wait for their whole time while the server is down, and
    its attempts to connect grow rare. Here attempts end after _RECONNECT_S, with all who wait; the
    next caller begins anew. options: of a connection, in libpq's names.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self._waiting: set[asyncio.Timeout] = set()
        self._pool = AsyncConnectionPool(
            kwargs=options,
            connection_class=Connection,
            min_size=1,
            max_size=MOST_CONNECTIONS,
            timeout=2 * _BUSY_S,  # the time-out of `_wait` comes first
            reconnect_timeout=_RECONNECT_S,
            reconnect_failed=self._tell,
            name="jobs",
            open=False,
        )

    async def open(self) -> None:
        await self._pool.open()

    async def close(self) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection. Raises TimeoutError where there is none, or psycopg's errors."""
        async with AsyncExitStack() as stack:
            async with self._wait():
                connection = await stack.enter_async_context(self._pool.connection())
            yield connection

    @asynccontextmanager
    async def _wait(self) -> AsyncIterator[None]:
        """Bound the time of a caller that waits for a connection."""
        async with asyncio.timeout(_BUSY_S) as limit:
            self._waiting.add(limit)
            try:
                yield
            finally:
                self._waiting.discard(limit)

    async def _tell(self, _: AsyncConnectionPool[Connection]) -> None:
        """End the time of all who wait."""
        now = asyncio.get_running_loop().time()
        while self._waiting:
            self._waiting.pop().reschedule(now)
