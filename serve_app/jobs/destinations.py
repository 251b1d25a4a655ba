"""Destinations of webhooks: host and port, and the messages that each may be sent at a time."""

from collections import Counter
from collections.abc import Iterable
from urllib.parse import urlsplit

_MOST = 4  # messages at a time
_MOST_OF_SLOW = 1
_SLOW_S = 5.0
_REMEMBERED = 64


def host_of(url: str) -> str:
    """Name host and port of an address that was accepted, in small letters."""
    return urlsplit(url).netloc.rpartition("@")[2].lower()


class Destinations:
    """Bounds the messages to each host, so that one which hangs leaves places to the others.

    A host whose latest answer took _SLOW_S or longer gets _MOST_OF_SLOW messages at a time, until
    it answers sooner. The latest _REMEMBERED such hosts are known.
    """

    def __init__(self) -> None:
        self._slow: dict[str, None] = {}

    def bounds(self, sending: Iterable[str]) -> dict[str, int]:
        """Count the messages that each host may get beside those being sent, by their hosts.

        A host that is not named is unbounded: of it a round claims at most `most` messages.
        """
        counts = Counter(sending)
        most = {host: _MOST_OF_SLOW if host in self._slow else _MOST for host in counts}
        left = {host: max(0, most[host] - count) for host, count in counts.items()}
        return dict.fromkeys(self._slow, _MOST_OF_SLOW) | left

    @property
    def most(self) -> int:
        """Most messages to one host at a time."""
        return _MOST

    def answered(self, host: str, took_s: float) -> None:
        """Learn from an attempt, also from one that failed."""
        self._slow.pop(host, None)
        if took_s >= _SLOW_S:
            self._slow[host] = None
        while len(self._slow) > _REMEMBERED:
            self._slow.pop(next(iter(self._slow)))
