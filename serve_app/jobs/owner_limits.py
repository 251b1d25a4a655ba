"""Bounds on the jobs of API keys that have met their limits, learned from refusals."""

import asyncio
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic

logger = logging.getLogger(__name__)

_SHORTEST_S = 5.0
_LONGEST_S = 60.0


@dataclass
class _Owner:
    """Jobs of one owner in this worker.

    held: the events of their first audio; most: bound on the jobs held, infinite until one is refused;
    delay_s: from the latest refusal until one job more is tried, at the time `try_at`.
    """

    held: list[asyncio.Event] = field(default_factory=list)
    most: float = math.inf
    delay_s: float = 0.0
    try_at: float = -math.inf

    def learn(self) -> None:
        """Raise the bound where more jobs have begun."""
        begun = sum(event.is_set() for event in self.held)
        if begun > self.most:
            self.most = begun
            self.delay_s = 0.0
            self.try_at = monotonic()

    @property
    def claimable(self) -> int:
        """Number of jobs that may be claimed under the bound."""
        tried = 1 if monotonic() >= self.try_at else 0
        return max(0, int(self.most) + tried - len(self.held))


class OwnerLimits:
    """Bounds how many jobs of an owner are claimed, once its key's limits have refused one.

    The bound is the number of jobs that were not refused. One job more is tried after a refusal, at
    first after 5 s, then twice as late each time, at most a minute; the bound grows with its success.
    """

    def __init__(self) -> None:
        self._owners: dict[str, _Owner] = {}

    def bounds(self) -> Mapping[str, int]:
        """Count the jobs that may be claimed of each bounded owner."""
        self._forget()
        bounded = {name: one for name, one in self._owners.items() if one.most < math.inf}
        for one in bounded.values():
            one.learn()
        return {name: one.claimable for name, one in bounded.items()}

    def claimed(self, owner: str, begun: asyncio.Event) -> None:
        """Count a job. begun: set with its first audio."""
        self._owners.setdefault(owner, _Owner()).held.append(begun)

    def ended(self, owner: str, begun: asyncio.Event) -> None:
        """No longer count a job that was not refused."""
        one = self._owners[owner]
        one.learn()
        one.held.remove(begun)

    def refused(self, owner: str, begun: asyncio.Event, retry_after_s: float | None) -> None:
        """No longer count a job that the limits of its key refused, and bound the others."""
        one = self._owners[owner]
        one.held.remove(begun)
        if one.most == math.inf:
            logger.info("Jobs of key '%s' wait: the key is at its limits", owner)
        one.most = min(one.most, len(one.held))
        if monotonic() < one.try_at:
            return  # claimed together with a job that was refused before
        one.delay_s = min(_LONGEST_S, max(_SHORTEST_S, 2 * one.delay_s))
        one.try_at = monotonic() + max(one.delay_s, min(retry_after_s or 0.0, _LONGEST_S))

    def _forget(self) -> None:
        """Forget owners without jobs, bounded ones a minute after they might have tried another."""
        idle_since = monotonic() - _LONGEST_S
        for name, one in list(self._owners.items()):
            if not one.held and (one.most == math.inf or one.try_at < idle_since):
                del self._owners[name]
