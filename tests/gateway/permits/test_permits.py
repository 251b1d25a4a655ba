"""Permits of several ingress replicas: one set of limits and one line, whatever fails."""

import asyncio
import random
from collections.abc import Callable, Iterator
from time import monotonic

import pytest
import redis

from serve_app.gateway.permits import keeper, ledger, permits, redis_coordinator
from serve_app.gateway.permits.allowance import Allowance, Shortage, Want
from serve_app.gateway.permits.coordinator import Coordinator
from serve_app.gateway.permits.ledger_host import LedgerHost
from serve_app.gateway.permits.messages import RECOVERY_S
from serve_app.gateway.permits.permits import Permits
from serve_app.gateway.permits.place_tree import Place
from serve_app.gateway.permits.redis_coordinator import RedisCoordinator
from tests.edge.conftest import refusing_address
from tests.gateway.permits.ingresses import (
    PATIENCE_S,
    IngressReplica,
    ingresses,
    steady_clock,
    until,
)
from tests.redis_server import redis_server

Connect = Callable[[], Coordinator]
FEW = Allowance("running:web", 2)
MANY = Allowance("running:batch", 400)
MUSIC = Allowance("audio:web", 60_000, 1000.0)
LINE = Allowance("line:small", 25_000, takes_any_alone=True)


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture(params=["process", "redis"])
def connect(request: pytest.FixtureRequest) -> Connect:
    """Return a function that connects an ingress replica to a coordinator of the test."""
    if request.param == "process":
        host = LedgerHost(steady_clock)
        return lambda: host
    url = request.getfixturevalue("redis_url")
    return lambda: RedisCoordinator(url, request.node.name)


@pytest.fixture
def lease_s() -> float:
    """Seconds of a lease: none lapses because the machine stands still."""
    return PATIENCE_S


@pytest.fixture
def recovery_s() -> float:
    """Seconds from the start of an empty Redis until it grants units: the sessions of a test are new."""
    return 0.0


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch, lease_s: float, recovery_s: float) -> None:
    for module in (keeper, ledger, redis_coordinator):
        monkeypatch.setattr(module, "LEASE_S", lease_s)
    for module in (keeper, redis_coordinator):
        monkeypatch.setattr(module, "REPLY_S", PATIENCE_S)
    monkeypatch.setattr(redis_coordinator, "RECOVERY_S", recovery_s)
    monkeypatch.setattr(permits, "_START_S", PATIENCE_S)


async def test_two_ingresses_accept_no_more_than_the_limit(connect: Connect) -> None:
    async with ingresses(connect) as replicas:
        calls = [replicas[index % 2].accepts(FEW) for index in range(12)]
        assert sum(await asyncio.gather(*calls)) == 2


async def test_a_unit_given_back_serves_another_ingress(connect: Connect) -> None:
    async with ingresses(connect) as (one, other):
        assert await one.accepts(FEW)
        assert await one.accepts(FEW)
        assert not await other.accepts(FEW)
        one.give_back(FEW)
        await one.report()
        await other.until_accepted(FEW)
        assert not await other.accepts(FEW)


async def test_an_uncontended_request_waits_for_no_exchange(connect: Connect) -> None:
    async with ingresses(connect) as (one, _):
        for _ in range(100):
            assert await one.accepts(MANY)
            one.give_back(MANY)
        assert one.observer.sources.count("coordinator") == 1, "the first of the key"


async def test_nobody_is_refused_while_units_are_idle_elsewhere(connect: Connect) -> None:
    async with ingresses(connect) as (one, other):
        assert await one.accepts(MANY), "it holds further ones in advance"
        taken = 1
        while await other.accepts(MANY):
            taken += 1
        assert taken == MANY.limit
        assert not await one.accepts(MANY)


async def test_music_is_spent_by_all(connect: Connect) -> None:
    started_at = monotonic()
    async with ingresses(connect) as (one, other):
        spent = 0
        for _ in range(20):
            for replica in (one, other):
                spent += 5000 * await replica.accepts(MUSIC, 5000)
        refilled = MUSIC.refill_per_s * (monotonic() - started_at)
        assert 60_000 <= spent <= 60_000 + refilled
        one.give_back(MUSIC, 5000)
        one.permits.charge(MUSIC, 20_000)
        await until(lambda: other.permits.left(MUSIC) >= 0)


async def test_an_overdrawn_allowance_refuses_requests_without_music(connect: Connect) -> None:
    async with ingresses(connect) as (one, other):
        assert await one.accepts(MUSIC, 0)
        one.permits.charge(MUSIC, 90_000)
        await other.until_refused(MUSIC, 0)
        with pytest.raises(Shortage) as shortage:
            await other.permits.take(Want(MUSIC, 0))
        assert -30_000 <= shortage.value.available < 0


async def test_a_line_is_bounded_over_all_and_a_long_track_may_wait_alone(
    connect: Connect,
) -> None:
    async with ingresses(connect) as (one, other):
        assert await one.accepts(LINE, 60_000)
        assert not await other.accepts(LINE, 1000)
        one.give_back(LINE, 60_000)
        await other.until_accepted(LINE, 20_000)
        assert not await one.accepts(LINE, 10_000)
        assert await one.accepts(LINE, 5000)
        assert not await one.accepts(LINE, 60_000)


async def test_places_are_those_among_all_ingresses(connect: Connect) -> None:
    async with ingresses(connect) as (one, other):
        first = one.permits.enter("small", 10_000)
        await until(lambda: not one.permits.line("small").has_news)
        second = other.permits.enter("small", 20_000)
        await until(lambda: other.permits.place("small", second) == Place(2, 10_000))
        third = one.permits.enter("small", 5000)
        await until(lambda: one.permits.place("small", third) == Place(3, 30_000))
        one.permits.leave("small", first)
        await until(lambda: other.permits.place("small", second) == Place(1, 0))
        await until(lambda: one.permits.place("small", third) == Place(2, 20_000))


async def test_a_line_is_known_to_an_ingress_without_requests(connect: Connect) -> None:
    async with ingresses(connect) as (one, other):
        line = other.permits.line("small")
        for music_ms in (5000, 7000):
            one.permits.enter("small", music_ms)
        one.permits.line("small").record(30.0, one.permits.now)
        await until(lambda: (line.count, line.total_ms) == (2, 12_000))
        await until(lambda: line.rate(other.permits.now) > 0)


async def test_the_turn_of_one_is_awaited_by_the_other(connect: Connect) -> None:
    turn = Want(Allowance("turn:small", 1), 1)
    async with ingresses(connect) as (one, other):
        await one.permits.take(turn, is_patient=True)
        waiting = asyncio.create_task(other.permits.take(turn, is_patient=True))
        done, _ = await asyncio.wait({waiting}, timeout=0.3)
        assert not done
        one.permits.give_back(turn)
        async with asyncio.timeout(PATIENCE_S):
            await waiting


@pytest.mark.long
@pytest.mark.parametrize("lease_s", [5.0])
async def test_the_permits_of_a_lost_ingress_return_with_its_lease(
    connect: Connect, lease_s: float
) -> None:
    async with ingresses(connect) as (one, other):
        assert await one.accepts(FEW)
        assert await one.accepts(FEW)
        one.permits.enter("small", 1000)
        one.connection.is_cut = True
        last_report_at, _ = one.connection.exchanges[-1]
        await other.until_accepted(FEW)
        assert monotonic() - last_report_at > lease_s - 0.1, "by the clocks of both"
        one.connection.is_cut = False
        await until(lambda: one.keeper.reached.is_set())
        assert not await one.accepts(FEW), "its two requests still run"
        one.give_back(FEW)
        one.give_back(FEW)
        await one.until_accepted(FEW)
        assert not await other.accepts(FEW)


async def test_an_ingress_that_ends_returns_its_permits_at_once(connect: Connect) -> None:
    async with ingresses(connect, 1) as (other,):
        async with ingresses(connect, 1) as (one,):
            assert await one.accepts(FEW)
            assert await one.accepts(FEW)
            assert not await other.accepts(FEW)
        assert await other.accepts(FEW)


async def test_without_the_coordinator_limits_are_those_of_each(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    async with ingresses(connect) as replicas:
        for replica in replicas:
            replica.connection.is_cut = True
            replica.keeper.hurry()
        await until(lambda: not any(one.keeper.reached.is_set() for one in replicas))
        assert "cannot be reached" in caplog.text
        accepted = [[await replica.accepts(FEW) for _ in range(3)] for replica in replicas]
        assert accepted == [[True, True, False]] * 2
        for replica in replicas:
            replica.connection.is_cut = False
        await until(lambda: all(one.keeper.reached.is_set() for one in replicas))
        replicas[0].give_back(FEW)
        assert not await replicas[0].accepts(FEW), "three run, one more than the limit"


async def test_a_lost_reply_loses_no_unit(connect: Connect) -> None:
    async with ingresses(connect) as (one, other):
        one.connection.loses_reply = True
        assert await one.accepts(FEW), "by its own count"
        await until(lambda: one.keeper.reached.is_set())
        assert await other.accepts(FEW)
        assert not await other.accepts(FEW)
        one.give_back(FEW)
        await other.until_accepted(FEW)


async def test_a_cancelled_request_leaves_no_unit_taken(connect: Connect) -> None:
    draw = random.Random(0)
    cancelled = 0
    async with ingresses(connect) as (one, other):
        for _ in range(40):
            waiting = asyncio.create_task(one.permits.take(Want(FEW, 2)))
            await asyncio.wait({waiting}, timeout=draw.choice([0.0, 0.0001, 0.001, PATIENCE_S]))
            waiting.cancel()
            await asyncio.wait({waiting})
            cancelled += waiting.cancelled()
            if not waiting.cancelled() and waiting.exception() is None:
                one.give_back(FEW, 2)
        assert cancelled < 40, "some have their units by then"
        await other.until_accepted(FEW, 2)


@pytest.mark.parametrize("seed", range(2))
async def test_limits_hold_over_any_sequence(connect: Connect, seed: int) -> None:
    """Three ingresses take, hold and give back at random: never more than the limit at a time, and
    nobody is refused unless all units are in use, or were before the coordinator's last news."""
    draw = random.Random(seed)
    limit = draw.choice([3, 40])
    shared = Allowance(f"running:{seed}", limit)
    running = 0
    most = 0
    held: list[tuple[IngressReplica, float, float]] = []  # from a call's start to its end
    refused: list[tuple[float, float]] = []

    async def call(replica: IngressReplica) -> None:
        nonlocal running, most
        started_at = monotonic()
        if not await replica.accepts(shared):
            refused.append((started_at, monotonic()))
            return
        running += 1
        most = max(most, running)
        await asyncio.sleep(draw.random() * 0.05)
        running -= 1
        replica.give_back(shared)
        held.append((replica, started_at, monotonic()))

    async with ingresses(connect, 3) as replicas:
        bursts = []
        for _ in range(15):
            burst = draw.randrange(1, limit)
            calls = [call(draw.choice(replicas)) for _ in range(burst)]
            bursts.append(asyncio.gather(*calls))
            await asyncio.sleep(draw.random() * 0.01)
            if draw.random() < 0.5:
                await bursts[-1]
        await asyncio.gather(*bursts)
        await asyncio.gather(*(replica.report() for replica in replicas))
        assert most <= limit
        assert refused
        returned = [(taken, max(end + 0.1, of.reported_at(end))) for of, taken, end in held]
        for start, end in refused:
            assert sum(taken < end and start < back for taken, back in returned) >= limit
        for _ in range(limit):
            assert await draw.choice(replicas).accepts(shared)
        assert not await replicas[0].accepts(shared)


async def test_a_faulty_coordinator_stops_no_request(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_: object) -> None:
        raise KeyError("a fault")

    async with ingresses(connect, 1) as (one,):
        with monkeypatch.context() as patch:
            patch.setattr(one.connection, "exchange", fail)
            one.keeper.hurry()
            await until(lambda: not one.keeper.reached.is_set())
            assert [await one.accepts(FEW) for _ in range(3)] == [True, True, False]
        assert "a fault" in caplog.text
        await until(one.keeper.reached.is_set)


@pytest.mark.parametrize("recovery_s", [RECOVERY_S])
async def test_a_redis_that_lost_its_data_learns_from_reports(redis_url: str) -> None:
    async with ingresses(lambda: RedisCoordinator(redis_url, "flushed")) as (one, other):
        assert await one.accepts(FEW)
        assert await other.accepts(FEW)
        assert await one.accepts(MUSIC, 40_000)
        ticket = one.permits.enter("small", 5000)
        await until(lambda: one.permits.left(MUSIC) < 30_000)
        server = redis.Redis.from_url(redis_url)
        server.flushall()
        server.close()
        await one.report()
        await until(lambda: one.connection.joined == 2)
        assert not await other.accepts(FEW)
        assert not await other.accepts(MUSIC, 40_000)
        await until(lambda: other.permits.line("small").count == 1)
        assert one.permits.place("small", ticket) == Place(1, 0)


@pytest.mark.parametrize("recovery_s", [PATIENCE_S])
async def test_an_empty_redis_grants_nothing_to_a_new_ingress_that_reports_first(
    redis_url: str,
) -> None:
    name = "emptied"
    async with ingresses(lambda: RedisCoordinator(redis_url, name), 1) as (one,):
        held = asyncio.create_task(one.accepts(FEW))
        with redis.Redis.from_url(redis_url) as server:
            server.set(f"{{musicgen:{name}}}:opens", 0)
            assert await held, "from that time on"
            server.flushall()
        async with ingresses(lambda: RedisCoordinator(redis_url, name), 1) as (other,):
            asked = [asyncio.create_task(other.accepts(FEW)) for _ in range(2)]
            await one.report()
            await other.report()
            assert not any(call.done() for call in asked), "they wait for those that hold units"
            for call in asked:
                call.cancel()


@pytest.mark.long
async def test_limits_hold_without_a_server_at_the_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(permits, "_START_S", 0.5)
    with refusing_address() as nowhere:
        alone = Permits(RedisCoordinator(f"redis://{nowhere}/0", "late"))
        async with asyncio.timeout(PATIENCE_S), alone.running():
            await alone.take(Want(FEW, 2))
            with pytest.raises(Shortage):
                await alone.take(Want(FEW, 1))
    assert caplog.text.count("cannot be reached") == 1
