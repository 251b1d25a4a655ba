"""How each request ended, for whoever counts."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

from serve_app.errors import RequestAborted, ServeAppError
from serve_app.gateway.generator import Generator
from serve_app.types import AudioChunk, GenerationRequest, ModelCard, ReplicaStatus, Timings

logger = logging.getLogger(__name__)

OK = "ok"


@dataclass(frozen=True, slots=True)
class Ending:
    """One request's end.

    outcome: `ok`, or the error's code; audio_s: seconds of music that its caller got; first_audio_s, total_s: seconds
    until the first of it, and until the end; timings, cost_usd: of a piece that was finished, where they are known.
    """

    request_id: str
    model: str
    outcome: str
    audio_s: float
    first_audio_s: float | None
    total_s: float
    timings: Timings | None = None
    cost_usd: float | None = None


class RequestObserver(Protocol):
    """Is told of what happens. Its methods neither block nor raise."""

    def ended(self, ending: Ending) -> None: ...

    def retried(self, model_id: str) -> None: ...

    def keys_rejected(self) -> None: ...


class LogObserver:
    """A line in the log for each request's end."""

    def ended(self, ending: Ending) -> None:
        logger.info(
            "Request %s: %s, %.1f s of music by %s in %.2f s",
            ending.request_id, ending.outcome, ending.audio_s, ending.model, ending.total_s,
        )  # fmt: skip

    def retried(self, model_id: str) -> None:
        """What is retried logs it."""

    def keys_rejected(self) -> None:
        """Nothing: the ring of keys logs it."""


class ObservedGenerator:
    """A generator of which a observer hears."""

    def __init__(
        self, generator: Generator, cards: Iterable[ModelCard], observer: RequestObserver
    ) -> None:
        self._generator, self._observer = generator, observer
        self._cards = {card.model_id: card for card in cards}

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[AudioChunk, None]:
        started_at, first_audio_s, audio_s = perf_counter(), None, 0.0
        outcome, timings = RequestAborted.code, None
        try:
            async with contextlib.aclosing(self._generator.generate(request)) as chunks:
                async for chunk in chunks:
                    if chunk.samples.size:
                        first_audio_s = first_audio_s or perf_counter() - started_at
                        audio_s += chunk.samples.shape[1] / chunk.sample_rate
                    if chunk.finish_reason is not None:
                        outcome, timings = OK, chunk.timings
                    yield chunk
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except Exception as error:
            outcome = error.code if isinstance(error, ServeAppError) else ServeAppError.code
            raise
        finally:
            cost_usd = self._cards[request.model].cost_usd(timings) if timings is not None else None
            total_s = perf_counter() - started_at
            self._observer.ended(
                Ending(
                    request.request_id,
                    request.model,
                    outcome,
                    audio_s,
                    first_audio_s,
                    total_s,
                    timings,
                    cost_usd,
                )
            )

    async def replicas(self, model_id: str) -> list[ReplicaStatus]:
        return await self._generator.replicas(model_id)

    def wake(self, model_id: str) -> None:
        self._generator.wake(model_id)
