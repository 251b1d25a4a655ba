"""A listener of one stream."""

import asyncio
from collections.abc import AsyncIterator
from time import time

import pytest

from serve_app.errors import DeadlineExceeded, GenerationFailed
from serve_app.gateway import stream_listener, stream_run
from serve_app.gateway.stream_listener import StreamListener
from serve_app.gateway.stream_store import StreamStore
from tests.fakes import FakeGenerator
from tests.gateway.streams import Held, source_of, until

SECOND = 64_000  # bytes of pcm


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_run, "POLL_S", 0.05)
    monkeypatch.setattr(stream_listener, "POLL_S", 0.05)
    monkeypatch.setattr(stream_listener, "_PART_BYTES", 10_000)


@pytest.fixture
async def store() -> AsyncIterator[StreamStore]:
    store = StreamStore(10_000_000, kept_s=300, grace_s=0.2)
    yield store
    await store.close()


async def test_it_follows_the_stream_to_its_end(store: StreamStore) -> None:
    generator = Held()
    listener = StreamListener(store, store.create(source_of(generator)))
    state = await listener.open()
    assert not state.complete
    content = listener.content(state, 0, None)
    beginning = await anext(content)
    asyncio.get_running_loop().call_later(0.3, generator.go_on.set)
    whole = beginning + b"".join([part async for part in content])
    finished = await listener.finish(state)
    assert finished.total == len(whole)
    ranges = [part async for part in listener.content(finished, 5, 25_000)]
    assert b"".join(ranges) == whole[5:25_000]
    assert len(generator.requests) == 1


async def test_a_receiver_that_pauses_keeps_it_going(store: StreamStore) -> None:
    generator = Held()
    listener = StreamListener(store, store.create(source_of(generator)))
    content = listener.content(await listener.open(), 0, SECOND)
    size = len(await anext(content))
    await asyncio.sleep(1.0)
    assert generator.closed == 0
    generator.go_on.set()
    assert size + sum([len(part) async for part in content]) == SECOND


async def test_a_receiver_that_leaves_ends_it(store: StreamStore) -> None:
    generator = Held()
    listener = StreamListener(store, store.create(source_of(generator)))
    content = listener.content(await listener.open(), 0, SECOND)
    await anext(content)
    del content
    await until(lambda: generator.closed > 0)


async def test_bytes_of_two_runs_are_not_joined(store: StreamStore) -> None:
    generator = Held()
    stream_id = store.create(source_of(generator))
    listener = StreamListener(store, stream_id)
    state = await listener.open()
    await until(lambda: generator.closed > 0)
    generator.go_on.set()
    assert (await StreamListener(store, stream_id).open()).version == 2
    with pytest.raises(GenerationFailed):
        await anext(listener.content(state, 20, SECOND))


async def test_its_deadline_holds(store: StreamStore) -> None:
    stream_id = store.create(source_of(Held()))
    state = await StreamListener(store, stream_id).open()
    listener = StreamListener(store, stream_id, deadline=time() + 0.1)
    async with asyncio.timeout(10):
        with pytest.raises(DeadlineExceeded):
            await listener.finish(state)
    listener = StreamListener(store, store.create(source_of(FakeGenerator())), deadline=time() - 1)
    with pytest.raises(DeadlineExceeded):
        await listener.open()
