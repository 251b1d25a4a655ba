"""The line of requests that wait for one model."""

from collections import deque
from time import monotonic

from serve_app.errors import QueueFull

_RATE_PERIOD_S = 10.0


class WaitingLine:
    """Requests of one model without audio, oldest first, and the rate at which audio is made.

    max_audio_s: seconds of music that may wait; None: no bound.
    """

    def __init__(self, max_audio_s: float | None) -> None:
        self._max_audio_s = max_audio_s
        self._waiting: dict[object, float] = {}
        self._made: deque[tuple[float, float]] = deque()  # (time, seconds of audio)

    def enter(self, duration_s: float) -> object:
        """Return a ticket for the end of the line.

        A request that finds the line empty is always admitted. Raises QueueFull, with the
        time after which to retry.
        """
        waiting_s = sum(self._waiting.values())
        if self._exceeds(waiting_s + duration_s):
            raise QueueFull(
                f"{len(self._waiting)} requests for {waiting_s:.0f} seconds of music are waiting "
                "for this model. Send the request again later.",
                self._seconds_for(duration_s),
            )
        ticket = object()
        self._waiting[ticket] = duration_s
        return ticket

    def leave(self, ticket: object) -> None:
        """Remove a request whose audio has begun, or whose caller went away. Idempotent."""
        self._waiting.pop(ticket, None)

    def up_to(self, ticket: object) -> list[float]:
        """List the seconds of music of the requests up to this one, oldest first."""
        tickets = list(self._waiting)
        return [self._waiting[earlier] for earlier in tickets[: tickets.index(ticket) + 1]]

    def record(self, audio_s: float) -> None:
        """Record that `audio_s` seconds of audio were made."""
        self._made.append((monotonic(), audio_s))
        self._forget_old()

    def _forget_old(self) -> None:
        while self._made and monotonic() - self._made[0][0] > _RATE_PERIOD_S:
            self._made.popleft()

    def _exceeds(self, audio_s: float) -> bool:
        return self._max_audio_s is not None and bool(self._waiting) and audio_s > self._max_audio_s

    def _seconds_for(self, audio_s: float) -> float | None:
        """Estimate the seconds that `audio_s` take at the recent rate; None without a rate."""
        self._forget_old()
        if not self._made:
            return None
        elapsed_s = max(monotonic() - self._made[0][0], 1.0)
        made_s = sum(made_s for _, made_s in self._made)
        return audio_s * elapsed_s / made_s if made_s else None
