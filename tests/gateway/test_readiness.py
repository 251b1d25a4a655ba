"""Readiness of models."""

import pytest

from serve_app.errors import ModelUnplaceable
from serve_app.gateway import cold_starts
from serve_app.gateway.readiness import Readiness
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
