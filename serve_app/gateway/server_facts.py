"""Facts about the server around the gateway, for its rules."""

import math
from typing import Protocol

_EARLIER_S = 2.0  # than Serve's proxy, whose clock starts before the request arrives here


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


def time_to_answer_s(server: ServerFacts) -> float:
    """Return the seconds within which an answer must end so that the server does not cut it off.

    They are infinite where it never does.
    """
    limit_s = server.limit_s()
    return math.inf if limit_s is None else max(limit_s - _EARLIER_S, limit_s / 2)
