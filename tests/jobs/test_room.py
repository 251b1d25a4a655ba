"""Room for jobs: places beside interactive requests, first come, first served, and patience."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from serve_app.jobs.room import Room, places_for_jobs
from serve_app.model_status import EngineStats, LoadedModel, ReplicaStatus
from tests.fakes import Clock
from tests.jobs.patience import PATIENCE_S

MODEL = LoadedModel(32_000, 1, 50.0, 30.0, 300, "cpu", "fp32")


def status(slots: int = 8, used: int = 0, queued: int = 0, background: int = 0) -> ReplicaStatus:
    stats = EngineStats(
        slots, slots_used=used, queued_requests=queued, background_requests=background
    )
    return ReplicaStatus(MODEL, stats)


@pytest.mark.parametrize(
    ("replicas", "own", "places"),
    [
        ([], 0, 1),
        ([status()], 0, 7),
        ([status(slots=1)], 0, 1),
        ([status(slots=2)], 0, 1),
        ([status(), status(slots=4)], 0, 10),
        ([status(used=3)], 0, 4),
        ([status(used=8, queued=2)], 0, 0),
        ([status(used=5, background=5)], 5, 7),
        ([status(used=5, background=5)], 2, 4),
        ([status(used=6, queued=1, background=5)], 5, 5),
        ([status(used=3, background=3)], 5, 7),
        ([status(slots=1, used=1)], 0, 0),
    ],
    ids=str,
)
def test_places_are_those_beside_interactive_requests_and_other_workers(
    replicas: list[ReplicaStatus], own: int, places: int
) -> None:
    assert places_for_jobs(replicas, own) == places


def paced(lone_s: float, full_s: float, used: int = 0, slots: int = 8) -> ReplicaStatus:
    stats = EngineStats(slots, slots_used=used, lone_pace_s=lone_s, full_pace_s=full_s)
    return ReplicaStatus(MODEL, stats)


@pytest.mark.parametrize(
    ("replica", "places"),
    [
        (paced(0.010, 0.012), 7),  # a GPU: a full batch is nearly as quick
        (paced(0.010, 0.012, used=3), 4),
        (paced(0.010, 0.024), 1),  # a CPU: two together are a fifth slower
        (paced(0.010, 0.024, used=1), 1),
        (paced(0.010, 0.017), 2),
        (paced(0.010, 0.017, used=2), 1),
        (paced(0.010, 0.080), 1),
        (paced(0.010, 0.024, used=7), 0),
        (paced(0.0, 0.0), 7),  # not measured yet
    ],
    ids=str,
)
def test_beside_interactive_requests_steps_stay_quick(replica: ReplicaStatus, places: int) -> None:
    assert places_for_jobs([replica], 0, yields=True) == places


def test_jobs_yield_for_a_while_after_an_interactive_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = Clock()
    monkeypatch.setattr("serve_app.jobs.room.monotonic", now)
    room = Room(60.0)
    room.measure([paced(0.010, 0.024)])
    alone = room.claimable
    room.measure([paced(0.010, 0.024, used=1)])
    room.measure([paced(0.010, 0.024)])
    beside = room.claimable
    now.now += 30.0
    room.measure([paced(0.010, 0.024)])
    assert (alone, beside, room.claimable) == (9, 3, 9)


def measured(limit: int, patience_s: float = 60.0) -> Room:
    room = Room(patience_s)
    room.measure([status(slots=limit + 1)])
    return room


async def test_places_are_given_in_order_of_arrival() -> None:
    room = measured(1)
    order: list[int] = []

    async def track(number: int) -> None:
        async with room.place():
            order.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(track(number) for number in range(5)))
    assert order == list(range(5))
    assert room.claimable == 3


async def test_few_jobs_are_claimed_ahead_of_their_places() -> None:
    room = measured(2)
    assert room.claimable == 4
    async with AsyncExitStack() as held:
        for _ in range(2):
            await held.enter_async_context(room.place())
        assert room.claimable == 2
        waiting = [asyncio.create_task(held.enter_async_context(room.place())) for _ in range(2)]
        await asyncio.sleep(0)
        assert room.claimable == 0
        assert room.is_wanted
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    assert room.claimable == 4
    assert not room.is_wanted


async def test_a_model_without_a_replica_has_one_place_and_none_ahead() -> None:
    room = Room(60.0)
    room.measure([])
    assert room.claimable == 1
    async with room.place():
        assert room.claimable == 0


async def test_more_replicas_let_waiting_tracks_in() -> None:
    room = measured(1)
    async with room.place(), AsyncExitStack() as held:
        entered = asyncio.create_task(held.enter_async_context(room.place()))
        await asyncio.sleep(0)
        assert not entered.done()
        room.measure([replace(status(), stats=EngineStats(4)), status(slots=4)])
        await entered


async def test_a_track_out_of_patience_goes_on_without_a_place() -> None:
    room = measured(1, patience_s=0.05)
    async with room.place() as left_s, room.place() as none_left_s:
        assert left_s <= 0.05
        assert none_left_s == 0.0
    async with measured(1, patience_s=3600.0).place() as left_s:
        assert 3000.0 < left_s <= 3600.0


async def test_a_cancelled_track_passes_its_place_on() -> None:
    """Also one that is cancelled in the moment in which it gets the place."""
    room = measured(1)
    async with AsyncExitStack() as held:
        async with room.place():
            first = asyncio.create_task(held.enter_async_context(room.place()))
            second = asyncio.create_task(held.enter_async_context(room.place()))
            await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await asyncio.wait_for(second, PATIENCE_S)
    assert room.claimable == 3


def test_a_claimed_job_counts_before_its_first_track_asks_for_a_place() -> None:
    room = measured(2)
    for job_id in ("a", "b", "b", "c"):
        room.expect(job_id)
    assert room.claimable == 1
    room.arrived("a")
    room.arrived("a")
    assert room.claimable == 2
