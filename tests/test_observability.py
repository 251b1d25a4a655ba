"""Observability of the running service: metrics in a real Prometheus, traces at a collector, logs."""

import asyncio
import contextlib
import os
import re
import secrets
import shutil
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from serve_app.launcher import Service
from serve_app.machine import free_port
from tests.conftest import COLLECTOR_PORT, CONFIGS
from tests.processes import titled
from tests.replica_logs import logged

GENERATIONS = "/v1/audio/generations"
CLUSTER = CONFIGS.parent / "cluster"
WATCHED = (
    CLUSTER / "grafana" / "dashboards" / "musicgen.json",
    CLUSTER / "prometheus" / "alerts.yaml",
)
PATIENCE_S = 240  # a busy machine is slow; only a failing test waits as long
# Exported once there is a value: this service has no keys and no GPU, signs nothing, and a chunk is late by chance. Its
# jobs succeed at once and have no webhooks.
WITHOUT_VALUE = (
    "keys_file_errors_total", "key_requests_total", "key_audio_seconds_total",
    "unsigned_files_refused_total", "signing_failures_total", "certificate_days_left",
    "eager_steps_total", "late_chunks_total", "job_returns_total", "webhook_deliveries_total",
    "fallbacks_total", "key_cost_dollars_total", "overloaded_total",
)  # fmt: skip


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=service.url, timeout=PATIENCE_S) as client:
        yield client


@contextmanager
def prometheus(sources: str, folder: Path) -> Iterator[str]:
    """Run a Prometheus that scrapes the targets Ray lists; its API's address."""
    program = shutil.which("prometheus")
    if program is None:
        reason = "Prometheus is not installed: `apt-get install prometheus` (Debian)"
        assert not os.environ.get("CI"), reason
        pytest.skip(reason)
    source = {
        "url": sources,
        "refresh_interval": "1s",
        "authorization": {"type": "Bearer", "credentials": os.environ["RAY_AUTH_TOKEN"]},
    }
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [{"job_name": "ray", "http_sd_configs": [source]}],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    options: list[str | Path] = [
        "--config.file",
        folder / "prometheus.yaml",
        "--storage.tsdb.path",
        folder / "data",
    ]
    process = subprocess.Popen(
        [program, *options, "--web.listen-address", address],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://{address}/api/v1"
    finally:
        process.terminate()
        process.wait()


def names_in(api: str) -> set[str]:
    """Names of all metrics in Prometheus; none until it answers, and while it starts (503)."""
    try:
        response = httpx.get(f"{api}/label/__name__/values", timeout=PATIENCE_S)
    except httpx.TransportError:
        return set()
    return set(response.json()["data"]) if response.is_success else set()


def value_of(query: str, api: str) -> float:
    """The sum over the series that match the query; 0 without any."""
    answer = httpx.get(f"{api}/query", params={"query": query}, timeout=PATIENCE_S)
    found = answer.json()["data"]["result"]
    return sum(float(series["value"][1]) for series in found)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - other processes are asked
            await asyncio.sleep(0.1)


@pytest.mark.long
async def test_prometheus_has_every_metric_of_the_dashboard_and_the_alerts(
    service: Service, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    """After a stream whose replica died, so that every metric has a sample."""
    music = await begun_track(client)
    [replica] = titled(service.processes(), "ServeReplica:musicgen:MusicGen:nano")
    replica.kill()
    assert (await music).status_code == 200
    job = await client.post(
        "/v1/jobs", json={"prompt": "beat", "duration_s": 0.5}, headers={"prefer": "wait=60"}
    )
    assert job.json()["status"] == "succeeded"
    watched = {name for file in WATCHED for name in re.findall(r"\bray_\w+", file.read_text())}
    watched -= {f"ray_musicgen_{name}" for name in WITHOUT_VALUE}
    assert len(watched) > 15
    with prometheus(f"{service.dashboard_url}/api/prometheus/sd", tmp_path) as api:
        missing = set(watched)

        def all_seen() -> bool:
            missing.difference_update(names_in(api))
            return not missing

        with contextlib.suppress(TimeoutError):
            await until(all_seen)
        assert missing == set()
        await until(
            lambda: value_of('sum(ray_musicgen_audio_seconds_total{model="nano"})', api) >= 60
        )


async def begun_track(client: httpx.AsyncClient) -> asyncio.Task[httpx.Response]:
    """Start a track, again where one was over before this process has seen it in a slot."""
    body = {"prompt": "lofi beat", "duration_s": 60, "stream": True}
    while True:
        music = asyncio.create_task(client.post(GENERATIONS, json=body))
        while not music.done():
            replicas = (await client.get("/stats")).json()["models"]["nano"]
            if any(replica["slots_used"] for replica in replicas) and not music.done():
                return music


class Collector(HTTPServer):
    """Receives spans from OTLP exporters over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        super().__init__(("127.0.0.1", COLLECTOR_PORT), _Handler)

    def of(self, trace_id: str) -> dict[str, Span]:
        return {span.name: span for span in self.spans if span.trace_id.hex() == trace_id}


def routes(collector: Collector, trace_id: str) -> set[str]:
    """Values of `http.route` with the method by the newer convention beside it."""
    spans = [
        {attribute.key: attribute.value.string_value for attribute in span.attributes}
        for span in collector.of(trace_id).values()
    ]
    return {span["http.route"] for span in spans if span.get("http.request.method") == "POST"}


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        request = ExportTraceServiceRequest.FromString(
            self.rfile.read(int(self.headers["content-length"]))
        )
        self.server.spans += [
            s for r in request.resource_spans for scope in r.scope_spans for s in scope.spans
        ]
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the tests' output stays readable."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        yield collector
        collector.shutdown()
        thread.join()


async def test_a_trace_splits_a_requests_time(
    client: httpx.AsyncClient, collector: Collector
) -> None:
    """The replica's spans belong to the caller's trace."""
    trace_id = secrets.token_hex(16)
    headers = {
        "traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01",
        "x-request-id": "traced-1",
    }
    response = await client.post(
        GENERATIONS, json={"prompt": "a traced beat", "duration_s": 2}, headers=headers
    )
    assert response.status_code == 200
    parts = ("queue", "text encoding", "first step", "steps", "codec", "encode")
    await until(lambda: collector.of(trace_id).keys() >= {*parts})
    spans = collector.of(trace_id)
    seconds = {
        name: (spans[name].end_time_unix_nano - spans[name].start_time_unix_nano) / 1e9
        for name in parts
    }
    assert seconds["text encoding"] > 0
    assert 0 < seconds["first step"] < seconds["steps"]
    assert seconds["codec"] > 0
    made_s = seconds["text encoding"] + seconds["steps"]
    assert made_s == pytest.approx(float(response.headers["x-musicgen-generation-s"]), abs=0.01)
    attributes = {attribute.key: attribute.value for attribute in spans["queue"].attributes}
    assert attributes["musicgen.request_id"].string_value == "traced-1"
    assert spans["queue"].parent_span_id in {span.span_id for span in spans.values()}
    await until(lambda: "generate_content nano" in collector.of(trace_id))
    request = collector.of(trace_id)["generate_content nano"]
    found = {attribute.key: attribute.value for attribute in request.attributes}
    assert found["gen_ai.response.id"].string_value == "traced-1"
    assert found["musicgen.audio_s"].double_value == pytest.approx(2.0)
    assert request.parent_span_id in {span.span_id for span in spans.values()}
    await until(lambda: "/v1/audio/generations" in routes(collector, trace_id))


async def test_only_requests_with_a_sampled_trace_are_traced(
    client: httpx.AsyncClient, collector: Collector
) -> None:
    """At a sampling ratio of 0 only requests whose `traceparent` is sampled are traced.

    Spans of earlier tests may still arrive.
    """
    began_ns = time.time_ns()
    headers = {"traceparent": f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"}
    await client.post(GENERATIONS, json={"prompt": "a beat", "duration_s": 0.5}, headers=headers)
    asked = secrets.token_hex(16)
    headers = {"traceparent": f"00-{asked}-{secrets.token_hex(8)}-01"}
    await client.post(GENERATIONS, json={"prompt": "a beat", "duration_s": 0.5}, headers=headers)
    await until(lambda: "queue" in collector.of(asked))
    new = [span for span in collector.spans if span.start_time_unix_nano >= began_ns]
    assert {span.trace_id.hex() for span in new} == {asked}


async def test_a_request_is_found_in_the_logs_by_its_id(
    service: Service, client: httpx.AsyncClient
) -> None:
    request_id = f"found-{secrets.token_hex(4)}"
    trace_id = secrets.token_hex(16)
    traced = f"00-{trace_id}-{secrets.token_hex(8)}-00"
    headers = {"x-request-id": request_id, "traceparent": traced}
    await client.post(GENERATIONS, json={"prompt": "a beat", "duration_s": 0.5}, headers=headers)
    both = {"musicgen_Ingress", "musicgen_MusicGen:nano"}
    ending = f"Request {request_id}: ok, 0.5 s of music by nano"

    def ends() -> list[dict[str, Any]]:
        return [line for line in logged(service, request_id) if line["message"].startswith(ending)]

    await until(lambda: {line["deployment"] for line in logged(service, request_id)} == both)
    await until(lambda: bool(ends()))
    [end] = ends()
    assert (end["outcome"], end["model"], end["key"], end["audio_s"]) == ("ok", "nano", "-", 0.5)
    assert end["trace_id"] == trace_id
    assert 0 < end["first_audio_s"] <= end["total_s"]
