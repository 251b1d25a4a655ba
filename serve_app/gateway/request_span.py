"""A request's span of OpenTelemetry, with the attributes of the conventions for generative AI.

https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/
"""

from time import time_ns

import opentelemetry.context
from opentelemetry import trace
from opentelemetry.trace import Status, StatusCode

from serve_app.gateway.outcome import OK, Outcome
from serve_app.types import GenerationRequest

_OPERATION = "generate_content"
_PROVIDER = "musicgen-serve"

_tracer = trace.get_tracer("musicgen-serve")


class RequestSpan:
    """The span of one request by one model, inside the span that is current when this is made.

    It is made at its end, because a generator must not leave a context of its own behind.
    """

    def __init__(self) -> None:
        self._context = opentelemetry.context.get_current()
        self._outer = trace.get_current_span(self._context)
        self._started_ns = time_ns()

    @property
    def trace_id(self) -> str:
        """The trace's id in hexadecimal; empty where the request is not traced."""
        context = self._outer.get_span_context()
        return f"{context.trace_id:032x}" if context.is_valid else ""

    def end(self, request: GenerationRequest, outcome: Outcome) -> None:
        """Make the span. A failure's code is its `error.type`."""
        span = _tracer.start_span(
            f"{_OPERATION} {outcome.model}",
            context=self._context,
            start_time=self._started_ns,
            attributes=_request_attributes(request) | _outcome_attributes(outcome),
        )
        if outcome.code != OK:
            span.set_status(Status(StatusCode.ERROR, outcome.code))
        span.end()


def _request_attributes(request: GenerationRequest) -> dict[str, str | float]:
    return {
        "gen_ai.operation.name": _OPERATION,
        "gen_ai.provider.name": _PROVIDER,
        "gen_ai.request.model": request.model,
        "gen_ai.output.type": "audio",
        "gen_ai.request.seed": request.sampling.seed,
        "gen_ai.request.temperature": request.sampling.temperature,
        "gen_ai.request.top_k": request.sampling.top_k,
        "gen_ai.request.top_p": request.sampling.top_p,
        "musicgen.duration_s": request.duration_s,
    }


def _outcome_attributes(outcome: Outcome) -> dict[str, str | float]:
    found: dict[str, str | float | None] = {
        "gen_ai.response.id": outcome.request_id,
        "gen_ai.response.model": outcome.model,
        "musicgen.first_audio_s": outcome.first_audio_s,
        "musicgen.audio_s": outcome.audio_s,
        "musicgen.cost_usd": outcome.cost_usd,
        "musicgen.key": outcome.caller or None,
        "error.type": None if outcome.code == OK else outcome.code,
    }
    return {name: value for name, value in found.items() if value is not None}
