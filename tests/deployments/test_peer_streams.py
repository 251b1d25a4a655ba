"""Streams of several ingress replicas. tests/service covers them at work."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from ray.exceptions import RayTaskError

from serve_app.deployments import peer_streams
from serve_app.deployments.peer_streams import PeerStreams
from serve_app.errors import QueueFull, ReplicaUnreachable, StreamNotFound
from serve_app.gateway.stream_store import StreamStore
from tests.fakes import FakeGenerator
from tests.gateway.streams import source_of


@dataclass
class Replicas:
    """Handle to ingress replicas, of which each gives one answer. calls: those that were made."""

    answers: Sequence[object]
    calls: list[tuple[object, ...]] = field(default_factory=list)

    def broadcast(self, *call: object) -> "Replicas":
        self.calls.append(call)
        return self

    async def results_async(self, **_: object) -> list[Any]:
        for answer in self.answers:
            if isinstance(answer, TimeoutError):
                raise answer
        return list(self.answers)


@pytest.fixture
async def store() -> AsyncIterator[StreamStore]:
    store = StreamStore(1_000_000, kept_s=300, grace_s=300)
    yield store
    await store.close()


@pytest.fixture
async def owner() -> AsyncIterator[StreamStore]:
    """Streams of another replica."""
    store = StreamStore(1_000_000, kept_s=300, grace_s=300)
    yield store
    await store.close()


def asking(
    monkeypatch: pytest.MonkeyPatch, store: StreamStore, *answers: object
) -> tuple[PeerStreams, Replicas]:
    replicas = Replicas(answers)
    monkeypatch.setattr(peer_streams, "_own_handle", lambda: replicas)
    return PeerStreams(store), replicas


async def test_its_own_streams_ask_nobody(
    store: StreamStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams, replicas = asking(monkeypatch, store)
    stream_id = streams.create(source_of(FakeGenerator()))
    assert (await streams.describe(stream_id)).media_type == "audio/pcm"
    assert (await streams.advance(stream_id, 0, 10, None)).content
    assert replicas.calls == []


async def test_the_owners_answer_is_found(
    store: StreamStore, owner: StreamStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream_id = owner.create(source_of(FakeGenerator()))
    state = await owner.describe(stream_id)
    part = await owner.advance(stream_id, 0, 10, None)
    streams, replicas = asking(monkeypatch, store, None, state, RuntimeError("a dead replica"))
    assert await streams.describe(stream_id) is state
    streams, more = asking(monkeypatch, store, part, None)
    assert await streams.advance(stream_id, 0, 10, None) is part
    assert replicas.calls == [("describe_stream", stream_id)]
    assert more.calls == [("advance_stream", stream_id, 0, 10, None)]


async def test_the_owners_error_is_raised(
    store: StreamStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = RayTaskError("advance_stream", "Traceback in /root", QueueFull("Later.", 3.0))
    streams, _ = asking(monkeypatch, store, None, error.as_instanceof_cause())
    with pytest.raises(QueueFull, match=r"^Later\.$") as raised:
        await streams.advance("a" * 32, 0, 10, None)
    assert raised.value.retry_after_s == 3.0


async def test_a_stream_that_nobody_has(
    store: StreamStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams, replicas = asking(monkeypatch, store, None, None)
    for stream_id in ("a" * 32, "a", "../" + "a" * 29):
        with pytest.raises(StreamNotFound):
            await streams.describe(stream_id)
    assert len(replicas.calls) == 1, "what cannot be an id costs no call"


async def test_replicas_that_do_not_answer(
    store: StreamStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams, _ = asking(monkeypatch, store, TimeoutError())
    with pytest.raises(ReplicaUnreachable):
        await streams.describe("a" * 32)
