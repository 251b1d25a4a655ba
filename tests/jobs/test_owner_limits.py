"""Jobs of a key at its limits: few are refused, and none is told of before it has begun."""

import asyncio
import logging
from pathlib import Path

import pytest

from serve_app.config.api import AccessConfig
from serve_app.jobs.database_store import DatabaseStore
from serve_app.jobs.job import JobStatus, Webhook
from serve_app.jobs.owner_limits import OwnerLimits
from serve_app.jobs.store import Progressed
from tests.jobs.stores import HOOK, LEASE_S, MOST, added, claimed, message, rows_of
from tests.jobs.workshop import OWNER, Workshop, eventually, has_looked, workshop


class Clock:
    """A clock that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("serve_app.jobs.owner_limits.monotonic", clock)
    return clock


def held(limits: OwnerLimits, count: int, *, begun: bool) -> list[asyncio.Event]:
    """Claim jobs, which have their first audio or not."""
    events = [asyncio.Event() for _ in range(count)]
    for event in events:
        limits.claimed("me", event)
        if begun:
            event.set()
    return events


def test_refused_jobs_bound_the_others_of_the_owner() -> None:
    limits = OwnerLimits()
    [running] = held(limits, 1, begun=True)
    for event in held(limits, 9, begun=False):
        limits.refused("me", event, None)
    assert limits.bounds() == {"me": 0}
    limits.ended("me", running)
    assert limits.bounds() == {"me": 1}, "a place is free again"


def test_one_job_more_is_tried_ever_later(clock: Clock) -> None:
    limits = OwnerLimits()
    held(limits, 1, begun=True)
    [refused] = held(limits, 1, begun=False)
    for wait_s in (5, 10, 20, 40, 60, 60):
        limits.refused("me", refused, None)
        clock.now += wait_s - 1
        assert limits.bounds() == {"me": 0}
        clock.now += 1
        assert limits.bounds() == {"me": 1}
        [refused] = held(limits, 1, begun=False)
    refused.set()
    assert limits.bounds() == {"me": 1}, "it was not refused: the next one is tried at once"


def test_an_owner_is_forgotten_in_the_end(clock: Clock) -> None:
    limits = OwnerLimits()
    [refused] = held(limits, 1, begun=False)
    limits.refused("me", refused, 30.0)
    assert limits.bounds() == {"me": 0}
    clock.now += 91
    assert limits.bounds() == {}


async def test_no_more_is_claimed_of_an_owner_than_its_bound(store: DatabaseStore) -> None:
    mine = [await added(store) for _ in range(3)]
    other = await added(store, owner="you", model="small")
    mine.append(await added(store, model="small", priority=9))
    bounds = {"me": 2, "them": 0}
    claims = await store.claim({"nano": 1, "small": MOST}, LEASE_S, bounds)
    assert {claim.job.id for claim in claims} == {mine[0].id, other.id, mine[3].id}
    assert await store.claim({"nano": MOST}, LEASE_S, {"me": 0}) == []
    [claim] = await store.claim({"nano": MOST}, LEASE_S, {"me": 1})
    assert claim.job.id == mine[1].id


async def test_the_start_is_told_once(store: DatabaseStore) -> None:
    """Not again with a later attempt."""
    claim = await claimed(store, webhook=HOOK)
    for body in ("1", "2"):
        await store.heartbeat(claim, Progressed(0.0, 0.0), LEASE_S, (message("started", body),))
        await store.release(claim)
        [claim] = await store.claim({"nano": 1}, LEASE_S)
    [row] = await rows_of(store, "deliveries")
    assert (row["event"], row["body"]) == ("started", "1")


@pytest.mark.usefixtures("clock")  # which stands still: no further job is tried
async def test_a_key_at_its_limit_does_not_churn_its_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker looks for jobs when one has ended: no look comes before the first refusal counts."""
    monkeypatch.setattr("serve_app.jobs.worker._SHORTEST_POLL_S", 3600.0)
    caplog.set_level(logging.INFO)
    webhook = Webhook(url="https://a.example/", events=("started",))
    async with workshop(tmp_path, access=AccessConfig(max_concurrent_requests=1)) as shop:
        shop.studio.gate.clear()
        jobs = [await shop.add(webhook=webhook) for _ in range(30)]
        async with shop.working() as worker:
            await eventually(lambda: len(shop.records.returns) >= 8 and len(worker._runs) == 1)
            await has_looked(worker)
            assert len(shop.records.returns) == 8, "those that were claimed with the first one"
            assert len(shop.announcements.events) == len(shop.records.starts) == 1
            shop.studio.gate.set()
            await eventually(lambda: len(shop.records.ends) >= 20)
            assert {(await shop.get(job)).attempt for job in jobs} <= {0, 1}
    assert shop.studio.most_held == 1
    assert caplog.text.count("Jobs of key 'maria' wait") == 1
    assert "WARNING" not in caplog.text


async def test_jobs_leave_a_place_of_the_key_to_interactive_requests(tmp_path: Path) -> None:
    async with workshop(tmp_path, access=AccessConfig(max_concurrent_requests=3)) as shop:
        shop.studio.gate.clear()
        async with shop.working():
            jobs = [await shop.add() for _ in range(6)]
            await eventually(lambda: len(shop.records.returns) >= 3)
            await eventually(lambda: shop.studio.held == 2)
            assert shop.studio.most_held == 2
            shop.studio.gate.set()
            for job in jobs[:2]:
                assert (await shop.ended(job)).status is JobStatus.SUCCEEDED


async def test_a_refused_job_is_not_told_as_started(tmp_path: Path) -> None:
    async with workshop(tmp_path, access=AccessConfig(max_audio_s_per_minute=1)) as shop:
        await _refused(shop)
        assert shop.announcements.events == []
        assert shop.records.starts == []


async def _refused(shop: Workshop) -> None:
    """Work until the limits of the key have refused a job."""
    job = await shop.add(
        webhook=Webhook(url="https://a.example/", events=("started",)), duration_s=2.0
    )
    assert job.owner == OWNER
    async with shop.working():
        await eventually(lambda: len(shop.records.returns + shop.records.ends) >= 1)
