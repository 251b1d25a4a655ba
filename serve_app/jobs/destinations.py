"""Destinations of webhooks: host and port, and the messages that each may be sent at a time."""

import contextlib
import ipaddress
import socket
from collections import Counter
from collections.abc import Iterable
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}
_MOST = 4  # messages at a time
_MOST_OF_SLOW = 1
_SLOW_S = 5.0
_REMEMBERED = 64


def host_of(url: str) -> str:
    """Name host and port of an accepted address, in one form whatever the address writes.

    Small letters, no dot at the end, the shortest form of an IP address, no port of the scheme.
    """
    parts = urlsplit(url)
    host = _canonical((parts.hostname or "").removesuffix("."))
    port = parts.port or _PORTS.get(parts.scheme)
    return host if port == _PORTS.get(parts.scheme) else f"{host}:{port}"


def _canonical(host: str) -> str:
    """Shorten an IP address; resolvers also take numbers such as 127.1 for an IPv4 address."""
    with contextlib.suppress(ValueError):
        address = ipaddress.IPv6Address(host)
        return str(address.ipv4_mapped or f"[{address}]")
    with contextlib.suppress(OSError):
        return socket.inet_ntoa(socket.inet_aton(host))
    return host


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
