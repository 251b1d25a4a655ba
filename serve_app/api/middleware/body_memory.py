"""Bound on the memory of all bodies that one process holds."""

from collections.abc import Iterator
from contextlib import contextmanager

from serve_app.api.errors import Overloaded


class BodyMemory:
    """Counts the bodies of unfinished requests, in bytes.

    A body of at most `free_bytes` does not count: the number of requests bounds these, and large
    bodies keep nobody from sending a short one.
    """

    def __init__(self, max_bytes: int, free_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._free_bytes = free_bytes
        self._held_bytes = 0

    @contextmanager
    def share(self) -> Iterator["BodyShare"]:
        """Open the share of one request, given back at the end."""
        share = BodyShare(self)
        try:
            yield share
        finally:
            self._held_bytes -= share.held_bytes

    def take(self, share: "BodyShare", length: int) -> None:
        """Let a share hold a body of this length. Raises Overloaded beyond `max_bytes`."""
        if length <= self._free_bytes:
            return
        held_bytes = self._held_bytes + length - share.held_bytes
        if held_bytes > self._max_bytes:
            raise Overloaded(
                f"The service is reading large bodies, {self._held_bytes} bytes in all, and may "
                f"hold {self._max_bytes} bytes. Send the request again later."
            )
        self._held_bytes = held_bytes
        share.held_bytes = length


class BodyShare:
    """Memory of one request's body."""

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self.held_bytes = 0

    def grow_to(self, length: int) -> None:
        """Hold a body of this length. Raises Overloaded."""
        self._memory.take(self, length)
