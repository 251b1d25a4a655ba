"""Choice of the replica on which a request is expected to wait least.

Ray Serve pickles this module by value, so it imports nothing of this package.
"""

import heapq
import random
from time import monotonic
from typing import Any

from ray.serve._private.common import ReplicaID
from ray.serve._private.request_router.common import PendingRequest
from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter
from ray.serve._private.request_router.replica_wrapper import RunningReplica

MOST_CANDIDATES = 16  # replicas compared for a request
RECENT = 0.05  # weight of the newest track in the mean length, and step of the median pace
LEAST_LEFT = 0.05  # of an overdue track's music


class SentWork:
    """The tracks that this router has sent, and the seconds of music that they leave to make.

    A track is taken to be made at the median pace of the tracks that have ended: the median, because
    some of them were given up.
    """

    def __init__(self) -> None:
        self._tracks: dict[str, tuple[ReplicaID, float, float]] = {}  # replica, music, time sent
        self._sent: dict[ReplicaID, set[str]] = {}
        self.mean_s = 30.0
        self._pace = 1.0

    def send(self, track: str, replica: ReplicaID, audio_s: float, now: float) -> None:
        """Note the track's replica, in place of one noted before. Calls without music are left out."""
        self.forget(track)
        if audio_s <= 0:
            return
        self._tracks[track] = (replica, audio_s, now)
        self._sent.setdefault(replica, set()).add(track)

    def end(self, track: str, now: float) -> None:
        """Forget a track, and learn from its length and its time."""
        if (found := self.forget(track)) is None:
            return
        _, audio_s, sent_at = found
        self.mean_s += RECENT * (audio_s - self.mean_s)
        faster = audio_s > self._pace * (now - sent_at)
        self._pace *= 1 + RECENT if faster else 1 - RECENT

    def forget(self, track: str) -> tuple[ReplicaID, float, float] | None:
        found = self._tracks.pop(track, None)
        if found is not None:
            self._sent[found[0]].discard(track)
            if not self._sent[found[0]]:
                del self._sent[found[0]]
        return found

    def left_s(self, replica: ReplicaID, now: float) -> list[float]:
        """List the seconds of music that each of the replica's tracks leaves."""
        tracks = (self._tracks[track] for track in self._sent.get(replica, ()))
        return [
            max(LEAST_LEFT * audio_s, audio_s - self._pace * (now - sent_at))
            for _, audio_s, sent_at in tracks
        ]

    def burden(self, replica: ReplicaID, held: int, slots: int, now: float) -> tuple[float, float]:
        """Return the music to be made until a slot is free, and all that is left.

        held: number of the replica's requests. Those of other routers count as of mean length, and
        as evenly far.
        """
        left_s = self.left_s(replica, now)
        others = held - len(left_s)
        left_s += [self.mean_s * (place + 1) / (others + 1) for place in range(others)]
        return expected_wait(sorted(left_s), slots), sum(left_s)


def expected_wait(left_s: list[float], slots: int) -> float:
    """Seconds of music until a slot is free for one more track.

    The first `slots` values take the slots, the others each the next one that is free.
    """
    if len(left_s) < slots:
        return 0.0
    ends = left_s[:slots]
    heapq.heapify(ends)
    for audio_s in left_s[slots:]:
        heapq.heapreplace(ends, ends[0] + audio_s)
    return ends[0]


class WaitRouter(PowerOfTwoChoicesRequestRouter):  # type: ignore[misc]
    """Serve's router with another order: first the replica whose next slot is free soonest.

    Among replicas with free slots, the one with the fewest seconds of music left is first. A track
    that another ingress replica has sent counts as one of mean length: only its number is known, by
    Serve's cache of queue lengths. Slots: `slots` of the replica's metadata, or all that it may hold.
    The choice among nodes, limits of replicas, and retries are Serve's own.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._work = SentWork()

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """Rank replicas, one in each rank, and those that are full together in the last one."""
        if pending_request is not None and pending_request.metadata.multiplexed_model_id:
            chosen = self.apply_multiplex_routing(pending_request)
        else:
            chosen = self.apply_locality_routing(pending_request)
        candidates = _sample([one for one in candidate_replicas if one.replica_id in chosen])
        if len(candidates) > 1:
            await self._probe_unknown(candidates)
        free = self.select_available_replicas(candidates)
        now = monotonic()
        free.sort(key=lambda replica: self._burden(replica, now))
        if free and pending_request is not None:
            self._expect(pending_request, free[0].replica_id, now)
        full = [replica for replica in candidates if replica not in free]
        return [[replica] for replica in free] + [full]

    def on_request_routed(
        self, pending_request: PendingRequest, replica_id: ReplicaID, result: Any
    ) -> None:
        """Note the replica that has accepted the request."""
        super().on_request_routed(pending_request, replica_id, result)
        track = pending_request.metadata.internal_request_id
        self._work.send(track, replica_id, _audio_s(pending_request), monotonic())

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        """Forget the request."""
        super().on_request_completed(replica_id, internal_request_id)
        self._work.end(internal_request_id, monotonic())

    async def _probe_unknown(self, candidates: list[RunningReplica]) -> None:
        """Ask the replicas of which the cache does not know the number of requests."""
        cache = self._replica_queue_len_cache
        unknown = [replica for replica in candidates if cache.get(replica.replica_id) is None]
        await self._probe_queue_lens(unknown, 0)

    def _expect(self, request: PendingRequest, replica: ReplicaID, now: float) -> None:
        """Count a request before it is accepted, so that the next one sees it."""
        track = request.metadata.internal_request_id
        self._work.send(track, replica, _audio_s(request), now)
        request.future.add_done_callback(
            lambda future: self._work.forget(track) if future.cancelled() else None
        )

    def _burden(self, replica: RunningReplica, now: float) -> tuple[float, float, float]:
        """Sort key: music until a slot is free, music left, and chance."""
        name = replica.replica_id
        slots = int(replica.replica_metadata.get("slots", replica.max_ongoing_requests))
        held = self._replica_queue_len_cache.get(name) or 0
        return *self._work.burden(name, held, slots, now), random.random()


def _sample(replicas: list[RunningReplica]) -> list[RunningReplica]:
    few = len(replicas) <= MOST_CANDIDATES
    return replicas if few else random.sample(replicas, MOST_CANDIDATES)


def _audio_s(request: PendingRequest) -> float:
    """Seconds of music to make for a request; 0 for a call of another kind."""
    wanted = request.args[0] if request.args else None
    duration_s = float(getattr(wanted, "duration_s", 0.0))
    prompt = getattr(wanted, "audio_prompt", None)
    return max(0.0, duration_s - (prompt.duration_s if prompt is not None else 0.0))
