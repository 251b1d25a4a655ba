"""Places for files that are worked on: a bound, and the callers' own limits."""

import contextlib
from collections.abc import AsyncIterator

from serve_app.errors import QueueFull
from serve_app.gateway.limits import Limits


class Places:
    """At most `most` files at a time in one ingress replica; each is a request of its caller.

    doing: for the refusal, as in "being converted"; retry_after_s: seconds until a place may be free.
    """

    def __init__(self, limits: Limits, most: int, doing: str, retry_after_s: float) -> None:
        self._limits = limits
        self._most = most
        self._doing = doing
        self._retry_after_s = retry_after_s
        self._taken = 0

    @contextlib.asynccontextmanager
    async def taken(self, caller: str) -> AsyncIterator[None]:
        """Take a place for one file of the caller. Raises RateLimited and QueueFull."""
        if self._taken >= self._most:
            raise QueueFull(
                f"{self._taken} files are {self._doing}, the maximum. Send the file again later.",
                self._retry_after_s,
            )
        self._taken += 1
        try:
            await self._limits.take(caller, 0.0)
            try:
                yield
            finally:
                self._limits.give_back(caller, 0.0)
        finally:
            self._taken -= 1
