"""OpenTelemetry traces: what Serve traces of a request, and in it what the request's time went to.

Serve makes them where its configuration has a `tracing_config`, with this module's exporter:

    tracing_config: {enabled: true, exporter_import_path: "serve_app.deployments.tracing:otlp", sampling_ratio: 0.01}

https://docs.ray.io/en/latest/serve/monitoring.html tells of Serve's own spans, https://opentelemetry.io/docs/specs/otel/
of the variables, such as OTEL_EXPORTER_OTLP_ENDPOINT, that say where they go.
"""

from time import time_ns

from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from serve_app.errors import ConfigError
from serve_app.types import GenerationRequest, Timings

_tracer = trace.get_tracer("musicgen-serve")


def otlp() -> list[SpanProcessor]:
    """Spans go to a collector over HTTP. Raises ConfigError where what sends them is not installed."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise ConfigError(
            "Traces need a package more: pip install 'musicgen-serve[tracing]'"
        ) from error
    return [BatchSpanProcessor(OTLPSpanExporter())]


def trace_timings(request: GenerationRequest, timings: Timings) -> None:
    """Spans of a piece that has just been finished, inside the present one.

    The codec works beside the steps, in parts: its span ends at the end and is as long as they are together.
    """
    end = time_ns()
    start = end - _ns(timings.queue_s + timings.generation_s)
    queued, encoded = (
        start + _ns(timings.queue_s),
        start + _ns(timings.queue_s + timings.text_encoder_s),
    )
    spans = {
        "queue": (start, queued),
        "text encoding": (queued, encoded),
        "first step": (encoded, encoded + _ns(timings.first_step_s)),
        "steps": (encoded, end),
        "codec": (end - _ns(timings.codec_s), end),
    }
    attributes: dict[str, str | float] = {
        "musicgen.request_id": request.request_id,
        "musicgen.duration_s": request.duration_s,
    }
    for name, (started, ended) in spans.items():
        _tracer.start_span(name, start_time=started, attributes=attributes).end(ended)


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
