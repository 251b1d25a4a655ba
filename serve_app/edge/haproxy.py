"""HAProxy's configuration, rendered from the template `haproxy.cfg`."""

import json
from collections.abc import Iterable, Mapping
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
from serve_app.error_bodies import ERROR_FORMS, PROBLEM_MEDIA_TYPE, error_body
from serve_app.errors import (
    HeadersTooLarge,
    PayloadTooLarge,
    RequestTimeout,
    ServeAppError,
)

DEADLINE_HEADER = "x-musicgen-timeout-seconds"
_TEMPLATE = Template(Path(__file__).with_name("haproxy.cfg").read_text())
_LUA = Path(__file__).with_name("errors.lua")
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
    """Build the answers that the edge gives itself.

    Lines of `http-error`, arguments of `return` and of `lua-load`.
    """
    of_haproxy = _errors_of_haproxy(edge, timeouts)
    of_rules = _errors_of_rules(edge, api)
    too_large = PayloadTooLarge(f"The request's body must be at most {api.max_upload_bytes} bytes.")
    returned = of_haproxy | of_rules
    return {name: _answer(error) for name, error in returned.items()} | {
        "errors": "\n".join(f"  http-error {_answer(error)}" for error in of_haproxy.values()),
        "error_bodies": _lua([*returned.values(), too_large]),
    }


def _errors_of_haproxy(edge: EdgeConfig, timeouts: Timeouts) -> dict[str, ServeAppError]:
    """Build the errors that HAProxy answers with by itself; rules return some of them, too."""
    return {
        "malformed_request": MalformedRequest(
            "The request is not HTTP that the service understands."
        ),
        "body_timeout": RequestTimeout(f"The body must arrive within {edge.body_timeout_s:g} s."),
        "bad_gateway": BadGateway(
            "The service ended the connection before it answered. Try again.", 2
        ),
        "unavailable": Unavailable("The service is starting, restarting or full. Try again.", 5),
        "gateway_timeout": GatewayTimeout(
            f"No answer within {timeouts.request_timeout_s:g} s. Ask for less music, or for a stream."
        ),
    }


def _errors_of_rules(edge: EdgeConfig, api: ApiConfig) -> dict[str, ServeAppError]:
    """Build the errors that rules return."""
    return {
        "not_found": PathNotFound("There is nothing at this path."),
        "overloaded": Overloaded(
            "All ingress replicas are full, and so is the line for them. Try again.", 2
        ),
        "internal_error": ServeAppError("An ingress replica failed. Try again."),
        "rate_limited": TooManyRequests(
            f"At most {edge.max_requests_per_address} requests of one address may be unfinished."
        ),
        "uri_too_long": UriTooLong(f"Path and query must be at most {edge.max_url_bytes} bytes."),
        "headers_too_large": HeadersTooLarge(
            f"Headers must be at most {api.max_header_bytes} bytes."
        ),
    }


def _answer(error: ServeAppError) -> str:
    """Write the arguments of HAProxy's `http-error` and `http-request return`."""
    body = f"%[var(txn.form,openai),lua.error_body({error.code})]"
    headers = _hdr({**_HEADERS, **error.headers})
    return f"status {error.status} content-type {PROBLEM_MEDIA_TYPE} lf-string '{body}' {headers}"


def _lua(errors: Iterable[ServeAppError]) -> str:
    """Write the arguments of `lua-load`: script, bodies, bytes to read, headers of 413."""
    parts = [
        part
        for error in errors
        for form in ERROR_FORMS
        for part in (error.code, form, json.dumps(error_body(form, error.problem_details)))
    ]
    bodies = "\t".join(parts).replace("'", r"\u0027")  # an apostrophe would end the quotes
    headers = {"content-type": PROBLEM_MEDIA_TYPE} | _HEADERS
    pairs = [part for pair in headers.items() for part in pair]
    arguments = (_LUA.as_posix(), bodies, str(_DISCARDED_BYTES), *pairs)
    return " ".join(f"'{argument}'" for argument in arguments)


def _hdr(headers: Mapping[str, str]) -> str:
    return " ".join(f"hdr {name} '{value}'" for name, value in headers.items())
