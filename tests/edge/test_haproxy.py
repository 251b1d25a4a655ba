"""The edge's rules, in a real HAProxy."""

import http.client
import json
import select
import socket
import subprocess
from pathlib import Path
from time import monotonic

import httpx
import pytest

from serve_app.config.api import ApiConfig
from serve_app.config.edge import EdgeConfig
from serve_app.edge.haproxy import Address, Served, Timeouts, render
from serve_app.edge.parser_replies import haproxy
from tests.edge.conftest import (
    PATIENCE_S,
    Server,
    StartEdge,
    exchange,
    get,
    is_problem,
    post,
    refusing_address,
    waiting,
)


def url(address: Address, path: str = "/") -> str:
    return f"http://{address}{path}"


def test_the_configuration_has_no_warnings(tmp_path: Path) -> None:
    file = tmp_path / "haproxy.cfg"
    served = Served(Address("127.0.0.1", 8000), "/", Timeouts(30, 90))
    file.write_text(render(EdgeConfig(), ApiConfig(), "127.0.0.1:8080", served))
    with haproxy() as program:
        checked = subprocess.run(
            [program.path, "-c", "-f", file],
            capture_output=True,
            text=True,
            check=True,
            pass_fds=program.descriptors,
            env=program.environment,
        )
    assert (checked.stdout.strip(), checked.stderr) == ("Configuration file is valid", "")


def test_requests_and_answers_pass(start_edge: StartEdge) -> None:
    address = start_edge()
    response = post(url(address), content=b"x" * 1_000_000)
    assert response.json()["size"] == 1_000_000
    assert response.json()["headers"]["x-forwarded-for"] == "127.0.0.1"


def test_an_answer_before_the_end_of_its_body_costs_no_other_client_its_request(
    start_edge: StartEdge, tmp_path: Path
) -> None:
    """On a shared connection the next request would be read as the rest of that body."""
    address = start_edge()
    body = tmp_path / "body"
    body.write_bytes(bytes(900_000))
    upload = ["curl", "--silent", "--http2-prior-knowledge", "--data-binary", f"@{body}"]
    ports = set()
    for _ in range(4):
        subprocess.run([*upload, url(address, "/early")], check=False, timeout=PATIENCE_S)
        ports.add(get(url(address)).json()["from_port"])
    assert len(ports) == 4


@pytest.mark.parametrize(
    ("path", "headers", "size", "status", "code"),
    [
        ("/" + "a" * 25_000, {}, 0, 414, "uri_too_long"),
        ("/" + "a" * 60_000, {}, 0, 414, "uri_too_long"),
        ("/", {"cookie": "a" * 33_000}, 0, 431, "headers_too_large"),
        ("/", {"cookie": "a" * 100_000}, 0, 431, "headers_too_large"),
        ("/", {}, 1_000_001, 413, "payload_too_large"),
        ("/", {}, 50_000_000, 413, "payload_too_large"),
    ],
)
def test_requests_beyond_a_limit_are_refused(
    start_edge: StartEdge, path: str, headers: dict[str, str], size: int, status: int, code: str
) -> None:
    response = post(url(start_edge(), path), headers=headers, content=b"x" * size)
    assert response.status_code == status
    assert is_problem(response, code)


def test_a_url_of_100_kb_is_refused_as_other_long_ones(start_edge: StartEdge) -> None:
    """Pages fetch such, and httpx does not."""
    answer = exchange(start_edge(), b"GET /" + b"a" * 100_000 + b" HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 414 ")
    assert b"access-control-allow-origin: *" in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "uri_too_long"


@pytest.mark.parametrize("length", [2**31 + 5, 3_000_000_000, 2**32 + 5, 9 * 10**18, 2**64 - 1])
def test_an_announced_length_of_any_size_is_refused(start_edge: StartEdge, length: int) -> None:
    head = f"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\nabc"
    with socket.create_connection(start_edge(), timeout=PATIENCE_S) as connection:
        connection.sendall(head.encode())
        assert connection.recv(12) == b"HTTP/1.1 413"


def test_many_small_headers_are_taken(
    start_edge: StartEdge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http.client, "_MAXHEADERS", 2000)  # of the server behind the edge
    headers = {f"x-{index}": "a" for index in range(1000)}
    assert get(url(start_edge()), headers=headers).json()["headers"]["x-999"] == "a"


@pytest.mark.parametrize("headers", [b"content-length: 10", b"transfer-encoding: chunked"])
def test_a_body_that_stops_is_refused_without_reaching_the_server(
    start_edge: StartEdge, headers: bytes
) -> None:
    address = start_edge(body_timeout_s=0.5)
    answer = exchange(address, b"POST / HTTP/1.1\r\nhost: x\r\n" + headers + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"access-control-allow-origin: *" in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "request_timeout"


def test_an_unused_connection_ends_without_an_answer(start_edge: StartEdge) -> None:
    """Browsers open some in advance, and show an answer that they did not ask for."""
    address = start_edge(header_timeout_s=0.2, accepts_silent=True)
    assert exchange(address, b"") == b""


def test_a_client_that_stops_within_a_large_body_is_cut_off(
    start_edge: StartEdge, server: Server
) -> None:
    address = start_edge(idle_timeout_s=0.5)
    head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 900000\r\n\r\n"
    assert exchange(address, head + b"x" * 100_000).startswith((b"HTTP/1.1 408", b"HTTP/1.1 400"))
    assert server.cut_off.wait(PATIENCE_S)


def test_a_client_that_stops_reading_is_cut_off(start_edge: StartEdge, server: Server) -> None:
    with socket.create_connection(start_edge(idle_timeout_s=0.5)) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
        assert server.cut_off.wait(PATIENCE_S)


def test_a_connection_between_requests_is_kept_beyond_the_idle_timeout(
    start_edge: StartEdge,
) -> None:
    """Its time is `keep_alive_timeout_s`, above that of load balancers, which reuse connections."""
    idle_s = 0.3
    connection = http.client.HTTPConnection(*start_edge(idle_timeout_s=idle_s))
    for _ in range(2):
        connection.request("GET", "/")
        response = connection.getresponse()
        assert (response.status, len(response.read()) > 0) == (200, True)
        assert select.select([connection.sock], [], [], 4 * idle_s)[0] == [], "closed"
    connection.close()


def test_a_server_that_is_not_there_is_unavailable(start_edge: StartEdge) -> None:
    with refusing_address() as upstream:
        response = get(url(start_edge(upstream_port=upstream.port)))
    assert response.status_code == 503
    assert is_problem(response, "unavailable")
    assert response.headers["retry-after"] == "5"


def test_a_broken_answer_is_a_bad_gateway(start_edge: StartEdge) -> None:
    with socket.create_server(("127.0.0.1", 0)) as broken:
        address = start_edge(upstream_port=broken.getsockname()[1])
        with socket.create_connection(address, timeout=PATIENCE_S) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            accepted, _ = broken.accept()
            accepted.recv(65536)
            accepted.close()
            assert connection.recv(12) == b"HTTP/1.1 502"


@pytest.mark.parametrize(
    ("status", "answered", "code"),
    [
        (404, 503, "unavailable"),
        (503, 503, "unavailable"),
        (408, 504, "gateway_timeout"),
        (429, 429, "overloaded"),
        (500, 500, "internal_error"),
        (400, 400, "malformed_request"),
        (403, 400, "malformed_request"),
    ],
)
def test_plain_text_of_serves_proxy_becomes_a_problem(
    start_edge: StartEdge, status: int, answered: int, code: str
) -> None:
    response = get(url(start_edge(), f"/proxy/{status}"))
    assert response.status_code == answered
    assert is_problem(response, code)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/music/proxy/404", 503, "unavailable"),
        ("/musical/proxy/404", 404, "path_not_found"),
        ("/proxy/404", 404, "path_not_found"),
    ],
)
def test_only_paths_below_the_prefix_are_the_services(
    start_edge: StartEdge, path: str, status: int, code: str
) -> None:
    response = get(url(start_edge(route_prefix="/music"), path))
    assert response.status_code == status
    assert is_problem(response, code)


def test_headers_for_serves_proxy_do_not_reach_it(start_edge: StartEdge) -> None:
    sent = {
        "x-request-disconnect-disabled": "?1",
        "x-request-timeout-seconds": "20",
        "serve_multiplexed_model_id": "a",
        "x-session-id": "b",
    }
    headers = get(url(start_edge()), headers=sent).json()["headers"]
    assert not sent.keys() & headers.keys()
    assert headers["x-musicgen-timeout-seconds"] == "20"


def test_the_services_own_deadline_wins_over_that_of_serves_proxy(start_edge: StartEdge) -> None:
    sent = {"x-request-timeout-seconds": "20", "x-musicgen-timeout-seconds": "5"}
    headers = get(url(start_edge()), headers=sent).json()["headers"]
    assert headers["x-musicgen-timeout-seconds"] == "5"


def test_forwarded_headers_are_kept_from_trusted_proxies_only(start_edge: StartEdge) -> None:
    sent = {"x-forwarded-for": "192.0.2.7", "x-forwarded-proto": "https"}
    trusted = get(url(start_edge()), headers=sent).json()["headers"]
    assert trusted["x-forwarded-proto"] == "https"
    other = get(url(start_edge(trust_loopback=False)), headers=sent).json()["headers"]
    assert other["x-forwarded-for"] == "127.0.0.1"
    assert "x-forwarded-proto" not in other


def test_one_address_has_a_limited_number_of_unfinished_requests(
    start_edge: StartEdge, server: Server
) -> None:
    address = start_edge(trust_loopback=False, max_requests_per_address=2)
    with waiting(address, server, 2):
        refused = get(url(address))
        assert refused.status_code == 429
        assert is_problem(refused, "too_many_requests")
        assert refused.headers["retry-after"] == "1"
        server.released.set()
    deadline = monotonic() + PATIENCE_S
    while (status := get(url(address)).status_code) == 429:
        assert monotonic() < deadline, "requests that have ended count no more"
    assert status == 200


def test_this_machine_and_trusted_proxies_have_no_limit(
    start_edge: StartEdge, server: Server
) -> None:
    address = start_edge(max_requests_per_address=2)
    with waiting(address, server, 3):
        assert get(url(address)).status_code == 200


def test_one_address_has_a_limited_number_of_connections(
    start_edge: StartEdge, server: Server
) -> None:
    address = start_edge(trust_loopback=False, max_connections_per_address=2)
    with waiting(address, server, 2), pytest.raises(httpx.TransportError):
        get(url(address))


def test_requests_beyond_those_in_serve_wait_and_health_checks_pass(
    start_edge: StartEdge, server: Server
) -> None:
    address = start_edge(max_requests=1, queue_timeout_s=0.5)
    with waiting(address, server, 1):
        for path in ("/-/healthz", "/health", "/health/live"):
            assert get(url(address, path)).status_code == 200
        refused = get(url(address, "/models/x/health"))
    assert refused.status_code == 503
    assert is_problem(refused, "unavailable")
