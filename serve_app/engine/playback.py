"""Playback of a stream by a listener who plays each chunk as soon as possible."""


class Playback:
    """The time until which a listener has audio. The first chunk starts it."""

    def __init__(self) -> None:
        self._ends_at: float | None = None

    def add(self, arrived_at: float, audio_s: float) -> bool:
        """Add a chunk; return whether it is late: the audio before it had ended already."""
        late = self._ends_at is not None and arrived_at > self._ends_at
        begins_at = arrived_at if self._ends_at is None else max(arrived_at, self._ends_at)
        self._ends_at = begins_at + audio_s
        return late
