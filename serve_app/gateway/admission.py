"""Admission: a bounded waiting line in front of each model."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable
from dataclasses import replace

from serve_app.errors import QueueFull
from serve_app.gateway.estimate import remaining_at
from serve_app.gateway.generator import Generator
from serve_app.gateway.permits.line_journal import Ticket
from serve_app.gateway.permits.permits import Permits
from serve_app.gateway.permits.place_tree import Place
from serve_app.gateway.readiness import Readiness
from serve_app.gateway.waiting_line import WaitingLine
from serve_app.model_status import ModelCard
from serve_app.types import AudioChunk, GenerationRequest, Progress, StreamItem

INTERVAL_S = 0.5  # between two reports to a waiting request


class AdmissionQueue:
    """Bounded FIFO per model: refuses requests beyond the bound, tells others their position.

    Background requests are in no line: their sender keeps them back while replicas have no room.
    permits: with a coordinator, the lines are those of all ingress replicas.
    """

    def __init__(
        self,
        generator: Generator,
        cards: Iterable[ModelCard],
        readiness: Readiness,
        permits: Permits | None = None,
    ) -> None:
        self._generator = generator
        self._readiness = readiness
        self._cards = {card.model_id: card for card in cards}
        permits = permits or Permits()
        self._lines = {
            name: WaitingLine(name, card.max_queued_audio_s, permits)
            for name, card in self._cards.items()
        }

    def generate(self, request: GenerationRequest) -> AsyncGenerator[StreamItem, None]:
        """Pass the items on; until the first audio, report the position if `progress` is asked for.

        Raises QueueFull.
        """
        if request.background:
            return self._generator.generate(request)
        return self._in_line(request)

    async def _in_line(self, request: GenerationRequest) -> AsyncGenerator[StreamItem, None]:
        line = self._lines[request.model]
        ticket = await self._enter(line, request)
        try:
            async with contextlib.aclosing(_with_ticks(self._generator.generate(request))) as items:
                async for item in items:
                    if item is None or _is_waiting(item):
                        if request.progress:
                            yield await self._progress(request, line.place(ticket), item)
                        continue
                    line.leave(ticket)
                    if isinstance(item, AudioChunk):
                        line.record(item.duration_s)
                    yield item
        finally:
            line.leave(ticket)

    async def _enter(self, line: WaitingLine, request: GenerationRequest) -> Ticket:
        """Enter the line. QueueFull says when to retry while the model starts, too."""
        try:
            return await line.enter(request.duration_s)
        except QueueFull as full:
            card = self._cards[request.model]
            if full.retry_after_s is None and not await self._readiness.recent(card):
                full.retry_after_s = self._readiness.ready_in_s(card)
            raise

    async def _progress(
        self, request: GenerationRequest, place: Place, reported: StreamItem | None
    ) -> Progress:
        """Report the place of a request that waits, and when its track would be finished.

        reported: by the replica that holds the request, whose estimate is the better one.
        """
        if isinstance(reported, Progress) and reported.remaining_s is not None:
            return replace(reported, queue_position=place.position)
        replicas = await self._readiness.recent(self._cards[request.model])
        left_s = remaining_at(replicas, place.position, place.ahead_s, request.duration_s)
        return Progress(place.position, 0.0, left_s)


def _is_waiting(item: StreamItem) -> bool:
    """Test for progress of a request that waits in a replica: this line's position replaces it."""
    return isinstance(item, Progress) and item.queue_position > 0


async def _with_ticks(
    items: AsyncGenerator[StreamItem, None],
) -> AsyncGenerator[StreamItem | None, None]:
    """Yield the items, and None each INTERVAL_S until the first of them. Closing it closes them."""
    async with contextlib.aclosing(items):
        first = asyncio.ensure_future(anext(items))
        try:
            while not (await asyncio.wait({first}, timeout=INTERVAL_S))[0]:
                yield None
            with contextlib.suppress(StopAsyncIteration):
                yield first.result()
        finally:
            if first.cancel():
                await asyncio.wait({first})
        async for item in items:
            yield item
