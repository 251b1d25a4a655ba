"""Facts about the server around the gateway, for its rules."""

from typing import Protocol


class ServerFacts(Protocol):
    """Settings of the server below the API."""

    def limit_s(self) -> float | None:
        """Return the seconds after which the server cuts off an answer; None: it never does."""
        ...

    def processes(self) -> int:
        """Return the number of processes that share the requests evenly."""
        ...


class AloneServer:
    """One process without a limit."""

    def limit_s(self) -> float | None:
        return None

    def processes(self) -> int:
        return 1
