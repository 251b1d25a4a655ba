"""Who waits for which model, in this process: a bound on what waits, and each request's place in the line."""

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from dataclasses import replace
from time import monotonic

import numpy as np

from serve_app.errors import QueueFull
from serve_app.gateway.generator import Generator
from serve_app.types import AudioChunk, GenerationRequest, ModelCard, Progress, ReplicaStatus

INTERVAL_S = 0.5  # between reports to one that waits
_RATE_WINDOW_S = 10.0


class Line:
    """The requests of one model that have no audio yet, oldest first, and how fast music has come lately.

    max_audio_s: of music that may wait; None: no bound.
    """

    def __init__(self, max_audio_s: float | None) -> None:
        self._max_audio_s = max_audio_s
        self._waiting: dict[object, float] = {}
        self._made: deque[tuple[float, float]] = deque()

    def enter(self, duration_s: float) -> object:
        """A ticket for the end of the line. Raises QueueFull, with when to come back."""
        waiting_s = sum(self._waiting.values())
        if (
            self._max_audio_s is not None
            and self._waiting
            and waiting_s + duration_s > self._max_audio_s
        ):
            raise QueueFull(
                f"{len(self._waiting)} requests for {waiting_s:.0f} seconds of music are waiting for this model. "
                "Send it again later.",
                self._seconds_for(duration_s),
            )
        ticket = object()
        self._waiting[ticket] = duration_s
        return ticket

    def leave(self, ticket: object) -> None:
        """Its music has begun, or nobody waits for it any more."""
        self._waiting.pop(ticket, None)

    def progress(self, ticket: object) -> Progress:
        """The ticket's place: 1 is next; the music of those before it and its own is still to be made."""
        tickets = list(self._waiting)
        place = tickets.index(ticket) + 1
        ahead_s = sum(self._waiting[one] for one in tickets[:place])
        return Progress(place, 0.0, self._seconds_for(ahead_s))

    def record(self, audio_s: float) -> None:
        """So many seconds of music have come."""
        now = monotonic()
        self._made.append((now, audio_s))
        while now - self._made[0][0] > _RATE_WINDOW_S:
            self._made.popleft()

    def _seconds_for(self, audio_s: float) -> float | None:
        """At the rate that music has come lately; None where none has."""
        if not self._made:
            return None
        elapsed_s = max(monotonic() - self._made[0][0], 1.0)
        made_s = sum(made_s for _, made_s in self._made)
        return audio_s * elapsed_s / made_s if made_s else None


class AdmissionQueue:
    """A generator in front of which requests line up. Each gets its seed here: it is known before the music is."""

    def __init__(self, generator: Generator, cards: Iterable[ModelCard]) -> None:
        self._generator = generator
        self._lines = {card.model_id: Line(card.max_queued_audio_s) for card in cards}

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[AudioChunk, None]:
        """Who asked for progress hears of its place until its music begins. Raises QueueFull besides."""
        line, request = self._lines[request.model], _with_seed(request)
        ticket = line.enter(request.duration_s)
        try:
            async with contextlib.aclosing(_patiently(self._generator.generate(request))) as chunks:
                async for chunk in chunks:
                    if chunk is None:
                        if request.progress:
                            yield _report(request, line.progress(ticket))
                        continue
                    if chunk.progress is not None and chunk.progress.queue_position > 0:
                        yield replace(
                            chunk, progress=line.progress(ticket)
                        )  # the replica knows of its own alone
                        continue
                    line.leave(ticket)
                    line.record(chunk.samples.shape[1] / chunk.sample_rate)
                    yield chunk
        finally:
            line.leave(ticket)

    async def replicas(self, model_id: str) -> list[ReplicaStatus]:
        return await self._generator.replicas(model_id)

    def wake(self, model_id: str) -> None:
        self._generator.wake(model_id)


async def _patiently(
    chunks: AsyncGenerator[AudioChunk, None],
) -> AsyncGenerator[AudioChunk | None, None]:
    """The chunks; None whenever INTERVAL_S has passed before the first of them. Closing it closes them."""
    async with contextlib.aclosing(chunks):
        first = asyncio.ensure_future(anext(chunks))
        try:
            while not (await asyncio.wait({first}, timeout=INTERVAL_S))[0]:
                yield None
            with contextlib.suppress(StopAsyncIteration):
                yield first.result()
        finally:
            if first.cancel():
                await asyncio.wait({first})
        async for chunk in chunks:
            yield chunk


def _with_seed(request: GenerationRequest) -> GenerationRequest:
    if request.sampling.seed is not None:
        return request
    sampling = request.sampling.model_copy(update={"seed": secrets.randbits(32)})
    return request.model_copy(update={"sampling": sampling})


def _report(request: GenerationRequest, progress: Progress) -> AudioChunk:
    """Before there is a model that would know its sample rate."""
    return AudioChunk(
        np.zeros((1, 0), np.float32), 0, request.sampling.seed or 0, progress=progress
    )
