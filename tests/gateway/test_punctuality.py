"""Admission by time: what would be late is refused at once. tests/service/test_deadlines.py covers it under load."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from serve_app.errors import QueueFull
from serve_app.gateway import punctuality
from serve_app.gateway.permits.permits import Permits
from serve_app.gateway.punctuality import DeadlineUnattainable, PunctualGenerator
from serve_app.gateway.readiness import Readiness
from serve_app.gateway.server_facts import AloneServer
from serve_app.model_status import ReplicaStatus
from serve_app.types import Audio, AudioChunk, GenerationRequest, StreamItem
from tests.fakes import SMALL, Clock, FakeGenerator

SLOTS = 4
SECOND_S = 0.5  # that a second of music takes alone, at 50 frames of 10 ms
NOW = Clock().now  # in all tests


@pytest.fixture(autouse=True)
def _clock_that_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(punctuality, "time", Clock())


class Fleet(FakeGenerator):
    """One replica with measured paces. held: tracks of others in it; full_pace_s: of a full batch."""

    def __init__(self, full_pace_s: float = 0.01, held: int = 0) -> None:
        super().__init__()
        self.stats: dict[str, Any] = {
            "slots": SLOTS, "admitted_slots": SLOTS, "slots_used": min(held, SLOTS),
            "queued_requests": max(0, held - SLOTS), "running_audio_s": 10.0 * min(held, SLOTS),
            "queued_audio_s": 10.0 * max(0, held - SLOTS), "lone_pace_s": 0.01,
            "full_pace_s": full_pace_s,
        }  # fmt: skip

    async def replicas(self, model_id: str) -> list[ReplicaStatus]:
        return [
            replace(one, stats=replace(one.stats, **self.stats))
            for one in await super().replicas(model_id)
        ]


class Gate:
    """Gives each track a chunk of 2 s of music, and then holds it."""

    async def generate(self, _: GenerationRequest) -> AsyncGenerator[StreamItem, None]:
        yield AudioChunk(np.zeros((1, 200), np.float32), 100)
        await asyncio.Event().wait()


def request(duration_s: float, timeout_s: float | None, **fields: Any) -> GenerationRequest:
    deadline = None if timeout_s is None else NOW + timeout_s
    return GenerationRequest(
        request_id="a",
        model="small",
        prompt="a",
        duration_s=duration_s,
        deadline=deadline,
        **fields,
    )


def punctual(fleet: FakeGenerator) -> PunctualGenerator:
    return PunctualGenerator(Gate(), [SMALL], Readiness(fleet), Permits(), AloneServer())


async def start(
    generator: PunctualGenerator, wanted: GenerationRequest
) -> AsyncGenerator[StreamItem, None]:
    items = generator.generate(wanted)
    assert isinstance(await anext(items), AudioChunk)
    return items


async def test_a_track_that_is_late_even_alone_is_refused_for_good() -> None:
    generator = punctual(Fleet())
    with pytest.raises(DeadlineUnattainable, match=r"about 15\.0 s .* allows 14\.9 s") as error:
        await start(generator, request(30.0, 14.9))
    assert (error.value.status, error.value.code) == (504, "deadline_exceeded")
    assert error.value.headers == {}, "no Retry-After"


async def test_nobody_waits_for_an_idle_service() -> None:
    """Trying again later would be no use."""
    await start(punctual(Fleet()), request(30.0, 15.5))


async def test_an_audio_prompt_takes_no_time() -> None:
    prompt = Audio(np.zeros((1, 2000), np.float32), 100)
    await start(punctual(Fleet()), request(30.0, 14.0, audio_prompt=prompt))


@pytest.mark.parametrize("held", [0, SLOTS])
async def test_behind_others_a_request_is_told_when_to_try_again(held: int) -> None:
    """Four tracks of 10 s hold the slots; each takes 5 s. As told by the replica, and as started here."""
    generator = punctual(Fleet(held=held))
    for _ in range(SLOTS - held):
        await start(generator, request(12.0, None))
    with pytest.raises(QueueFull, match="would be missed by about") as error:
        await start(generator, request(10.0, 6.0))
    late_s = 1.5 * (5.0 + 5.0) + 0.5 - 6.0
    assert error.value.retry_after_s == pytest.approx(late_s)
    await start(generator, request(10.0, 6.0 + late_s + 0.1))


async def test_a_track_that_ended_makes_room() -> None:
    generator = punctual(Fleet())
    tracks = [await start(generator, request(12.0, None)) for _ in range(SLOTS)]
    with pytest.raises(QueueFull):
        await start(generator, request(10.0, 9.0))
    await tracks[0].aclose()
    await start(generator, request(10.0, 9.0))


async def test_nobody_is_made_late_by_those_who_come_after() -> None:
    """A full batch takes twice the time of a lone track."""
    generator = punctual(Fleet(full_pace_s=0.02))
    await start(generator, request(20.0, 16.0))
    with pytest.raises(QueueFull) as error:
        await start(generator, request(10.0, 100.0))
    late_s = 1.5 * 18.0 * SECOND_S * 4 / 3 - 16.0
    assert error.value.retry_after_s == pytest.approx(late_s / (1.5 * 4 / 3 - 1))


@pytest.mark.parametrize("unknown", ["pace", "replicas", "deadline"])
async def test_without_a_measurement_everything_is_admitted(unknown: str) -> None:
    fleet = Fleet()
    fleet.loaded = unknown != "replicas"
    if unknown == "pace":
        fleet.stats["lone_pace_s"] = 0.0
    await start(punctual(fleet), request(30.0, None if unknown == "deadline" else 0.1))


async def test_jobs_have_deadlines_of_their_own() -> None:
    await start(punctual(Fleet()), request(30.0, 0.1, background=True))
