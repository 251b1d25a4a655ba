"""Estimates of when a track would be finished, from the state of the replicas."""

from collections.abc import Iterable, Sequence

from serve_app.model_status import EngineStats, ReplicaStatus


def expected_s(replicas: Iterable[ReplicaStatus], duration_s: float) -> float | None:
    """Estimate the seconds until the quickest replica would finish a track of `duration_s`.

    Waiting time is included. None when no replica is ready, or none makes a track of that length.
    """
    able = [replica for replica in replicas if duration_s <= replica.model.max_duration_s]
    return min((_expected_s(replica, duration_s) for replica in able), default=None)


def remaining_s(replicas: Sequence[ReplicaStatus], waiting: Sequence[float]) -> float | None:
    """Estimate the seconds until the last of the waiting tracks would be finished.

    waiting: seconds of music of the tracks in their order. None while no replica is ready.
    """
    *earlier, own_s = waiting
    return remaining_at(replicas, len(waiting), sum(earlier), own_s)


def remaining_at(
    replicas: Sequence[ReplicaStatus], position: int, ahead_s: float, own_s: float
) -> float | None:
    """Estimate the seconds until a waiting track would be finished. None while no replica is ready.

    position: its place in the line, 1 at the head; ahead_s: seconds of music of the tracks before
    it; own_s: its own.
    """
    if not replicas:
        return None
    slots = sum(_slots(replica.stats) for replica in replicas)
    used = sum(replica.stats.slots_used for replica in replicas)
    delay_s = 0.0
    if used + position > slots:
        running_s = sum(replica.stats.running_audio_s for replica in replicas)
        delay_s = (running_s + ahead_s) / slots
    batch = min(used + position, slots) / len(replicas)
    second_s = sum(_second_s(replica, batch) for replica in replicas) / len(replicas)
    return (delay_s + own_s) * second_s


def _expected_s(replica: ReplicaStatus, duration_s: float) -> float:
    """Estimate the seconds of one replica.

    With all admitted slots taken, (queued + running audio) / slots come before the track.
    """
    stats = replica.stats
    slots = _slots(stats)
    ahead_s = 0.0
    if stats.slots_used >= slots:
        ahead_s = (stats.queued_audio_s + stats.running_audio_s) / slots
    batch = min(stats.slots_used + 1, slots)
    return (ahead_s + duration_s) * _second_s(replica, batch)


def _slots(stats: EngineStats) -> int:
    """Slots that are filled while more requests wait."""
    return stats.admitted_slots or stats.slots


def _second_s(replica: ReplicaStatus, batch: float) -> float:
    """Seconds that a second of music takes in a batch of so many: one frame per slot and step."""
    return replica.model.frame_rate * pace_s(replica.stats, batch)


def pace_s(stats: EngineStats, batch: float) -> float:
    """Seconds from step to step of a batch, between those of one sequence and of a full batch."""
    slots = _slots(stats)
    if not stats.lone_pace_s or slots == 1:
        return stats.lone_pace_s or stats.step_s
    part = max(0.0, batch - 1) / (slots - 1)
    return stats.lone_pace_s + part * (stats.full_pace_s - stats.lone_pace_s)
