"""Retries: a lost replica is unnoticed by callers; a poison pill is found, and failed alone."""

import asyncio
from collections.abc import AsyncGenerator, Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from serve_app.errors import GenerationFailed, InvalidRequest, ReplicaFailed, ReplicaUnreachable
from serve_app.gateway.observer import LogObserver
from serve_app.gateway.retries import MAX_TRIES, Retries
from serve_app.types import AudioChunk, FinishReason, GenerationRequest, Progress, StreamItem
from tests.fakes import RecordingObserver

RATE = 100
LENGTH = 100  # samples of a track
CHUNK = 20


def request(prompt: str = "piano") -> GenerationRequest:
    return GenerationRequest(
        request_id=prompt, model="small", prompt=prompt, duration_s=1.0, progress=True
    )


def track() -> NDArray[np.float32]:
    return np.arange(LENGTH, dtype=np.float32)[None]


class Replica:
    """A generator of one replica, which is replaced at once when it crashes; its running requests
    fail then.

    dies_at: whether it crashes at this sample of this request; errors: raised at its first crashes;
    chunks: samples of a chunk, by the number of crashes so far.
    """

    def __init__(self, dies_at: Callable[[GenerationRequest, int], bool]) -> None:
        self.dies_at = dies_at
        self.deaths = 0
        self.running = 0
        self.tries: list[str] = []
        self.errors: list[ReplicaFailed] = []
        self.chunks: Callable[[int], int] = lambda _: CHUNK

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[StreamItem, None]:
        self.tries.append(request.prompt)
        life = self.deaths
        self.running += 1
        try:
            yield Progress(0, 0.0, None)
            size = self.chunks(life)
            for start in range(0, LENGTH, size):
                await asyncio.sleep(0)
                if self.deaths == life and self.dies_at(request, start):
                    self.deaths += 1
                if self.deaths != life:
                    raise dict(enumerate(self.errors)).get(life, ReplicaFailed("It died."))
                end = min(start + size, LENGTH)
                finish_reason = FinishReason.LENGTH if end == LENGTH else None
                yield AudioChunk(track()[:, start:end], RATE, finish_reason)
        finally:
            self.running -= 1


async def audio(stream: AsyncGenerator[StreamItem, None]) -> NDArray[np.float32]:
    """Concatenate the samples [1, n] of a stream."""
    chunks = [item.samples async for item in stream if isinstance(item, AudioChunk)]
    return np.concatenate(chunks, axis=1)


@pytest.mark.parametrize("size", [CHUNK, 30, 60, 7])
async def test_a_stream_continues_where_it_was_lost(size: int) -> None:
    replica = Replica(lambda _, sample: sample == 60 and replica.deaths == 0)
    replica.chunks = lambda deaths: size if deaths else CHUNK
    items = [item async for item in Retries(replica, LogObserver()).generate(request())]
    assert replica.deaths == 1
    chunks = [item for item in items if isinstance(item, AudioChunk)]
    assert np.array_equal(np.concatenate([chunk.samples for chunk in chunks], axis=1), track())
    assert all(chunk.samples.size for chunk in chunks), "no chunk is empty"
    assert [chunk.finish_reason for chunk in chunks].count(FinishReason.LENGTH) == 1
    assert len(items) - len(chunks) == 1, "no progress of what is made again"


async def test_a_poison_pill_is_failed_and_its_neighbours_are_not() -> None:
    replica = Replica(lambda request, sample: request.prompt == "poison" and sample == 0)
    generator = Retries(replica, LogObserver())
    good = [f"piano {i}" for i in range(6)]
    results = await asyncio.gather(
        *(
            audio(generator.generate(request(prompt)))
            for prompt in [*good[:3], "poison", *good[3:]]
        ),
        return_exceptions=True,
    )
    poison = results.pop(3)
    assert isinstance(poison, GenerationFailed)
    assert poison.message.startswith("two replicas crashed while they made this track")
    assert replica.tries.count("poison") == 2
    assert all(np.array_equal(np.asarray(result), track()) for result in results)


async def test_a_lost_node_makes_no_suspects() -> None:
    """One replica crashes at once, its replacement's node is lost, and that at every request's
    turn."""
    replica = Replica(lambda _, sample: sample == 0 and replica.deaths < 2)
    replica.errors = [ReplicaFailed("It died."), ReplicaUnreachable("Its node went away.")]
    results = await asyncio.gather(
        *(
            audio(Retries(replica, LogObserver()).generate(request(name)))
            for name in ("a", "b", "c")
        )
    )
    assert replica.deaths == 2
    assert all(np.array_equal(result, track()) for result in results)


async def test_tries_are_bounded_and_observed() -> None:
    replica = Replica(lambda _, sample: sample == 80)
    observer = RecordingObserver()
    with pytest.raises(ReplicaFailed):
        await audio(Retries(replica, observer).generate(request()))
    assert replica.deaths == MAX_TRIES
    assert observer.retries == ["small"] * (MAX_TRIES - 1)


async def test_other_errors_are_not_retried() -> None:
    def refuse(_: GenerationRequest, __: int) -> bool:
        raise InvalidRequest("No.")

    replica = Replica(refuse)
    with pytest.raises(InvalidRequest):
        await audio(Retries(replica, LogObserver()).generate(request()))
    assert len(replica.tries) == 1


async def test_an_abandoned_request_passes_its_turn_on() -> None:
    """It is abandoned while it is retried and has no audio yet."""
    replica = Replica(lambda _, __: replica.deaths == 0)
    generator = Retries(replica, LogObserver())
    leaver, stayer = (
        asyncio.create_task(audio(generator.generate(request(name))))
        for name in ("leaver", "stayer")
    )
    while len(replica.tries) < 3:  # noqa: ASYNC110 - a list's length is awaited
        await asyncio.sleep(0)
    leaver.cancel()
    assert np.array_equal(await stayer, track())
    assert replica.running == 0
    assert replica.tries.count("stayer") == 2


async def test_each_loss_is_told() -> None:
    """What was known of the model's replicas no longer holds."""
    replica = Replica(lambda _, sample: sample == 40 and replica.deaths < 2)
    lost: list[str] = []
    retries = Retries(replica, LogObserver(), lost=lost.append)
    assert np.array_equal(await audio(retries.generate(request())), track())
    assert lost == ["small", "small"]
