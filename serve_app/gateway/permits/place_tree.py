"""Places in a line: an order-statistic tree over tickets in their order of arrival."""

from collections import defaultdict
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a line. position: 1 is the head; ahead_ms: music of the tickets before this one."""

    position: int
    ahead_ms: int

    @property
    def ahead_s(self) -> float:
        return self.ahead_ms / 1000


class PlaceTree:
    """Tickets of one line, each with the milliseconds of music that it waits for.

    A sparse Fenwick tree over sequence numbers: all operations take O(log n) steps, where n is the
    number of tickets since the line was last empty. The tree doubles when they no longer fit.
    """

    def __init__(self) -> None:
        self._counts: defaultdict[int, int] = defaultdict(int)
        self._sums_ms: defaultdict[int, int] = defaultdict(int)
        self._size = 1  # largest node, a power of 2
        self._last = 0  # sequence number of the newest ticket
        self.count = 0
        self.total_ms = 0

    def append(self, music_ms: int) -> int:
        """Add a ticket at the end; return its sequence number."""
        self._last += 1
        if self._last > self._size:
            self._size *= 2
            self._counts[self._size] = self.count
            self._sums_ms[self._size] = self.total_ms
        self._change(self._last, 1, music_ms)
        return self._last

    def remove(self, number: int, music_ms: int) -> None:
        """Remove a ticket that waits. music_ms: as it was appended."""
        self._change(number, -1, -music_ms)
        if not self.count:
            self._last = 0
            self._size = 1

    def place(self, number: int) -> Place:
        """Find the place of a ticket that waits."""
        count = 0
        ahead_ms = 0
        node = number - 1
        while node:
            count += self._counts.get(node, 0)
            ahead_ms += self._sums_ms.get(node, 0)
            node &= node - 1
        return Place(count + 1, ahead_ms)

    def _change(self, number: int, count: int, music_ms: int) -> None:
        self.count += count
        self.total_ms += music_ms
        node = number
        while node <= self._size:
            self._counts[node] += count
            self._sums_ms[node] += music_ms
            if not self._counts[node]:
                del self._counts[node]
                del self._sums_ms[node]
            node += node & -node
