"""Admission by time: only requests that will be finished before their deadlines."""

import contextlib
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass
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
        QueueFull where only other requests make it late, with the time after which to retry.
        """
        track = OutstandingTrack(_to_make_s(request), request.deadline)
        outstanding = self._outstanding[request.model]
        if request.deadline is not None and not request.background:
            replicas = await self._readiness.known_replicas(self._cards[request.model])
            outstanding.see(replicas)
            load = _Load(*outstanding.total(self._server.processes()), outstanding.running)
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
    """Unfinished tracks, and their seconds of music; running: those of this process."""

    count: int
    audio_s: float
    running: Iterable[OutstandingTrack]


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
    """Raise DeadlineUnattainable and QueueFull. left_s: seconds until the request's deadline."""
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
    late_s = max(_expected_s(track, load, replicas) - left_s, _lateness_s(load, replicas))
    if late_s > 0:
        raise QueueFull(
            f"{load.count} requests for {load.audio_s:.0f} seconds of music come before this one, "
            f"or beside it: a deadline would be missed by about {late_s:.1f} s. "
            "Send the request again later, or allow more time.",
            late_s,
        )


def _expected_s(track: OutstandingTrack, load: _Load, replicas: Sequence[ReplicaStatus]) -> float:
    """Seconds until the track is finished: all slots work until it has one of its own."""
    slots = sum(_slots(replica) for replica in replicas)
    batch_s = _batch_second_s(load.count + 1, replicas)
    wait_s = load.audio_s / slots * batch_s if load.count >= slots else 0.0
    return _MARGIN * (wait_s + track.left_s * batch_s) + _OVERHEAD_S


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
