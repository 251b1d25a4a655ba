"""Requests made up from the API's document, through the edge and a real HTTP server."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import settings
from schemathesis import Case

from serve_app.config.api import ApiConfig
from serve_app.config.edge import EdgeConfig
from serve_app.edge.edge import listen_on
from serve_app.edge.errors import MalformedRequest, UriTooLong
from serve_app.edge.haproxy import Address, Served, Timeouts, render
from serve_app.edge.process import EdgeProcess
from serve_app.machine import free_port
from tests.api.test_openapi import API, CHECKS, DIALECTS, THOROUGHLY, UPLOADS
from tests.edge.conftest import LOOPBACK, PATIENCE_S
from tests.fakes import FakeGenerator
from tests.served_api import served_api

EDGES_OWN = {MalformedRequest.status, UriTooLong.status}


@pytest.fixture(scope="module")
def edge_url() -> Iterator[str]:
    with served_api(FakeGenerator()) as url:
        port = httpx.URL(url).port
        assert port is not None
        served = Served(Address(LOOPBACK, port), "/", Timeouts(600, 90))
        address = Address(LOOPBACK, free_port())
        limits = EdgeConfig(header_timeout_s=PATIENCE_S, body_timeout_s=PATIENCE_S)
        with (
            listen_on(address) as listener,
            EdgeProcess(listener, lambda bind: render(limits, ApiConfig(), bind, served)),
        ):
            yield f"http://{address}"


DOCUMENT = schemathesis.openapi.from_dict(API.openapi())


@DOCUMENT.exclude(path=[*UPLOADS, *DIALECTS[1:]]).parametrize()
@settings(THOROUGHLY, max_examples=20)
def test_any_request_gets_a_documented_answer_through_the_edge(
    case: Case[Any], edge_url: str
) -> None:
    response = case.call(base_url=edge_url, timeout=120)
    if "server" in response.headers:
        case.validate_response(response, checks=CHECKS)
    else:
        assert response.status_code in EDGES_OWN


def test_plain_text_of_the_service_passes(edge_url: str) -> None:
    """As in answers to preflights, which are those of Starlette's CORSMiddleware."""
    headers = {"origin": "https://other.example", "access-control-request-method": "POST"}
    response = httpx.options(
        f"{edge_url}/v1/audio/generations", headers=headers, timeout=PATIENCE_S
    )
    assert (response.status_code, response.text) == (400, "Disallowed CORS origin")
    assert "access-control-allow-origin" not in response.headers
