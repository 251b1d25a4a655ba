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
WAITING_S = 60.0  # length of a track that waits for a slot
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
    """Gives each track a chunk of 2 s of music, and then holds it; one of WAITING_S gets nothing."""

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[StreamItem, None]:
        if request.duration_s == WAITING_S:
            await asyncio.Event().wait()
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
    """Four tracks of 10 s hold the slots, for 5 s. As told by the replica, and as started here."""
    generator = punctual(Fleet(held=held))
    for _ in range(SLOTS - held):
        await start(generator, request(12.0, None))
    with pytest.raises(QueueFull, match=r"again in about 7\.5 s") as error:
        await start(generator, request(10.0, 6.0))
    assert error.value.retry_after_s == pytest.approx(1.5 * 5.0)
    for timeout_s in (7.9, 8.0):  # just too short for a full batch, and just not
        with pytest.raises(QueueFull) as error:
            await start(generator, request(10.0, timeout_s))
        assert error.value.retry_after_s == pytest.approx(1.5 * 5.0)
    with pytest.raises(QueueFull) as error:
        await start(generator, request(10.0, 8.5))
    late_s = 1.5 * (5.0 + 5.0) + 0.5 - 8.5
    assert error.value.retry_after_s == pytest.approx(late_s)
    await start(generator, request(10.0, 8.5 + late_s + 0.1))


async def test_beside_tracks_that_slow_it_down_a_request_is_told_when_enough_have_ended() -> None:
    """Slots are free, but a full batch takes four times as long as a lone track: it fits beside one."""
    generator = punctual(Fleet(full_pace_s=0.04))
    lefts = [10.0, 40.0, 20.0]
    tracks = [await start(generator, request(left_s + 2.0, None)) for left_s in lefts]
    wanted = request(10.0, 15.5)
    with pytest.raises(QueueFull) as error:
        await start(generator, wanted)
    pace_of_three = 3 * SECOND_S
    assert error.value.retry_after_s == pytest.approx(1.5 * 20.0 * pace_of_three)
    await tracks[0].aclose()
    with pytest.raises(QueueFull):
        await start(generator, wanted)
    await tracks[2].aclose()
    await start(generator, wanted)


async def test_of_a_line_all_but_the_last_slots_are_counted() -> None:
    """Six of 10 s for four slots: two wait, and share the slots; then only one may go on beside it."""
    generator = punctual(Fleet(full_pace_s=0.04, held=6))
    with pytest.raises(QueueFull) as error:
        await start(generator, request(10.0, 15.5))
    assert error.value.retry_after_s == pytest.approx(1.5 * (2 * 10.0 / 4 + 10.0) * 4 * SECOND_S)


async def test_a_long_track_behind_short_ones_is_waited_for() -> None:
    """Nothing may go on beside the request, and one track that waits has 60 s."""
    generator = punctual(Fleet(full_pace_s=0.04))
    for _ in range(SLOTS):
        await start(generator, request(3.0, None))
    line = asyncio.ensure_future(anext(generator.generate(request(WAITING_S, None))))
    await asyncio.sleep(0)
    try:
        with pytest.raises(QueueFull) as error:
            await start(generator, request(10.0, 7.0))
    finally:
        line.cancel()
    assert error.value.retry_after_s == pytest.approx(1.5 * WAITING_S * 4 * SECOND_S)


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
