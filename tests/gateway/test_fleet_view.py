"""The replicas' statuses that readers share."""

import asyncio

import pytest

from serve_app.gateway import fleet_view
from serve_app.gateway.fleet_view import FRESH_S, RECENT_S, FleetView
from serve_app.gateway.readiness import Readiness
from serve_app.model_status import ReplicaStatus
from tests.fakes import SMALL, FakeGenerator


class Fleet:
    """A fleet whose calls end when they are told to; `asked` counts them."""

    def __init__(self) -> None:
        self.asked = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.answers = asyncio.Event()
        self.answers.set()
        self.fake = FakeGenerator()

    async def ask(self) -> list[ReplicaStatus]:
        self.asked += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await self.answers.wait()
        self.in_flight -= 1
        return await self.fake.replicas("small")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the views read; a test moves it."""
    now = [100.0]
    monkeypatch.setattr(fleet_view, "monotonic", lambda: now[0])
    return now


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_crowd_of_readers_makes_one_call(clock: list[float]) -> None:
    fleet = Fleet()
    view = FleetView(fleet.ask)
    answers = await asyncio.gather(*(view.recent() for _ in range(200)))
    assert fleet.asked == 1
    assert all(answer == answers[0] for answer in answers)
    clock[0] += FRESH_S
    for _ in range(200):
        assert await view.recent() == answers[0], "nobody waits for the refresh"
    await settle()
    assert fleet.asked == 2
    clock[0] += RECENT_S
    await asyncio.gather(*(view.recent() for _ in range(200)))
    assert (fleet.asked, fleet.most_in_flight) == (3, 1)


async def test_a_refresh_that_hangs_is_the_only_one(clock: list[float]) -> None:
    fleet = Fleet()
    view = FleetView(fleet.ask)
    known = await view.recent()
    fleet.answers.clear()
    for _ in range(10):
        clock[0] += FRESH_S
        assert await view.recent(max_age_s=60.0) == known
        await settle()
    assert (fleet.asked, fleet.most_in_flight) == (2, 1)
    late = asyncio.create_task(view.recent())
    await settle()
    assert not late.done(), "the known answer is too old for this reader"
    fleet.answers.set()
    assert await late == known


async def test_an_exact_reader_gets_an_answer_to_a_later_call(clock: list[float]) -> None:
    fleet = Fleet()
    view = FleetView(fleet.ask)
    fleet.answers.clear()
    early = asyncio.create_task(view.read())
    await settle()
    clock[0] += 0.1
    later = [asyncio.create_task(view.read()) for _ in range(5)]
    await settle()
    clock[0] += 0.1
    fleet.answers.set()
    await asyncio.gather(early, *later)
    assert (fleet.asked, fleet.most_in_flight) == (2, 1)


async def test_a_model_without_replicas_is_asked_each_time() -> None:
    fleet = Fleet()
    fleet.fake.loaded = False
    view = FleetView(fleet.ask)
    assert await view.recent() == []
    fleet.fake.loaded = True
    assert len(await view.recent()) == 1, "a model counts as ready at once"


async def test_a_loss_drops_what_is_known_and_what_is_on_its_way() -> None:
    fleet = Fleet()
    view = FleetView(fleet.ask)
    await view.recent()
    view.forget()
    fleet.answers.clear()
    reading = asyncio.create_task(view.recent())
    await settle()
    assert fleet.asked == 2, "a reader after the loss asks"
    view.forget()
    fleet.answers.set()
    await reading
    await view.recent()
    assert fleet.asked == 3, "an answer from before the second loss is not kept"


async def test_readers_of_a_model_share_its_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = FakeGenerator()
    asked: list[str] = []
    replicas = generator.replicas

    async def counted(model_id: str) -> list[ReplicaStatus]:
        asked.append(model_id)
        return await replicas(model_id)

    monkeypatch.setattr(generator, "replicas", counted)
    readiness = Readiness(generator)
    await asyncio.gather(*(readiness.loaded(SMALL) for _ in range(50)))
    assert asked == ["small"]
    readiness.forget("small")
    await readiness.recent(SMALL)
    assert asked == ["small", "small"]
    readiness.forget("unknown")
