"""The streams of one process, in bounded memory."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from serve_app.errors import GenerationFailed, InvalidRequest, QueueFull, StreamNotFound
from serve_app.gateway import stream_run, stream_store
from serve_app.gateway.stream_store import _ENTRY_BYTES, StreamStore
from serve_app.types import GenerationRequest, StreamItem
from tests.fakes import Clock, FakeGenerator
from tests.gateway.streams import PATIENCE_S, Held, source_of, until

SECOND = 64_000  # bytes of pcm
GRACE_S = 60
ROOM = 3 * (SECOND + _ENTRY_BYTES)


class Slow(Held):
    """Begins a track only once `go_on` is set."""

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[StreamItem, None]:
        self.requests.append(request)
        await self.go_on.wait()
        async for item in super().generate(request):
            yield item


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_run, "POLL_S", PATIENCE_S)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(stream_store, "monotonic", clock)
    return clock


@pytest.fixture
async def store() -> AsyncIterator[StreamStore]:
    store = StreamStore(ROOM, kept_s=300, grace_s=GRACE_S)
    yield store
    await store.close()


async def fetched(store: StreamStore, stream_id: str) -> bytes:
    """Content of a stream, once it is complete."""
    async with asyncio.timeout(PATIENCE_S):
        part = await store.advance(stream_id, 0, 10_000_000, None)
        while not part.state.complete:
            part = await store.advance(stream_id, part.state.size, 0, part.state.version)
    return (await store.advance(stream_id, 0, 10_000_000, part.state.version)).content


async def test_a_stream_is_made_once_however_often_it_is_fetched(store: StreamStore) -> None:
    generator = FakeGenerator()
    stream_id = store.create(source_of(generator))
    state = await store.describe(stream_id)
    assert (state.media_type, state.total, state.size) == ("audio/pcm", None, 0)
    assert generator.requests == [], "a description starts nothing"
    first, second = await asyncio.gather(fetched(store, stream_id), fetched(store, stream_id))
    assert first == second == await fetched(store, stream_id)
    assert len(first) == SECOND
    assert len(generator.requests) == 1
    assert (await store.describe(stream_id)).total == SECOND


async def test_ids_are_long_and_of_one_call_alone(store: StreamStore) -> None:
    ids = {store.create(source_of(FakeGenerator())) for _ in range(9)}
    assert len(ids) == 9
    assert min(map(len, ids)) == 32, "24 random bytes"
    for unknown in ("", "x", next(iter(ids))[:-1]):
        assert not store.has(unknown)
        with pytest.raises(StreamNotFound):
            await store.describe(unknown)
        with pytest.raises(StreamNotFound):
            await store.advance(unknown, 0, 10, None)


async def test_a_failed_stream_is_started_again(store: StreamStore) -> None:
    generator = FakeGenerator(late_error=QueueFull("Too many wait."))
    stream_id = store.create(source_of(generator))
    with pytest.raises(QueueFull):
        await fetched(store, stream_id)
    generator.late_error = None
    assert (await store.describe(stream_id)).version == 2
    assert len(await fetched(store, stream_id)) == SECOND
    assert len({request.sampling.seed for request in generator.requests}) == 1
    with pytest.raises(GenerationFailed, match="started again"):
        await store.advance(stream_id, 100, 10, 1)


async def test_streams_expire_after_their_last_use(store: StreamStore, clock: Clock) -> None:
    used = store.create(source_of(FakeGenerator()))
    unused = store.create(source_of(FakeGenerator()))
    await fetched(store, used)
    clock.now += 200
    await store.describe(used)
    clock.now += 200
    store.create(source_of(FakeGenerator()))
    assert store.has(used)
    assert not store.has(unused)


async def test_memory_is_freed_without_further_calls(clock: Clock) -> None:
    store = StreamStore(ROOM, kept_s=0.05, grace_s=GRACE_S)
    await fetched(store, store.create(source_of(FakeGenerator())))
    assert store.used_bytes == SECOND + _ENTRY_BYTES
    clock.now += 1
    await until(lambda: store.used_bytes == 0)


async def test_the_least_recently_used_make_room(store: StreamStore, clock: Clock) -> None:
    ids = []
    for _ in range(3):
        ids.append(store.create(source_of(FakeGenerator())))
        await fetched(store, ids[-1])
        clock.now += 1
    clock.now += stream_store._IN_USE_S
    await store.describe(ids[0])
    ids.append(store.create(source_of(FakeGenerator())))
    await fetched(store, ids[-1])
    assert [store.has(name) for name in ids] == [True, False, True, True]
    assert store.used_bytes <= ROOM


async def test_what_is_in_use_makes_no_room(store: StreamStore, clock: Clock) -> None:
    generator = Held()
    for _ in range(3):
        await store.advance(store.create(source_of(generator)), 0, 10, None)
    clock.now += stream_store._IN_USE_S
    with pytest.raises(QueueFull) as refused:
        store.create(source_of(generator))
    assert refused.value.retry_after_s == stream_store._IN_USE_S
    generator.go_on.set()
    await until(lambda: generator.closed == 3)
    clock.now += 1
    assert store.has(store.create(source_of(generator)))


async def test_tracks_that_nobody_listens_to_make_room(store: StreamStore, clock: Clock) -> None:
    """Finished files go first."""
    held = Held()
    left = store.create(source_of(held))
    await store.advance(left, 0, 2, None)
    finished = store.create(source_of(FakeGenerator()))
    await fetched(store, finished)
    clock.now += stream_store._IN_USE_S + 1
    heard = store.create(source_of(held))
    await store.advance(heard, 0, 2, None)
    streams = (left, finished, heard)
    assert [store.has(name) for name in streams] == [True, True, True]
    await store.advance(store.create(source_of(held)), 0, 2, None)
    assert [store.has(name) for name in streams] == [True, False, True]
    await store.advance(store.create(source_of(held)), 0, 2, None)
    assert [store.has(name) for name in streams] == [False, False, True]
    await until(lambda: held.closed == 1)
    assert store.used_bytes <= ROOM


async def test_its_own_reservation_does_not_drop_a_track_that_was_left(clock: Clock) -> None:
    generator = Slow()
    store = StreamStore(SECOND + _ENTRY_BYTES, kept_s=300, grace_s=GRACE_S)
    stream_id = store.create(source_of(generator))
    waiting = asyncio.create_task(store.advance(stream_id, 0, 2, None))
    await until(lambda: bool(generator.requests))
    clock.now += stream_store._IN_USE_S + 1
    generator.go_on.set()
    await waiting
    assert len(await fetched(store, stream_id)) == SECOND
    await store.close()


async def test_a_leaked_id_makes_at_most_two_tracks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens to either; then the id is unknown, and its memory is free."""
    clock = Clock()
    monkeypatch.setattr(stream_run, "monotonic", clock)
    generator = Held()
    store = StreamStore(ROOM, kept_s=300, grace_s=0.05)
    stream_id = store.create(source_of(generator))
    for begun in (1, 2):
        await store.advance(stream_id, 0, 2, None)
        clock.now += 1
        await until(lambda begun=begun: generator.closed == begun)  # type: ignore[misc]
        await asyncio.sleep(0)
    with pytest.raises(StreamNotFound, match="begun 2 times"):
        await store.advance(stream_id, 0, 2, None)
    with pytest.raises(StreamNotFound, match="does not exist"):
        await store.describe(stream_id)
    assert len(generator.requests) == 2
    assert store.used_bytes == 0


async def test_tries_that_were_refused_before_they_began_are_not_counted(
    store: StreamStore,
) -> None:
    generator = FakeGenerator(error=QueueFull("Too many wait."))
    stream_id = store.create(source_of(generator))
    for _ in range(5):
        with pytest.raises(QueueFull):
            await fetched(store, stream_id)
    generator.error = None
    assert len(await fetched(store, stream_id)) == SECOND


async def test_a_file_that_exceeds_the_memory_is_refused(store: StreamStore) -> None:
    generator = FakeGenerator()
    stream_id = store.create(source_of(generator, duration_s=10))
    with pytest.raises(InvalidRequest, match="640000 bytes"):
        await fetched(store, stream_id)
    assert generator.closed == 1
    assert store.used_bytes == _ENTRY_BYTES


async def test_calls_that_are_never_followed_are_bounded(clock: Clock) -> None:
    store = StreamStore(10 * _ENTRY_BYTES, kept_s=300, grace_s=GRACE_S)
    for _ in range(1000):
        store.create(source_of(FakeGenerator()))
        clock.now += 1
    assert store.used_bytes <= 10 * _ENTRY_BYTES
