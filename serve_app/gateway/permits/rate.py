"""The recent rate at which music is made."""

from collections import deque

_PERIOD_S = 10.0


class Rate:
    """Music made in the last seconds."""

    def __init__(self) -> None:
        self._made: deque[tuple[float, float]] = deque()  # (time, seconds of music)
        self._total_s = 0.0

    def record(self, audio_s: float, now: float) -> None:
        """Record that `audio_s` seconds of music were made."""
        self._made.append((now, audio_s))
        self._total_s += audio_s
        self._forget(now)

    def per_s(self, now: float) -> float:
        """Compute the seconds of music made per second; 0 where none was made lately."""
        self._forget(now)
        if not self._made:
            return 0.0
        return self._total_s / max(now - self._made[0][0], 1.0)

    def _forget(self, now: float) -> None:
        while self._made and now - self._made[0][0] > _PERIOD_S:
            self._total_s -= self._made.popleft()[1]
        if not self._made:
            self._total_s = 0.0
