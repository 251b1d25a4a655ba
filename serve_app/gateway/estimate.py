"""When a piece would be finished, from what a replica says of itself."""

from collections.abc import Iterable

from serve_app.types import ReplicaStatus


def expected_s(replicas: Iterable[ReplicaStatus], duration_s: float) -> float | None:
    """Seconds until the quickest replica would have made `duration_s` seconds of music, those that wait before it
    included. None where no replica is ready, or none makes a piece so long."""
    able = [replica for replica in replicas if duration_s <= replica.model.max_duration_s]
    return min((_expected_s(replica, duration_s) for replica in able), default=None)


def _expected_s(replica: ReplicaStatus, duration_s: float) -> float:
    """The slots advance together, a frame a step; a piece that has to wait does so until its share of all is made."""
    stats = replica.stats
    waiting = stats.slots_used >= stats.slots
    ahead_s = (stats.queued_audio_s + stats.running_audio_s) / stats.slots if waiting else 0.0
    return (ahead_s + duration_s) * replica.model.frame_rate * stats.step_s
