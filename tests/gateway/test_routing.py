"""Which model answers: by name, by what is quick enough, and in another's stead; always named."""

import base64

import httpx
import pytest

from serve_app.gateway import cold_starts
from serve_app.gateway.estimate import expected_s
from serve_app.types import EngineStats, LoadedModel, ReplicaStatus
from tests.api.conftest import FakeGenerator

PATH = "/v1/audio/generations"
MODEL = LoadedModel(32_000, 1, 50.0, 30.0, 1000, "cpu", "fp32")


def replica(
    slots_used: int = 0,
    queued_audio_s: float = 0.0,
    running_audio_s: float = 0.0,
    step_s: float = 0.01,
) -> ReplicaStatus:
    return ReplicaStatus(
        MODEL,
        EngineStats(4, slots_used, 0, queued_audio_s, running_audio_s, 0, 0.0, 0.0, step_s, 30.0),
    )


def test_expectations() -> None:
    assert expected_s([], 10.0) is None
    assert expected_s([replica()], 31.0) is None
    assert expected_s([replica()], 10.0) == pytest.approx(5.0)
    assert expected_s([replica(slots_used=3, running_audio_s=60.0)], 10.0) == pytest.approx(5.0), (
        "a slot is free"
    )
    busy = replica(slots_used=4, running_audio_s=60.0, queued_audio_s=20.0)
    assert expected_s([busy], 10.0) == pytest.approx(15.0)
    assert expected_s([busy, replica(step_s=0.02)], 10.0) == pytest.approx(10.0), "the quickest"


@pytest.mark.parametrize(
    ("max_wait_s", "chosen"), [(60, "large"), (20, "large"), (19, "small"), (1, "small")]
)
async def test_auto_takes_the_largest_that_is_quick_enough(
    client: httpx.AsyncClient, generator: FakeGenerator, max_wait_s: float, chosen: str
) -> None:
    generator.step_s = {"small": 0.01, "large": 0.02}
    body = {"prompt": "a", "duration_s": 20, "model": "auto", "max_wait_s": max_wait_s}
    response = await client.post(PATH, json=body)
    assert response.headers["x-musicgen-model"] == chosen


async def test_auto_waits_for_a_model(client: httpx.AsyncClient, generator: FakeGenerator) -> None:
    generator.loaded = False
    response = await client.post(PATH, json={"prompt": "a", "model": "auto"})
    assert (response.status_code, response.json()["code"]) == (503, "model_loading")
    assert response.headers["retry-after"] == "20"
    assert generator.woken == ["small"]


async def test_who_would_not_wait_long_is_told_at_once(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    generator.step_s = {"small": 0.05}
    body = {"prompt": "a", "duration_s": 20, "model": "small"}
    response = await client.post(PATH, json=body | {"max_wait_s": 30})
    assert (response.status_code, response.json()["code"]) == (429, "queue_full")
    assert "about 50 s, longer than max_wait_s" in response.json()["detail"]
    assert response.headers["retry-after"] == "20"
    assert (await client.post(PATH, json=body | {"max_wait_s": 50})).status_code == 200
    assert (await client.post(PATH, json=body)).status_code == 200, "who says nothing waits"


async def test_a_starting_models_estimate_is_of_its_last_start(
    client: httpx.AsyncClient, generator: FakeGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(cold_starts, "monotonic", lambda: now)

    async def told_s() -> str:
        response = await client.post(PATH, json={"prompt": "a", "model": "large", "max_wait_s": 60})
        assert (response.status_code, response.json()["code"]) == (503, "model_loading")
        return response.headers["retry-after"]

    assert await told_s() == "20", "no start has been seen"
    now = 5.0
    assert await told_s() == "15"
    now = 40.0
    assert await told_s() == "1", "it cannot be long"
    now = 45.0
    generator.step_s["large"] = 0.01
    assert (
        await client.post(PATH, json={"prompt": "a", "duration_s": 1, "model": "large"})
    ).status_code == 200
    del generator.step_s["large"]
    now = 1000.0
    assert await told_s() == "45", "as long as it took"
    assert generator.woken == ["large"] * 4


async def test_a_full_models_fallback_answers_and_is_named(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    generator.full = ("large",)
    response = await client.post(PATH, json={"prompt": "a", "duration_s": 1, "model": "large"})
    assert (response.status_code, response.headers["x-musicgen-model"]) == (200, "small")
    answer = (await client.post("/", json={"prompt": "a", "duration": 1, "model": "large"})).json()
    assert (answer["model"], len(base64.b64decode(answer["audio_base64"]))) == (
        "small",
        answer["size_bytes"],
    )
    assert [request.model for request in generator.requests] == ["large", "small"] * 2


async def test_where_all_are_full_it_is_said(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    generator.full = ("large", "small")
    response = await client.post(PATH, json={"prompt": "a", "model": "large"})
    assert (response.status_code, response.json()["code"]) == (429, "queue_full")
