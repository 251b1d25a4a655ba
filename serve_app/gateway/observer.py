"""Observation of requests: how each of them ended, for logs and metrics."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from time import perf_counter
from typing import Protocol

from serve_app.errors import RequestAborted, ServeAppError
from serve_app.gateway.outcome import OK, QUEUE_LATE, UNATTAINABLE, Outcome
from serve_app.gateway.punctuality import DeadlineUnattainable, QueueLate
from serve_app.gateway.request_span import RequestSpan
from serve_app.model_status import ModelCard
from serve_app.types import AudioChunk, GenerationRequest, StreamItem, Timings

logger = logging.getLogger(__name__)


class RequestObserver(Protocol):
    """Receiver of request outcomes, retries, rejected keys files, and marks of files.

    Its methods neither block nor raise.
    """

    def ended(self, outcome: Outcome) -> None: ...

    def retried(self, model_id: str) -> None: ...

    def fell_back(self, model_id: str, code: str) -> None:
        """Note that another model answered a request that this one refused with `code`."""
        ...

    def overloaded(self) -> None:
        """Note a request that was refused before it was read, because the process is full."""
        ...

    def keys_rejected(self) -> None: ...

    def file_marked(self, file_format: str, mark: str) -> None: ...

    def file_refused(self, file_format: str) -> None: ...

    def signing_failed(self) -> None: ...

    def certificate_checked(self, days_left: float) -> None: ...


class LogObserver:
    """Logs a line for each request's end: a sentence, and its facts as fields of a JSON log."""

    def ended(self, outcome: Outcome) -> None:
        logger.info(
            "Request %s%s: %s, %.1f s of music by %s in %.2f s",
            outcome.request_id, f" of key '{outcome.caller}'" if outcome.caller else "",
            outcome.code, outcome.audio_s, outcome.model, outcome.total_s,
            extra=outcome.fields,
        )  # fmt: skip

    def retried(self, model_id: str) -> None:
        """Do nothing: `Retries` logs each retry."""

    def fell_back(self, model_id: str, code: str) -> None:
        """Do nothing: the request's log lines have both models."""

    def overloaded(self) -> None:
        """Do nothing: in an overload, a line of each refusal costs more than it tells."""

    def keys_rejected(self) -> None:
        """Do nothing: `KeyRing` logs it."""

    def file_marked(self, file_format: str, mark: str) -> None:
        """Do nothing: metrics count the marks."""

    def file_refused(self, file_format: str) -> None:
        """Do nothing: the request's log line has the code."""

    def signing_failed(self) -> None:
        """Do nothing: `ManifestSigner` logs it."""

    def certificate_checked(self, days_left: float) -> None:
        """Do nothing: `CertificateWatch` logs it."""


async def observed(
    items: AsyncGenerator[StreamItem, None],
    request: GenerationRequest,
    card: ModelCard,
    observer: RequestObserver,
) -> AsyncGenerator[StreamItem, None]:
    """Pass on the items of `request` by the model of `card`; tell the observer how they ended."""
    tally = _Tally()
    try:
        async with contextlib.aclosing(items):
            async for item in items:
                tally.count(item)
                yield item
    except (asyncio.CancelledError, GeneratorExit):
        raise
    except Exception as error:
        tally.code = code_of(error)
        raise
    finally:
        outcome = tally.outcome(request, card)
        observer.ended(outcome)
        tally.span.end(request, outcome)


def code_of(error: Exception) -> str:
    """Name the end of a request. What would miss a deadline was refused for that, and missed none."""
    if isinstance(error, DeadlineUnattainable):
        return UNATTAINABLE
    if isinstance(error, QueueLate):
        return QUEUE_LATE
    return error.code if isinstance(error, ServeAppError) else ServeAppError.code


class _Tally:
    """Running totals of one request."""

    def __init__(self) -> None:
        self.code = RequestAborted.code
        self.span = RequestSpan()
        self._started_at = perf_counter()
        self._first_audio_s: float | None = None
        self._audio_s = 0.0
        self._timings: Timings | None = None

    def count(self, item: StreamItem) -> None:
        if not isinstance(item, AudioChunk):
            return
        if self._first_audio_s is None:
            self._first_audio_s = perf_counter() - self._started_at
        self._audio_s += item.duration_s
        if item.finish_reason is not None:
            self.code = OK
            self._timings = item.timings

    def outcome(self, request: GenerationRequest, card: ModelCard) -> Outcome:
        return Outcome(
            request_id=request.request_id,
            model=card.model_id,
            code=self.code,
            audio_s=self._audio_s,
            first_audio_s=self._first_audio_s,
            total_s=perf_counter() - self._started_at,
            timings=self._timings,
            cost_usd=None if self._timings is None else card.cost_usd(self._timings),
            caller=request.caller,
            trace_id=self.span.trace_id,
        )
