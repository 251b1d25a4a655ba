"""Spans of a finished track, and the exporter that sends them."""

import sys

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from serve_app.deployments import tracing
from serve_app.errors import ConfigError
from serve_app.types import GenerationRequest, Timings

EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
REQUEST = GenerationRequest(request_id="1", model="nano", prompt="piano", duration_s=3.0)
TIMINGS = Timings(
    queue_s=0.25, time_to_first_audio_s=0.5, generation_s=2.0, compute_s=1.5, text_encoder_s=0.125,
    first_step_s=0.0625, codec_s=0.375,
)  # fmt: skip


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("test"))
    return exporter


def test_spans_split_a_tracks_time(spans: InMemorySpanExporter) -> None:
    tracing.trace_timings(REQUEST, TIMINGS)
    times = {s.name: (s.start_time or 0, s.end_time or 0) for s in spans.get_finished_spans()}
    seconds = {name: (end - start) / 1e9 for name, (start, end) in times.items()}
    assert seconds == {
        "queue": 0.25,
        "text encoding": 0.125,
        "first step": 0.0625,
        "steps": 2.0 - 0.125,
        "codec": 0.375,
    }
    assert times["queue"][1] == times["text encoding"][0]
    assert times["text encoding"][1] == times["steps"][0] == times["first step"][0]
    assert times["steps"][1] == times["codec"][1]


def test_spans_name_their_request(spans: InMemorySpanExporter) -> None:
    tracing.trace_timings(REQUEST, TIMINGS)
    expected = {
        "gen_ai.request.model": "nano",
        "musicgen.request_id": "1",
        "musicgen.duration_s": 3.0,
    }
    assert [dict(s.attributes or {}) for s in spans.get_finished_spans()] == [expected] * 5


def test_spans_are_sent_in_batches() -> None:
    [processor] = tracing.otlp()
    assert isinstance(processor, BatchSpanProcessor)
    processor.shutdown()  # type: ignore[no-untyped-call]


def test_a_missing_exporter_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, EXPORTER, None)
    with pytest.raises(ConfigError, match=r"pip install 'musicgen-serve\[tracing\]'"):
        tracing.otlp()
