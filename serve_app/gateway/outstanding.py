"""The unfinished tracks of one model: this process's, and those of others."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from serve_app.gateway.permits.line_journal import LineJournal
from serve_app.model_status import ReplicaStatus


@dataclass(slots=True, eq=False)
class OutstandingTrack:
    """A track that is not finished.

    left_s: seconds of music that are still to be made; deadline: Unix time, None without one;
    begun: whether a replica makes it.
    """

    left_s: float
    deadline: float | None
    begun: bool = False


@dataclass(slots=True)
class _Sum:
    """Tracks, and the seconds of music that they still need."""

    count: int = 0
    audio_s: float = 0.0

    def add(self, count: int, audio_s: float) -> None:
        self.count += count
        self.audio_s = max(0.0, self.audio_s + audio_s) if self.count else 0.0

    def beyond(self, own: "_Sum") -> "_Sum":
        """Subtract this process's own; nothing falls below zero."""
        more = max(0, self.count - own.count)
        return _Sum(more, max(0.0, self.audio_s - own.audio_s) if more else 0.0)


class Outstanding:
    """This process's tracks exactly, and the others by three estimates of which the largest counts.

    The replicas tell which tracks they hold, as it was a few seconds ago; jobs are among them. The
    line tells which requests of all processes wait, some time after they came. And since the
    processes share requests evenly, each of the others has about as many waiting as this one, which
    is all that is known of a burst.

    line: of all processes, where permits are shared.
    """

    def __init__(self, line: LineJournal) -> None:
        self._line = line
        self._tracks: set[OutstandingTrack] = set()
        self._begun = _Sum()
        self._waiting = _Sum()
        self._seen: Sequence[ReplicaStatus] | None = None
        self._others_begun = _Sum()
        self._others_queued = _Sum()

    def add(self, track: OutstandingTrack) -> None:
        self._tracks.add(track)
        self._waiting.add(1, track.left_s)

    def advance(self, track: OutstandingTrack, audio_s: float) -> None:
        """Take note of seconds of music that were made."""
        if not track.begun:
            self._waiting.add(-1, -track.left_s)
            self._begun.add(1, track.left_s)
            track.begun = True
        made_s = min(audio_s, track.left_s)
        track.left_s -= made_s
        self._begun.add(0, -made_s)

    def remove(self, track: OutstandingTrack) -> None:
        self._tracks.remove(track)
        of_its_kind = self._begun if track.begun else self._waiting
        of_its_kind.add(-1, -track.left_s)

    def see(self, replicas: Sequence[ReplicaStatus]) -> None:
        """Take in statuses, each list of them once: own tracks are compared as they are then."""
        if replicas is self._seen:
            return
        self._seen = replicas
        stats = [replica.stats for replica in replicas]
        running = _Sum(
            sum(one.slots_used for one in stats), sum(one.running_audio_s for one in stats)
        )
        queued = _Sum(
            sum(one.queued_requests for one in stats), sum(one.queued_audio_s for one in stats)
        )
        self._others_begun = running.beyond(self._begun)
        self._others_queued = queued.beyond(self._waiting)

    def total(self, processes: int) -> tuple[int, float]:
        """Estimate the number of unfinished tracks, and their seconds of music still to be made."""
        line = _Sum(self._line.count, self._line.total_ms / 1000).beyond(self._waiting)
        others = [line, self._others_queued, self._mirrored(processes - 1)]
        count = max(other.count for other in others)
        audio_s = max(other.audio_s for other in others)
        return (
            self._begun.count + self._waiting.count + self._others_begun.count + count,
            self._begun.audio_s + self._waiting.audio_s + self._others_begun.audio_s + audio_s,
        )

    def _mirrored(self, peers: int) -> _Sum:
        return _Sum(peers * self._waiting.count, peers * self._waiting.audio_s)

    @property
    def tracks(self) -> Iterable[OutstandingTrack]:
        """This process's tracks."""
        return self._tracks
