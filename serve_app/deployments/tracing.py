"""OpenTelemetry traces: spans of a request's stages inside Serve's own spans.

Serve traces requests if its configuration has a `tracing_config`, with this module's exporter:

    tracing_config:
      enabled: true
      exporter_import_path: serve_app.deployments.tracing:otlp
      sampling_ratio: 0.01

Serve's own spans: https://docs.ray.io/en/latest/serve/monitoring.html.
Environment variables that name the collector, such as OTEL_EXPORTER_OTLP_ENDPOINT:
https://opentelemetry.io/docs/specs/otel/.
"""

from time import time_ns

from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from serve_app.errors import ConfigError
from serve_app.types import GenerationRequest, Timings

_tracer = trace.get_tracer("musicgen-serve")


def otlp() -> list[SpanProcessor]:
    """Return span processors that send OTLP to a collector over HTTP.

    Raises ConfigError if the exporter is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise ConfigError(
            "The OTLP exporter is not installed. Install the tracing extra: "
            "pip install 'musicgen-serve[tracing]'"
        ) from error
    return [BatchSpanProcessor(OTLPSpanExporter())]


def trace_timings(request: GenerationRequest, timings: Timings) -> None:
    """Emit the spans of a track that has just been finished, inside the current span.

    The codec decodes in parts, concurrently with the steps. Its span ends with the track and is as
    long as the sum of the parts.
    """
    end = time_ns()
    start = end - _ns(timings.queue_s + timings.generation_s)
    queued = start + _ns(timings.queue_s)
    encoded = queued + _ns(timings.text_encoder_s)
    spans = {
        "queue": (start, queued),
        "text encoding": (queued, encoded),
        "first step": (encoded, encoded + _ns(timings.first_step_s)),
        "steps": (encoded, end),
        "codec": (end - _ns(timings.codec_s), end),
    }
    attributes: dict[str, str | float] = {
        "gen_ai.request.model": request.model,
        "musicgen.request_id": request.request_id,
        "musicgen.duration_s": request.duration_s,
    }
    for name, (started, ended) in spans.items():
        _tracer.start_span(name, start_time=started, attributes=attributes).end(ended)


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
