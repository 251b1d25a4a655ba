"""The line of one model over all sessions."""

from collections import defaultdict

from serve_app.gateway.permits.messages import LineAnswer, LineReport
from serve_app.gateway.permits.place_tree import PlaceTree


class SharedLine:
    """Tickets of all sessions, in the order in which they were reported."""

    def __init__(self) -> None:
        self._tree = PlaceTree()
        self._tickets: defaultdict[str, dict[int, tuple[int, int]]] = defaultdict(dict)
        self._rates: dict[str, float] = {}

    def apply(self, session: str, report: LineReport) -> LineAnswer:
        """Take in the news of a session, and answer."""
        tickets = self._tickets[session]
        for number, music_ms in report.events:
            if music_ms and number not in tickets:
                tickets[number] = (self._tree.append(music_ms), music_ms)
            elif not music_ms and number in tickets:
                self._tree.remove(*tickets.pop(number))
        self._rates[session] = report.rate
        places = []
        for number in report.asked:
            if number in tickets:
                place = self._tree.place(tickets[number][0])
                places.append((number, place.position, place.ahead_ms))
        rate = sum(self._rates.values())
        tree = self._tree
        return LineAnswer(report.model, tuple(places), tree.count, tree.total_ms, rate)

    def end(self, session: str) -> None:
        """Remove the tickets of a session that has ended."""
        self._rates.pop(session, None)
        for ticket in self._tickets.pop(session, {}).values():
            self._tree.remove(*ticket)
