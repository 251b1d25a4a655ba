"""Readiness of models."""

import asyncio
from dataclasses import replace

import pytest

from serve_app.errors import ModelUnplaceable
from serve_app.gateway import cold_starts, fleet_view
from serve_app.gateway import readiness as readiness_module
from serve_app.gateway.readiness import Readiness
from serve_app.model_status import ReplicaStatus
from tests.fakes import LARGE, SAMPLE_RATE, SMALL, FakeGenerator


async def test_a_loaded_model_describes_itself() -> None:
    readiness = Readiness(FakeGenerator())
    loaded = await readiness.loaded(SMALL)
    assert loaded is not None
    assert loaded.sample_rate == SAMPLE_RATE
    assert len(await readiness.replicas(SMALL)) == 1


async def test_a_model_without_replicas_is_unknown() -> None:
    readiness = Readiness(FakeGenerator())
    assert await readiness.loaded(LARGE) is None
    assert await readiness.replicas(LARGE) == []


async def test_replicas_end_a_cold_start(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(cold_starts, "monotonic", lambda: now)
    fleet = FakeGenerator()
    readiness = Readiness(fleet)
    assert readiness.wake(LARGE) == 20.0
    assert fleet.woken == ["large"]
    now = 7.0
    fleet.step_s["large"] = 0.01
    await readiness.replicas(LARGE)
    now = 100.0
    assert readiness.wake(LARGE) == 7.0


async def test_a_model_that_no_node_can_run_is_not_woken() -> None:
    fleet = FakeGenerator(obstacles={"large": "No node can run it."})
    readiness = Readiness(fleet)
    with pytest.raises(ModelUnplaceable, match=r"No node can run it\.") as caught:
        readiness.wake(LARGE)
    assert (caught.value.status, caught.value.code) == (503, "model_unplaceable")
    assert fleet.woken == []
    assert readiness.obstacle(LARGE) == "No node can run it."
    assert readiness.obstacle(SMALL) is None
    readiness.wake(SMALL)
    assert fleet.woken == ["small"]


async def test_waiting_for_a_model_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness_module, "_POLL_S", 0.01)
    fleet = FakeGenerator()
    readiness = Readiness(fleet)
    assert await readiness.wait_until_loaded(LARGE, 0.03) is None
    assert set(fleet.woken) == {"large"}
    assert await readiness.wait_until_loaded(SMALL, 0.0) is not None


async def test_recent_statuses_are_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(fleet_view, "monotonic", lambda: now)
    fleet = FakeGenerator()
    readiness = Readiness(fleet)
    [before], *others = await asyncio.gather(*(readiness.recent(SMALL) for _ in range(3)))
    assert others == [[before]] * 2, "those that ask meanwhile wait for the answer"
    fleet.step_s["small"] = 0.02
    assert await readiness.recent(SMALL) == [before]
    assert await asyncio.gather(*(readiness.recent(SMALL) for _ in range(3))) == [[before]] * 3
    now = 1.0
    [after] = await readiness.recent(SMALL)
    assert after.stats.step_s == 0.02


async def test_known_statuses_are_returned_while_replicas_are_asked_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A replica that is busy, or does not answer at all, delays nobody who knows it already."""
    now = 0.0
    monkeypatch.setattr(fleet_view, "monotonic", lambda: now)
    fleet = FakeGenerator()
    readiness = Readiness(fleet)
    [before] = await readiness.known_replicas(SMALL)
    answers = asyncio.Event()
    asked: list[str] = []
    replicas = fleet.replicas

    async def slow(model_id: str) -> list[ReplicaStatus]:
        asked.append(model_id)
        await answers.wait()
        return await replicas(model_id)

    monkeypatch.setattr(fleet, "replicas", slow)
    fleet.step_s["small"] = 0.02
    now = 1.0
    for _ in range(3):
        assert await readiness.known_replicas(SMALL) == [before]
        await asyncio.sleep(0)
    assert asked == ["small"]
    answers.set()
    [after] = await readiness.recent(SMALL)
    assert after.stats.step_s == 0.02
    assert await readiness.known_replicas(SMALL) == [after]
    now = 7.0
    fleet.step_s["small"] = 0.03
    [later] = await readiness.known_replicas(SMALL)
    assert later.stats.step_s == 0.03, "what is too old is not told"


async def test_a_model_is_starting_until_it_was_ready_once() -> None:
    fleet = FakeGenerator(loaded=False)
    readiness = Readiness(fleet)
    assert readiness.is_starting(SMALL)
    assert not readiness.is_starting(replace(SMALL, scales_to_zero=True))
    fleet.loaded = True
    await readiness.replicas(SMALL)
    assert not readiness.is_starting(SMALL)
