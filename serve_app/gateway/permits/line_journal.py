"""The line of one model as one ingress replica knows it."""

import math
from dataclasses import dataclass

from serve_app.gateway.permits.messages import LineAnswer, LineReport
from serve_app.gateway.permits.place_tree import Place, PlaceTree
from serve_app.gateway.permits.rate import Rate

_QUIET_S = 0.5  # between two reports of a line without news


@dataclass(frozen=True, slots=True)
class Ticket:
    """A request in the line. number: of the request; sequence: in this replica's tree."""

    number: int
    music_ms: int
    sequence: int


class LineJournal:
    """Tickets of this replica's requests, and what the coordinator told of all others.

    Places among all replicas are known with the coordinator's next answer; until then a ticket is
    taken to be behind all tickets of the others.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._tree = PlaceTree()
        self._tickets: dict[int, Ticket] = {}
        self._last = 0
        self._news: dict[int, int] = {}
        self._asked: set[int] = set()
        self._places: dict[int, Place] = {}
        self._others = LineAnswer(model, (), 0, 0, 0.0)
        self._made = Rate()
        self._told_rate = 0.0
        self._told_at = -math.inf
        self._told_count = 0
        self._told_ms = 0

    def enter(self, music_ms: int) -> Ticket:
        """Add a ticket at the end of the line."""
        self._last += 1
        ticket = Ticket(self._last, music_ms, self._tree.append(music_ms))
        self._tickets[ticket.number] = ticket
        self._news[ticket.number] = music_ms
        self._asked.add(ticket.number)
        return ticket

    def leave(self, ticket: Ticket) -> bool:
        """Remove a ticket; tell whether it was in the line."""
        if self._tickets.pop(ticket.number, None) is None:
            return False
        self._tree.remove(ticket.sequence, ticket.music_ms)
        self._asked.discard(ticket.number)
        self._places.pop(ticket.number, None)
        if self._news.pop(ticket.number, 0) == 0:
            self._news[ticket.number] = 0
        return True

    def place(self, ticket: Ticket) -> Place:
        """Find the ticket's place among all replicas' tickets, and have it asked for anew."""
        own = self._tree.place(ticket.sequence)
        self._asked.add(ticket.number)
        known = self._places.get(ticket.number)
        if known is None:
            return Place(own.position + self._others.count, own.ahead_ms + self._others.total_ms)
        return Place(max(own.position, known.position), max(own.ahead_ms, known.ahead_ms))

    @property
    def count(self) -> int:
        """Number of waiting requests of all replicas."""
        return self._tree.count + self._others.count

    @property
    def total_ms(self) -> int:
        """Music that they wait for, in milliseconds."""
        return self._tree.total_ms + self._others.total_ms

    def record(self, audio_s: float, now: float) -> None:
        """Record that `audio_s` seconds of music were made for this replica."""
        self._made.record(audio_s, now)

    def rate(self, now: float) -> float:
        """Compute the seconds of music made per second for all replicas; 0 where it is unknown."""
        return self._made.per_s(now) + self._others.rate / 1000

    @property
    def has_news(self) -> bool:
        return bool(self._news or self._asked)

    def restate(self) -> None:
        """Report all tickets again, as to a coordinator that knows none."""
        self._news = {number: ticket.music_ms for number, ticket in self._tickets.items()}
        self._asked = set(self._tickets) & set(self._places)
        self.forget_others()

    def forget_others(self) -> None:
        """Forget the other replicas, which are out of reach."""
        self._places.clear()
        self._others = LineAnswer(self._model, (), 0, 0, 0.0)

    def collect(self, now: float) -> LineReport | None:
        """Take the news for a report, or ask for those of others; None soon after a report."""
        rate = round(1000 * self._made.per_s(now))
        if not self.has_news and now - self._told_at < _QUIET_S:
            return None
        report = LineReport(self._model, tuple(self._news.items()), tuple(self._asked), rate)
        self._news = {}
        self._asked = set()
        self._told_rate = rate
        self._told_at = now
        self._told_count = self._tree.count
        self._told_ms = self._tree.total_ms
        return report

    def put_back(self, report: LineReport) -> None:
        """Report the same news again: no reply came."""
        self._news = dict(report.events) | self._news
        self._asked |= set(report.asked) & self._tickets.keys()
        self._told_at = -math.inf

    def apply(self, answer: LineAnswer) -> None:
        """Take in the coordinator's answer to the last report."""
        for number, position, ahead_ms in answer.places:
            if number in self._tickets:
                self._places[number] = Place(position, ahead_ms)
        self._others = LineAnswer(
            self._model,
            (),
            max(0, answer.count - self._told_count),
            max(0, answer.total_ms - self._told_ms),
            max(0.0, answer.rate - self._told_rate),
        )
