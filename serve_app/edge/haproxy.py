"""HAProxy's configuration, rendered from the template `haproxy.cfg`."""

import json
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import NamedTuple

from serve_app.config.api import ApiConfig
from serve_app.config.edge import EdgeConfig
from serve_app.edge.errors import (
    BadGateway,
    GatewayTimeout,
    MalformedRequest,
    Overloaded,
    PathNotFound,
    TooManyRequests,
    Unavailable,
    UriTooLong,
)
from serve_app.errors import (
    HeadersTooLarge,
    PayloadTooLarge,
    RequestTimeout,
    ServeAppError,
)
from serve_app.openai_errors import openai_error

DEADLINE_HEADER = "x-musicgen-timeout-seconds"
_TEMPLATE = Template(Path(__file__).with_name("haproxy.cfg").read_text())
_LUA = Path(__file__).with_name("payload_too_large.lua")
_MEDIA_TYPE = "application/problem+json"
_DISCARDED_BYTES = 2**27  # of a body that is too large, so that its client can read the answer
_LOOPBACK = ("127.0.0.0/8", "::1")
_BUFFER_BYTES = 2**17  # for URL and headers; the parser answers what exceeds it, not the rules
_REWRITE_BYTES = 2048  # HAProxy keeps 1024 bytes of each buffer free for rewriting headers
_HEADERS = {
    "access-control-allow-origin": "*",  # these answers hold nothing of the service
    "access-control-expose-headers": "retry-after",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}


class Address(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Timeouts(NamedTuple):
    """Serve's `http_options`, in seconds."""

    request_timeout_s: float
    keep_alive_timeout_s: float


class Served(NamedTuple):
    """Serve's HTTP proxy and the application behind it."""

    address: Address
    route_prefix: str
    timeouts: Timeouts


def render(
    edge: EdgeConfig,
    api: ApiConfig,
    bind: str,
    served: Served,
    certificate: str | None = None,
) -> str:
    """Fill in the template.

    served: where requests go; bind: address or descriptor in HAProxy's notation;
    certificate: PEM file with certificate chain and key; None: HTTP without TLS.
    """
    tls = f" ssl crt {certificate} alpn h2,http/1.1" if certificate else ""
    return _TEMPLATE.substitute(
        {name: str(value) for name, value in edge.model_dump().items()}
        | _milliseconds(edge, served.timeouts)
        | _answers(edge, api, served.timeouts)
        | {
            "bind": bind + tls,
            "upstream": str(served.address),
            "route_prefix": served.route_prefix,
            "route_folder": served.route_prefix.rstrip("/") + "/",
            "deadline_header": DEADLINE_HEADER,
            "trusted": " ".join((*_LOOPBACK, *edge.trusted_proxies)),
            "buffer_bytes": str(_buffer_bytes(edge, api)),
            "max_header_bytes": str(api.max_header_bytes),
            "max_body_bytes": str(api.max_upload_bytes),
            "payload_too_large": _payload_too_large(api.max_upload_bytes),
        }
    )


def _buffer_bytes(edge: EdgeConfig, api: ApiConfig) -> int:
    return max(_BUFFER_BYTES, edge.max_url_bytes + api.max_header_bytes + _REWRITE_BYTES)


def _milliseconds(edge: EdgeConfig, timeouts: Timeouts) -> dict[str, str]:
    seconds = {
        "header_timeout": edge.header_timeout_s,
        "body_timeout": edge.body_timeout_s,
        "idle_timeout": edge.idle_timeout_s,
        "queue_timeout": edge.queue_timeout_s,
        "keep_alive_timeout": timeouts.keep_alive_timeout_s,
        "server_timeout": timeouts.request_timeout_s + 5,  # Serve answers first
    }
    return {f"{name}_ms": str(round(value * 1000)) for name, value in seconds.items()}


def _answers(edge: EdgeConfig, api: ApiConfig, timeouts: Timeouts) -> dict[str, str]:
    """Build the answers that the edge gives itself: lines of `http-error`, arguments of `return`."""
    unavailable = Unavailable("The service is starting, restarting or full. Try again.", 5)
    timeout = GatewayTimeout(
        f"No answer within {timeouts.request_timeout_s:g} s. Ask for less music, or for a stream."
    )
    malformed = MalformedRequest("The request is not HTTP that the service understands.")
    own = [
        malformed,
        RequestTimeout(f"The body must arrive within {edge.body_timeout_s:g} s."),
        BadGateway("The service ended the connection before it answered. Try again.", 2),
        unavailable,
        timeout,
    ]
    errors = "\n".join(f"  http-error {_answer(error)}" for error in own)
    return {
        "errors": errors,
        "unavailable": _answer(unavailable),
        "malformed_request": _answer(malformed),
        "overloaded": _answer(
            Overloaded("All ingress replicas are full, and so is the line for them. Try again.", 2)
        ),
        "not_found": _answer(PathNotFound("There is nothing at this path.")),
        "gateway_timeout": _answer(timeout),
        "internal_error": _answer(ServeAppError("An ingress replica failed. Try again.")),
        "rate_limited": _answer(
            TooManyRequests(
                f"At most {edge.max_requests_per_address} requests of one address may be unfinished."
            )
        ),
    } | _refusals(edge, api)


def _refusals(edge: EdgeConfig, api: ApiConfig) -> dict[str, str]:
    errors = {
        "uri_too_long": UriTooLong(f"Path and query must be at most {edge.max_url_bytes} bytes."),
        "headers_too_large": HeadersTooLarge(
            f"Headers must be at most {api.max_header_bytes} bytes."
        ),
    }
    return {name: _answer(error) for name, error in errors.items()}


def _payload_too_large(max_bytes: int) -> str:
    """Write the arguments of `lua-load`: script, body, bytes to read, headers."""
    error = PayloadTooLarge(f"The request's body must be at most {max_bytes} bytes.")
    headers = {"content-type": _MEDIA_TYPE} | _HEADERS
    pairs = [part for pair in headers.items() for part in pair]
    arguments = (_LUA.as_posix(), _body(error), str(_DISCARDED_BYTES), *pairs)
    return " ".join(f"'{argument}'" for argument in arguments)


def _answer(error: ServeAppError) -> str:
    """Write the arguments of HAProxy's `http-error` and `http-request return`."""
    headers = _hdr({**_HEADERS, **error.headers})
    return f"status {error.status} content-type {_MEDIA_TYPE} string '{_body(error)}' {headers}"


def _body(error: ServeAppError) -> str:
    """Write JSON without apostrophes, which would end HAProxy's quotes."""
    problem = error.problem_details
    members = problem | {"error": openai_error(problem)}
    return json.dumps(members).replace("'", r"\u0027")


def _hdr(headers: Mapping[str, str]) -> str:
    return " ".join(f"hdr {name} '{value}'" for name, value in headers.items())
