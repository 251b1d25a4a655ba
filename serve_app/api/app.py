"""Puts the API together."""

from collections.abc import Iterable

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.staticfiles import StaticFiles

from serve_app.api import openapi
from serve_app.api.backend import Backend
from serve_app.api.deadlines import Deadline, PunctualBackend
from serve_app.api.error_handlers import add_error_handlers
from serve_app.api.keys import KeyRing
from serve_app.api.limits import LimitedBackend, Limits
from serve_app.api.meter import LogMeter, Meter, MeteredBackend
from serve_app.api.middleware import (
    REQUEST_ID_HEADER,
    Authentication,
    BodyLimit,
    HeaderLimit,
    RequestId,
    SecurityHeaders,
)
from serve_app.api.retries import Retries
from serve_app.api.routes import huggingface, legacy, page, v1
from serve_app.api.routing import ModelRouter
from serve_app.api.studio import Studio
from serve_app.api.waiting_room import WaitingRoom
from serve_app.config import ApiConfig
from serve_app.types import ModelCard

_DESCRIPTION = """
Text to music, by MusicGen. The weights of `facebook/musicgen-*` are licensed CC-BY-NC 4.0: **not for commercial use**.
`GET /v1/models` tells the licence of each served model.
"""


def create_api(
    backend: Backend,
    models: Iterable[ModelCard],
    default_model: str | None,
    config: ApiConfig,
    meter: Meter | None = None,
) -> FastAPI:
    """The whole HTTP API over a backend that serves `models`. Without a meter, requests' ends are logged."""
    meter = meter or LogMeter()
    limits = Limits(config.access)
    router = ModelRouter(models, default_model)
    backend = LimitedBackend(WaitingRoom(Retries(backend, meter), router.cards), limits)
    studio = Studio(MeteredBackend(PunctualBackend(backend), router.cards, meter), router, config)
    app = FastAPI(title="musicgen-serve", description=_DESCRIPTION, redoc_url=None)
    app.include_router(v1.create_router(studio))
    app.include_router(legacy.create_router(studio))
    app.include_router(huggingface.create_router(studio))
    app.include_router(page.create_router())
    app.mount("/static", StaticFiles(directory=page.STATIC))
    add_error_handlers(app)
    app.add_middleware(BodyLimit, max_bytes=config.max_body_bytes, max_upload_bytes=config.max_upload_bytes)
    app.add_middleware(Authentication, keys=KeyRing(config.access), limits=limits)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(config.cors_origins),
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        expose_headers=[*openapi.HEADERS, REQUEST_ID_HEADER, "retry-after", "ratelimit", "ratelimit-policy"],
    )
    app.add_middleware(Deadline)
    app.add_middleware(HeaderLimit, max_bytes=config.max_header_bytes)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(RequestId)
    return app
