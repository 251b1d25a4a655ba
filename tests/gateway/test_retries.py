"""Dead replicas and what their requests see of it: nothing, but for the one that replicas die of."""

import asyncio
from collections.abc import AsyncGenerator, Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from serve_app.errors import GenerationFailed, InvalidRequest, ReplicaFailed, ReplicaUnreachable
from serve_app.gateway.observer import LogObserver
from serve_app.gateway.retries import TRIES, Retries
from serve_app.types import AudioChunk, FinishReason, GenerationRequest, Progress, ReplicaStatus

LENGTH, CHUNK = 100, 20  # samples


def request(prompt: str = "piano") -> GenerationRequest:
    return GenerationRequest(
        request_id=prompt, model="small", prompt=prompt, duration_s=1.0, progress=True
    )


def piece() -> NDArray[np.float32]:
    return np.arange(LENGTH, dtype=np.float32)[None]


class Replica:
    """A generator of one replica, which is replaced at once when it dies; all that it was making then fails.

    dies_at: whether it dies at this sample of this request. errors: what is met at its first deaths.
    """

    def __init__(self, dies_at: Callable[[GenerationRequest, int], bool]) -> None:
        self.dies_at, self.deaths, self.running = dies_at, 0, 0
        self.tries: list[str] = []
        self.errors: list[ReplicaFailed] = []

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[AudioChunk, None]:
        self.tries.append(request.prompt)
        life = self.deaths
        self.running += 1
        try:
            yield AudioChunk(piece()[:, :0], 100, 7, progress=Progress(0, 0.0, None))
            for start in range(0, LENGTH, CHUNK):
                await asyncio.sleep(0)
                if self.deaths == life and self.dies_at(request, start):
                    self.deaths += 1
                if self.deaths != life:
                    raise dict(enumerate(self.errors)).get(life, ReplicaFailed("It died."))
                end = start + CHUNK
                yield AudioChunk(
                    piece()[:, start:end], 100, 7, FinishReason.LENGTH if end == LENGTH else None
                )
        finally:
            self.running -= 1

    async def replicas(self, _: str) -> list[ReplicaStatus]:
        return []

    def wake(self, _: str) -> None:
        raise NotImplementedError


async def heard(stream: AsyncGenerator[AudioChunk, None]) -> NDArray[np.float32]:
    return np.concatenate([chunk.samples async for chunk in stream], axis=1)


async def test_a_stream_goes_on_where_it_was() -> None:
    replica = Replica(lambda _, sample: sample == 60 and replica.deaths == 0)
    chunks = [chunk async for chunk in Retries(replica, LogObserver()).generate(request())]
    assert replica.deaths == 1
    assert np.array_equal(np.concatenate([chunk.samples for chunk in chunks], axis=1), piece())
    assert [chunk.finish_reason for chunk in chunks].count(FinishReason.LENGTH) == 1
    assert sum(chunk.progress is not None for chunk in chunks) == 1, "no news of what is made again"


async def test_the_one_that_replicas_die_of_is_given_up_and_the_others_are_not() -> None:
    replica = Replica(lambda request, sample: request.prompt == "poison" and sample == 0)
    generator = Retries(replica, LogObserver())
    good = [f"piano {i}" for i in range(6)]
    results = await asyncio.gather(
        *(
            heard(generator.generate(request(prompt)))
            for prompt in [*good[:3], "poison", *good[3:]]
        ),
        return_exceptions=True,
    )
    poison = results.pop(3)
    assert isinstance(poison, GenerationFailed)
    assert poison.message == "two replicas failed when they were to make this piece"
    assert replica.tries.count("poison") == 2
    assert all(np.array_equal(np.asarray(result), piece()) for result in results)


async def test_a_node_that_goes_away_is_nobodys_fault() -> None:
    """One replica dies at once, its replacement's node goes away, and that at every request's turn."""
    replica = Replica(lambda _, sample: sample == 0 and replica.deaths < 2)
    replica.errors = [ReplicaFailed("It died."), ReplicaUnreachable("Its node went away.")]
    results = await asyncio.gather(
        *(
            heard(Retries(replica, LogObserver()).generate(request(name)))
            for name in ("a", "b", "c")
        )
    )
    assert replica.deaths == 2
    assert all(np.array_equal(result, piece()) for result in results)


async def test_it_is_not_tried_for_ever() -> None:
    replica = Replica(lambda _, sample: sample == 80)
    with pytest.raises(ReplicaFailed):
        await heard(Retries(replica, LogObserver()).generate(request()))
    assert replica.deaths == TRIES


async def test_other_errors_are_the_callers() -> None:
    def refuse(_: GenerationRequest, __: int) -> bool:
        raise InvalidRequest("No.")

    replica = Replica(refuse)
    with pytest.raises(InvalidRequest):
        await heard(Retries(replica, LogObserver()).generate(request()))
    assert len(replica.tries) == 1


async def test_one_that_leaves_gives_its_turn_away() -> None:
    """It leaves while it is tried again and has no music yet."""
    replica = Replica(lambda _, __: replica.deaths == 0)
    generator = Retries(replica, LogObserver())
    leaver, stayer = (
        asyncio.create_task(heard(generator.generate(request(name))))
        for name in ("leaver", "stayer")
    )
    while len(replica.tries) < 3:  # noqa: ASYNC110 - what is awaited is a list's length
        await asyncio.sleep(0)
    leaver.cancel()
    assert np.array_equal(await stayer, piece())
    assert replica.running == 0
    assert replica.tries.count("stayer") == 2
