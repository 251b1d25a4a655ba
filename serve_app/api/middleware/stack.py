"""The middleware of the API, in its order."""

from collections.abc import Callable

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from serve_app.api.allowed_origins import AllowedOrigins
from serve_app.api.ignored_fields import IGNORED_HEADER
from serve_app.api.middleware.authentication import Authentication
from serve_app.api.middleware.body_deadline import BodyDeadline
from serve_app.api.middleware.body_limit import BodyLimit
from serve_app.api.middleware.capacity import Capacity
from serve_app.api.middleware.deadline import Deadline
from serve_app.api.middleware.flow_control import FlowControl
from serve_app.api.middleware.head import Head
from serve_app.api.middleware.header_limit import HeaderLimit
from serve_app.api.middleware.http_1_0 import Http10
from serve_app.api.middleware.ignored_headers import IgnoredHeaders
from serve_app.api.middleware.origin import Origin
from serve_app.api.middleware.request_id import REQUEST_ID_HEADER, RequestId
from serve_app.api.middleware.security_headers import SecurityHeaders
from serve_app.api.middleware.unexpected_errors import UnexpectedErrors
from serve_app.config.api import ApiConfig
from serve_app.gateway.keys import KeyRing
from serve_app.gateway.limits import Limits
from serve_app.track_fields import HEADERS

_EXPOSED_HEADERS = [
    *HEADERS,
    IGNORED_HEADER,
    "song-id",  # ElevenLabs'
    REQUEST_ID_HEADER,
    "retry-after",
    "ratelimit",
    "ratelimit-policy",
    "accept-ranges",
    "content-range",
    "etag",
    "location",
    "preference-applied",
]


def add_middleware(
    app: FastAPI,
    config: ApiConfig,
    keys: KeyRing,
    limits: Limits,
    max_requests: int | None,
    limit_s: Callable[[], float],
    overloaded: Callable[[], None],
) -> None:
    """Add the middleware, the innermost first: whatever answers lies within those that add headers."""
    origins = AllowedOrigins(config.cors_origins)
    _add_body_rules(app, config, overloaded)
    app.add_middleware(IgnoredHeaders)
    app.add_middleware(Head)
    app.add_middleware(Authentication, keys=keys, limits=limits)
    if keys.is_open:
        app.add_middleware(Origin, allowed=origins)
    app.add_middleware(Capacity, max_requests=max_requests, refused=overloaded)
    app.add_middleware(Deadline, limit_s=limit_s)
    app.add_middleware(HeaderLimit, max_bytes=config.max_header_bytes)
    app.add_middleware(UnexpectedErrors)
    _add_cors(app, origins)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(RequestId)
    app.add_middleware(Http10)
    app.add_middleware(FlowControl)


def _add_body_rules(app: FastAPI, config: ApiConfig, overloaded: Callable[[], None]) -> None:
    app.add_middleware(
        BodyLimit,
        max_bytes=config.max_body_bytes,
        max_upload_bytes=config.max_upload_bytes,
        memory_bytes=max(config.upload_memory_bytes, config.max_upload_bytes),
        refused=overloaded,
    )
    app.add_middleware(BodyDeadline, timeout_s=config.body_timeout_s)


def _add_cors(app: FastAPI, origins: AllowedOrigins) -> None:
    app.add_middleware(
        CORSMiddleware,
        allow_origins=origins.names,
        allow_origin_regex=origins.pattern,
        allow_private_network=True,
        allow_methods=["GET", "HEAD", "POST", "PUT", "DELETE"],
        allow_headers=["*"],
        expose_headers=_EXPOSED_HEADERS,
    )
