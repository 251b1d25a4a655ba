"""Admission by time: only requests that will be finished before their deadlines."""

import contextlib
from bisect import bisect_right
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass
from heapq import nlargest
from time import time

from serve_app.errors import DeadlineExceeded, QueueFull
from serve_app.gateway.compute import charged_s
from serve_app.gateway.estimate import pace_s
from serve_app.gateway.generator import Generator
from serve_app.gateway.outstanding import Outstanding, OutstandingTrack
from serve_app.gateway.permits.permits import Permits
from serve_app.gateway.readiness import Readiness
from serve_app.gateway.server_facts import ServerFacts
from serve_app.model_status import ModelCard, ReplicaStatus
from serve_app.types import AudioChunk, GenerationRequest, StreamItem

_MARGIN = 1.5  # of an estimate: paces vary, and replicas are not filled evenly
_OVERHEAD_S = 0.5  # of a request, beside its steps


class DeadlineUnattainable(DeadlineExceeded):
    """The same code: the track would be late even on an idle replica. Trying again is no use."""

    retryable = False


class QueueLate(QueueFull):
    """The same code: only other requests make the track late, or it would make one of them late."""


class PunctualGenerator:
    """Refuses at once a request that would miss its deadline, by the pace that replicas measure.

    The deadline is that of the whole track, also of a streamed one. A request joins no batch whose
    other tracks it would make late. Background requests, whose jobs have deadlines of their own, and
    requests for a model that no ready replica has measured, pass.
    """

    def __init__(
        self,
        generator: Generator,
        cards: Iterable[ModelCard],
        readiness: Readiness,
        permits: Permits,
        server: ServerFacts,
    ) -> None:
        self._generator = generator
        self._readiness = readiness
        self._cards = {card.model_id: card for card in cards}
        self._outstanding = {name: Outstanding(permits.line(name)) for name in self._cards}
        self._server = server

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[StreamItem, None]:
        """Pass the items on.

        Raises DeadlineUnattainable for a track that even an idle replica would finish too late, and
        QueueLate where only other requests make it late, with the time after which to retry.
        """
        track = OutstandingTrack(_to_make_s(request), request.deadline)
        outstanding = self._outstanding[request.model]
        if request.deadline is not None and not request.background:
            replicas = await self._readiness.known_replicas(self._cards[request.model])
            outstanding.see(replicas)
            load = _Load(*outstanding.total(self._server.processes()), tuple(outstanding.tracks))
            _check(track, request.deadline - time(), load, replicas)
        outstanding.add(track)
        try:
            async with contextlib.aclosing(self._generator.generate(request)) as items:
                async for item in items:
                    if isinstance(item, AudioChunk):
                        outstanding.advance(track, item.duration_s)
                    yield item
        finally:
            outstanding.remove(track)


@dataclass(frozen=True, slots=True)
class _Load:
    """Unfinished tracks, and their seconds of music; own: those of this process."""

    count: int
    audio_s: float
    own: Sequence[OutstandingTrack]

    @property
    def running(self) -> list[OutstandingTrack]:
        """Own tracks that are being made."""
        return [track for track in self.own if track.begun]


def _to_make_s(request: GenerationRequest) -> float:
    """Seconds of music that the replica makes, of an audio prompt nothing."""
    prompt_s = 0.0 if request.audio_prompt is None else request.audio_prompt.duration_s
    return max(0.0, charged_s(request) - prompt_s)


def _check(
    track: OutstandingTrack,
    left_s: float,
    load: _Load,
    replicas: Sequence[ReplicaStatus],
) -> None:
    """Raise DeadlineUnattainable and QueueLate. left_s: seconds until the request's deadline."""
    if not replicas or not all(replica.stats.lone_pace_s for replica in replicas):
        return
    alone_s = track.left_s * min(_second_s(replica, 1) for replica in replicas)
    if alone_s > left_s:
        raise DeadlineUnattainable(
            f"The track takes about {alone_s:.1f} s even on an idle replica, and the request allows "
            f"{max(0.0, left_s):.1f} s. Allow more time, or ask for a shorter track."
        )
    if not load.count:
        return  # only the track itself can make it late
    after_s = max(_in_time_after_s(track, left_s, load, replicas), _lateness_s(load, replicas))
    if after_s > 0:
        raise QueueLate(
            f"{load.count} requests for {load.audio_s:.0f} seconds of music come before this one, "
            f"or beside it: a deadline would be missed. Send the request again in about {after_s:.1f} s, "
            "or allow more time.",
            after_s,
        )


def _in_time_after_s(
    track: OutstandingTrack, left_s: float, load: _Load, replicas: Sequence[ReplicaStatus]
) -> float:
    """Seconds until the track would be in time if no more came, with the margin; 0 where it is now.

    All slots work until it has one of its own. Where a full batch is too slow for it, some must be
    free: then the tracks that are nearest to their ends come to them.
    """
    slots = sum(_slots(replica) for replica in replicas)

    def own_s(beside: int) -> float:
        return _MARGIN * track.left_s * _batch_second_s(beside + 1, replicas) + _OVERHEAD_S

    wait_s = 0.0
    if load.count >= slots:
        wait_s = load.audio_s / slots * _batch_second_s(load.count + 1, replicas)
    late_s = _MARGIN * wait_s + own_s(load.count) - left_s
    if late_s <= 0 or own_s(slots - 1) <= left_s:
        return max(0.0, late_s)
    most_beside = bisect_right(range(1, min(load.count, slots)), left_s, key=own_s)
    return (
        _MARGIN * _music_until_s(most_beside, slots, load) * _batch_second_s(load.count, replicas)
    )


def _music_until_s(tracks: int, slots: int, load: _Load) -> float:
    """Seconds of music that each slot makes until only `tracks` are left, of those of the load.

    Those that this process runs are known; the others are as long as their mean. No end comes before
    those of this process's tracks that must end, however they share the slots.
    """
    running = [one.left_s for one in load.running][:slots]
    others = load.count - len(running)
    rest_s = max(0.0, load.audio_s - sum(running))
    in_slots = min(others, slots - len(running))
    if others:
        running += [rest_s / others] * in_slots
        rest_s *= 1 - in_slots / others
    must_end_s = nlargest(tracks + 1, (one.left_s for one in load.own))
    own_s = must_end_s[-1] if len(must_end_s) > tracks else 0.0
    return max(own_s, rest_s / slots + sorted(running)[len(running) - tracks - 1])


def _lateness_s(load: _Load, replicas: Sequence[ReplicaStatus]) -> float:
    """Seconds until a further track makes no running one late; 0 where it makes none late now.

    A running track that comes nearer to its end needs less of the time that it has left.
    """
    now_s = _batch_second_s(load.count, replicas)
    then_s = _batch_second_s(load.count + 1, replicas)
    if then_s <= now_s:
        return 0.0
    now = time()
    late_s = [
        _MARGIN * track.left_s * then_s - (track.deadline - now)
        for track in load.running
        if track.deadline is not None and _MARGIN * track.left_s * now_s <= track.deadline - now
    ]
    return max([0.0, *late_s]) / (_MARGIN * then_s / now_s - 1)


def _batch_second_s(tracks: int, replicas: Sequence[ReplicaStatus]) -> float:
    """Seconds that a second of music takes while there are so many tracks, in the slowest replica."""
    share = max(1.0, tracks / len(replicas))
    return max(_second_s(replica, min(share, _slots(replica))) for replica in replicas)


def _second_s(replica: ReplicaStatus, batch: float) -> float:
    return replica.model.frame_rate * pace_s(replica.stats, batch)


def _slots(replica: ReplicaStatus) -> int:
    return replica.stats.admitted_slots or replica.stats.slots
