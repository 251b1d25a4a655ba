"""The line of requests that wait for one model."""

from serve_app.errors import QueueFull
from serve_app.gateway.permits.allowance import Allowance, Shortage, Want
from serve_app.gateway.permits.line_journal import Ticket
from serve_app.gateway.permits.permits import Permits
from serve_app.gateway.permits.place_tree import Place


class WaitingLine:
    """Requests of one model without audio, in order, and the rate at which audio is made.

    The line is that of all processes whose permits have one coordinator. Its operations take
    O(log n) steps.
    max_audio_s: seconds of music that may wait; None: no bound. permits: None: of this process alone.
    """

    def __init__(
        self, model_id: str, max_audio_s: float | None, permits: Permits | None = None
    ) -> None:
        self._model_id = model_id
        self._permits = permits or Permits()
        self._bound: Allowance | None = None
        if max_audio_s is not None:
            self._bound = Allowance(
                f"line:{model_id}", round(1000 * max_audio_s), takes_any_alone=True
            )

    async def enter(self, duration_s: float) -> Ticket:
        """Return a ticket for the end of the line.

        A request that finds the line empty is always admitted. Raises QueueFull, with the time
        after which to retry, unless no audio was made lately.
        """
        music_ms = max(1, round(1000 * duration_s))
        if self._bound is not None:
            try:
                await self._permits.take(Want(self._bound, music_ms))
            except Shortage as shortage:
                raise self._refusal(shortage) from shortage
        return self._permits.enter(self._model_id, music_ms)

    def leave(self, ticket: Ticket) -> None:
        """Remove a request whose audio has begun, or whose caller went away. Idempotent."""
        if self._permits.leave(self._model_id, ticket) and self._bound is not None:
            self._permits.give_back(Want(self._bound, ticket.music_ms))

    def place(self, ticket: Ticket) -> Place:
        """Find the place of a request that waits."""
        return self._permits.place(self._model_id, ticket)

    def record(self, audio_s: float) -> None:
        """Record that `audio_s` seconds of audio were made."""
        self._permits.line(self._model_id).record(audio_s, self._permits.now)

    def _refusal(self, shortage: Shortage) -> QueueFull:
        """Explain a full line, with the time until there is room at the recent rate."""
        line = self._permits.line(self._model_id)
        waiting_s = (shortage.want.allowance.limit - shortage.available) / 1000
        missing_s = min(waiting_s, (shortage.want.amount - shortage.available) / 1000)
        rate = line.rate(self._permits.now)
        return QueueFull(
            f"{max(1, line.count)} requests for {waiting_s:.0f} seconds of music are waiting "
            "for this model. Send the request again later.",
            missing_s / rate if rate else None,
        )
