"""The router's choice: replicas with a free slot first, then by the music that is left."""

import asyncio
import pickle
import subprocess
import sys
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from ray.serve._private.common import DeploymentHandleSource, DeploymentID, ReplicaID
from ray.serve.config import RequestRouterConfig

from serve_app.deployments import wait_router
from serve_app.deployments.wait_router import SentWork, WaitRouter, expected_wait
from tests.fakes import Clock

DEPLOYMENT = DeploymentID("MusicGen:nano", "musicgen")


@pytest.fixture(autouse=True)
def _no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """No track is made while a test asks."""
    monkeypatch.setattr(wait_router, "monotonic", Clock())


@dataclass
class Replica:
    """Serve's view of a replica. held: number of its requests when it is asked."""

    name: str
    held: int = 0
    max_ongoing_requests: int = 65
    replica_metadata: dict[str, int] = field(default_factory=lambda: {"slots": 2})
    node_id: str = "node"
    availability_zone: str | None = None
    multiplexed_model_ids: set[str] = field(default_factory=set)

    @property
    def replica_id(self) -> ReplicaID:
        return ReplicaID(self.name, DEPLOYMENT)

    async def get_queue_len(self, *, deadline_s: float) -> int:
        assert deadline_s > 0
        return self.held


class Routed:
    """A WaitRouter, and the requests sent by it."""

    def __init__(self, *replicas: Replica) -> None:
        self.router: Any = WaitRouter(
            deployment_id=DEPLOYMENT,
            handle_source=DeploymentHandleSource.REPLICA,
            use_replica_queue_len_cache=True,
        )
        self.router.update_replicas(list(replicas))
        self._count = 0

    def request(self, duration_s: float) -> Any:
        self._count += 1
        metadata = SimpleNamespace(
            internal_request_id=str(self._count), multiplexed_model_id="", request_id="r"
        )
        return SimpleNamespace(
            args=[SimpleNamespace(duration_s=duration_s)],
            metadata=metadata,
            routing_context=SimpleNamespace(tried_same_node=False, tried_same_az=False),
            future=asyncio.get_running_loop().create_future(),
        )

    async def ranks(self, request: Any) -> list[list[str]]:
        found = await self.router.choose_replicas(list(self.router.curr_replicas.values()), request)
        return [[replica.name for replica in rank] for rank in found]

    async def send(self, duration_s: float) -> str:
        """Send a request as Serve's router does; return the replica."""
        request = self.request(duration_s)
        [[name], *_] = await self.ranks(request)
        replica = ReplicaID(name, DEPLOYMENT)
        self.router.on_send_request(replica)
        self.router.on_request_routed(request, replica, None)
        return name

    def end(self, number: int, name: str) -> None:
        replica = ReplicaID(name, DEPLOYMENT)
        self.router.decrement_queue_len_cache(replica)
        self.router.on_request_completed(replica, str(number))


async def test_less_music_comes_before_fewer_requests() -> None:
    routed = Routed(*(Replica(name, replica_metadata={"slots": 8}) for name in "ab"))
    long = await routed.send(120.0)
    other = "b" if long == "a" else "a"
    assert [await routed.send(20.0) for _ in range(4)] == [other] * 4


async def test_a_free_slot_comes_before_less_music() -> None:
    """Two short tracks fill the slots of one replica: the next request goes beside the long one."""
    routed = Routed(Replica("a"), Replica("b"))
    long = await routed.send(120.0)
    other = "b" if long == "a" else "a"
    assert [await routed.send(8.0) for _ in range(3)] == [other, other, long]


async def test_without_free_slots_the_soonest_comes_first() -> None:
    routed = Routed(Replica("a"), Replica("b"))
    sent = [await routed.send(duration_s) for duration_s in (120.0, 100.0, 90.0, 30.0)]
    assert await routed.send(8.0) == sent[3], "a slot is free in 30 s"


async def test_tracks_that_have_ended_do_not_count() -> None:
    routed = Routed(Replica("a"), Replica("b"))
    long = await routed.send(120.0)
    await routed.send(20.0)
    routed.end(1, long)
    assert await routed.send(8.0) == long


async def test_requests_in_progress_count_for_each_other() -> None:
    """Both are chosen for before either is accepted."""
    routed = Routed(Replica("a"), Replica("b"))
    requests = [routed.request(30.0) for _ in range(2)]
    firsts = [(await routed.ranks(request))[0][0] for request in requests]
    assert sorted(firsts) == ["a", "b"]


async def test_a_cancelled_request_does_not_count() -> None:
    routed = Routed(Replica("a"), Replica("b"))
    request = routed.request(120.0)
    [[name], *_] = await routed.ranks(request)
    request.future.cancel()
    await asyncio.sleep(0)
    assert routed.router._work.left_s(ReplicaID(name, DEPLOYMENT), 0.0) == []


async def test_tracks_of_other_ingress_replicas_count() -> None:
    routed = Routed(Replica("a", held=2), Replica("b", held=0))
    assert [await routed.send(8.0) for _ in range(2)] == ["b", "b"]


async def test_full_replicas_are_asked_last() -> None:
    """Serve asks them whether they have room by now."""
    routed = Routed(Replica("a", held=3, max_ongoing_requests=3), Replica("b"))
    assert await routed.ranks(routed.request(8.0)) == [["b"], ["a"]]


async def test_calls_without_music_are_no_work() -> None:
    routed = Routed(Replica("a"), Replica("b"))
    await routed.send(0.0)
    mean_s = routed.router._work.mean_s
    routed.end(1, "a")
    assert routed.router._work.mean_s == mean_s


@pytest.mark.parametrize(
    ("left_s", "slots", "wait_s"),
    [
        ([], 1, 0.0),
        ([5.0], 2, 0.0),
        ([5.0, 7.0], 2, 5.0),
        ([5.0, 7.0, 9.0], 2, 7.0),
        ([5.0, 7.0, 9.0, 9.0], 2, 14.0),
    ],
)
def test_a_slot_is_free_when_the_tracks_before_have_ended(
    left_s: list[float], slots: int, wait_s: float
) -> None:
    assert expected_wait(left_s, slots) == wait_s


def test_the_pace_is_the_median() -> None:
    """Tracks are made at twice the speed of music; every third is given up at once."""
    work = SentWork()
    replica = ReplicaID("a", DEPLOYMENT)
    for track in range(300):
        work.send(str(track), replica, 30.0, 0.0)
        work.end(str(track), 0.1 if track % 3 == 0 else 15.0 + track % 7 * 0.01)
    work.send("last", replica, 30.0, 0.0)
    assert work.left_s(replica, 10.0) == pytest.approx([10.0], abs=3.0)
    assert work.left_s(replica, 100.0) == pytest.approx([1.5]), "an overdue track leaves a little"


def test_it_is_pickled_without_this_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the module's clock is pickled, too
    config = RequestRouterConfig(request_router_class=f"{WaitRouter.__module__}:WaitRouter")
    pickled = config._serialized_request_router_cls
    program = f"import sys, pickle; sys.modules['serve_app'] = None; print(pickle.loads({pickled!r}).__name__)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout.strip() == "WaitRouter", found.stderr
    assert pickle.loads(pickled) is not None
