"""The span of a request: in the caller's trace, with the conventional attributes, failed where the request failed."""

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, Tracer

from serve_app.errors import QueueFull
from serve_app.gateway import request_span
from serve_app.gateway.observer import observed
from serve_app.types import GenerationRequest, SamplingParams
from tests.fakes import SMALL, FakeGenerator, RecordingObserver


class Traces:
    """Spans that have ended, and a tracer for the server's own."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer: Tracer = provider.get_tracer("test")

    def ended(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self._exporter.get_finished_spans()}


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> Traces:
    traces = Traces()
    monkeypatch.setattr(request_span, "_tracer", traces.tracer)
    return traces


def request() -> GenerationRequest:
    sampling = SamplingParams(seed=7, temperature=0.5, top_k=100)
    return GenerationRequest(
        request_id="r1", model="small", prompt="a secret", duration_s=2, sampling=sampling,
        caller="web",
    )  # fmt: skip


async def test_a_span_has_the_conventional_attributes(traces: Traces) -> None:
    observer = RecordingObserver()
    with traces.tracer.start_as_current_span("server"):
        async for _ in observed(FakeGenerator().generate(request()), request(), SMALL, observer):
            pass
    spans = traces.ended()
    span = spans["generate_content small"]
    attributes = dict(span.attributes or {})
    assert attributes["gen_ai.operation.name"] == "generate_content"
    assert attributes["gen_ai.provider.name"] == "musicgen-serve"
    assert attributes["gen_ai.request.model"] == attributes["gen_ai.response.model"] == "small"
    assert attributes["gen_ai.output.type"] == "audio"
    assert attributes["gen_ai.request.seed"] == 7
    assert attributes["gen_ai.request.temperature"] == 0.5
    assert attributes["gen_ai.request.top_k"] == 100
    assert attributes["gen_ai.response.id"] == "r1"
    assert (attributes["musicgen.key"], attributes["musicgen.audio_s"]) == ("web", 2.0)
    assert "error.type" not in attributes
    assert "a secret" not in str(attributes), "prompts are the clients' own"
    assert span.status.status_code is StatusCode.UNSET
    outer = spans["server"].context
    assert span.parent is not None
    assert outer is not None
    assert span.parent.span_id == outer.span_id
    [outcome] = observer.outcomes
    assert outcome.trace_id == outcome.fields["trace_id"] == f"{outer.trace_id:032x}"


async def test_a_failure_names_its_code(traces: Traces) -> None:
    generator = FakeGenerator(error=QueueFull("Later.", retry_after_s=1.0))
    with traces.tracer.start_as_current_span("server"), pytest.raises(QueueFull):
        await anext(observed(generator.generate(request()), request(), SMALL, RecordingObserver()))
    span = traces.ended()["generate_content small"]
    assert (span.attributes or {})["error.type"] == "queue_full"
    assert span.status.status_code is StatusCode.ERROR
