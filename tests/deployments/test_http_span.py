"""Attributes of HTTP on the current span, by OpenTelemetry's convention."""

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from serve_app.deployments.http_span import HttpSpan


def app() -> FastAPI:
    app = FastAPI()

    @app.get("/jobs/{job_id}")
    async def get(job_id: str) -> JSONResponse:
        return JSONResponse({}, 503 if job_id == "late" else 200)

    app.add_middleware(HttpSpan)
    return app


async def attributes_of(path: str) -> dict[str, object]:
    """Attributes that a request leaves on the span around it."""
    span = TracerProvider().get_tracer("test").start_span("server")
    transport = httpx.ASGITransport(app())
    with trace.use_span(span):
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            await client.get(path)
    return dict(getattr(span, "attributes", None) or {})


@pytest.mark.parametrize(
    ("path", "status", "error"), [("/jobs/a?sig=x", 200, None), ("/jobs/late", 503, "503")]
)
async def test_a_span_describes_the_request_and_its_answer(
    path: str, status: int, error: str | None
) -> None:
    attributes = await attributes_of(path)
    assert attributes.pop("error.type", None) == error
    assert attributes == {
        "http.request.method": "GET",
        "http.response.status_code": status,
        "http.route": "/jobs/{job_id}",
        "network.protocol.version": "1.1",
        "url.scheme": "http",
    }


async def test_an_unknown_path_has_no_route() -> None:
    assert "http.route" not in await attributes_of("/secret")


async def test_without_a_trace_nothing_is_described() -> None:
    transport = httpx.ASGITransport(app())
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/jobs/a")).status_code == 200
