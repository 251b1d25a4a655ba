"""Estimates of when a track would be finished, from the state of the replicas."""

from collections.abc import Iterable

from serve_app.types import ReplicaStatus


def expected_s(replicas: Iterable[ReplicaStatus], duration_s: float) -> float | None:
    """Estimate the seconds until the quickest replica would finish a track of `duration_s`.

    Waiting time is included. None when no replica is ready, or none makes a track of that length.
    """
    able = [replica for replica in replicas if duration_s <= replica.model.max_duration_s]
    return min((_expected_s(replica, duration_s) for replica in able), default=None)


def _expected_s(replica: ReplicaStatus, duration_s: float) -> float:
    """Estimate the seconds of one replica.

    One frame per slot and step. With all slots taken, add (queued + running audio) / slots.
    """
    stats = replica.stats
    ahead_s = 0.0
    if stats.slots_used >= stats.slots:
        ahead_s = (stats.queued_audio_s + stats.running_audio_s) / stats.slots
    return (ahead_s + duration_s) * replica.model.frame_rate * stats.step_s
