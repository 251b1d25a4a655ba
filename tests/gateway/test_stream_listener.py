"""A listener of one stream."""

import asyncio
from collections.abc import AsyncIterator, Callable
from time import time

import pytest

from serve_app.errors import DeadlineExceeded, GenerationFailed
from serve_app.gateway import stream_listener, stream_run
from serve_app.gateway.stream_listener import StreamListener
from serve_app.gateway.stream_store import StreamStore
from serve_app.gateway.streams import StreamPart, StreamState
from tests.fakes import Clock, FakeGenerator
from tests.gateway.streams import PATIENCE_S, Held, source_of, until

SECOND = 64_000  # bytes of pcm
GRACE_S = 0.2
POLL_S = 0.05


class PolledStore(StreamStore):
    """A store whose clock goes on by most of the grace at each call of a listener."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(10_000_000, kept_s=300, grace_s=GRACE_S)
        self._clock = clock
        self.calls = 0

    async def describe(self, stream_id: str, /) -> StreamState:
        self._go_on()
        return await super().describe(stream_id)

    async def advance(
        self, stream_id: str, start: int, limit: int, version: int | None, /
    ) -> StreamPart:
        self._go_on()
        return await super().advance(stream_id, start, limit, version)

    def _go_on(self) -> None:
        self._clock.now += 0.9 * GRACE_S
        self.calls += 1


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the runs: none is aborted because the machine stands still."""
    clock = Clock()
    monkeypatch.setattr(stream_run, "monotonic", clock)
    monkeypatch.setattr(stream_run, "POLL_S", POLL_S)
    monkeypatch.setattr(stream_listener, "POLL_S", POLL_S)
    monkeypatch.setattr(stream_listener, "_PART_BYTES", 10_000)
    return clock


@pytest.fixture
async def store(clock: Clock) -> AsyncIterator[PolledStore]:
    store = PolledStore(clock)
    yield store
    await store.close()


async def until_unheard(clock: Clock, condition: Callable[[], bool]) -> None:
    """Wait for a condition while the clock goes on, by less than the grace from poll to poll."""

    def goes_on() -> bool:
        clock.now += 0.1 * GRACE_S
        return condition()

    await until(goes_on)


async def joined(content: AsyncIterator[bytes]) -> bytes:
    return b"".join([part async for part in content])


async def test_it_follows_the_stream_to_its_end(store: PolledStore) -> None:
    generator = Held()
    listener = StreamListener(store, store.create(source_of(generator)))
    state = await listener.open()
    assert not state.complete
    content = listener.content(state, 0, None)
    beginning = await anext(content)
    rest = asyncio.create_task(joined(content))
    await until(lambda: store.calls > 9)
    generator.go_on.set()
    whole = beginning + await rest
    finished = await listener.finish(state)
    assert finished.total == len(whole)
    assert await joined(listener.content(finished, 5, 25_000)) == whole[5:25_000]
    assert len(generator.requests) == 1


async def test_a_receiver_that_pauses_keeps_it_going(store: PolledStore) -> None:
    generator = Held()
    listener = StreamListener(store, store.create(source_of(generator)))
    content = listener.content(await listener.open(), 0, SECOND)
    size = len(await anext(content))
    paused_at = store.calls
    await until(lambda: store.calls > paused_at + 5)
    assert generator.closed == 0
    generator.go_on.set()
    assert size + len(await joined(content)) == SECOND


async def test_a_receiver_that_leaves_ends_it(store: PolledStore, clock: Clock) -> None:
    generator = Held()
    listener = StreamListener(store, store.create(source_of(generator)))
    content = listener.content(await listener.open(), 0, SECOND)
    await anext(content)
    del content
    await until_unheard(clock, lambda: generator.closed > 0)


async def test_bytes_of_two_runs_are_not_joined(store: PolledStore, clock: Clock) -> None:
    generator = Held()
    stream_id = store.create(source_of(generator))
    listener = StreamListener(store, stream_id)
    state = await listener.open()
    await until_unheard(clock, lambda: generator.closed > 0)
    generator.go_on.set()
    assert (await StreamListener(store, stream_id).open()).version == 2
    with pytest.raises(GenerationFailed):
        await anext(listener.content(state, 20, SECOND))


async def test_its_deadline_holds_between_two_polls(
    store: PolledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_run, "POLL_S", 10 * PATIENCE_S)
    stream_id = store.create(source_of(Held()))
    state = await StreamListener(store, stream_id).open()
    listener = StreamListener(store, stream_id, deadline=time() + 0.1)
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(DeadlineExceeded):
            await listener.finish(state)
    listener = StreamListener(store, store.create(source_of(FakeGenerator())), deadline=time() - 1)
    with pytest.raises(DeadlineExceeded):
        await listener.open()
