"""Assembly of the API."""

import re
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

import serve_app
from serve_app.api.document import complete_document
from serve_app.api.error_handlers import add_error_handlers
from serve_app.api.middleware.authentication import Authentication
from serve_app.api.middleware.body_deadline import BodyDeadline
from serve_app.api.middleware.body_limit import BodyLimit
from serve_app.api.middleware.capacity import Capacity
from serve_app.api.middleware.deadline import Deadline
from serve_app.api.middleware.flow_control import FlowControl
from serve_app.api.middleware.head import Head
from serve_app.api.middleware.header_limit import HeaderLimit
from serve_app.api.middleware.http_1_0 import Http10
from serve_app.api.middleware.request_id import REQUEST_ID_HEADER, RequestId
from serve_app.api.middleware.security_headers import SecurityHeaders
from serve_app.api.middleware.unexpected_errors import UnexpectedErrors
from serve_app.api.routes import conversions, health, huggingface, legacy, page, v1
from serve_app.api.routes import streams as streams_routes
from serve_app.audio.workers import AudioWorkers
from serve_app.config.app import ApiConfig
from serve_app.gateway.admission import AdmissionQueue
from serve_app.gateway.conversions import Conversions
from serve_app.gateway.deadlines import DeadlineGenerator
from serve_app.gateway.generator import Fleet, Generator
from serve_app.gateway.keys import KeyRing
from serve_app.gateway.limits import LimitedGenerator, Limits
from serve_app.gateway.observer import LogObserver, RequestObserver
from serve_app.gateway.readiness import Readiness
from serve_app.gateway.retries import Retries
from serve_app.gateway.routing import ModelRouter
from serve_app.gateway.service import GenerationService
from serve_app.gateway.stream_store import StreamStore
from serve_app.gateway.streams import Streams
from serve_app.track_fields import HEADERS
from serve_app.types import ModelCard

_DESCRIPTION = """
Text to music with MusicGen. The weights of `facebook/musicgen-*` are licensed CC-BY-NC 4.0: **not for
commercial use**. `GET /v1/models` lists the licence of each served model.
"""


def create_api(
    generator: Generator,
    fleet: Fleet,
    models: Iterable[ModelCard],
    default_model: str | None,
    config: ApiConfig,
    observer: RequestObserver | None = None,
    streams: Streams | None = None,
    max_requests: int | None = None,
) -> FastAPI:
    """Build the HTTP API over a generator and a fleet that serve `models`.

    default_model: id or alias; None: the first model.
    observer: None: outcomes of requests are logged; streams: None: those of this process.
    max_requests: number of requests at a time, beyond which `429` is answered; None: no bound.
    """
    observer = observer or LogObserver()
    limits = Limits(config.access)
    router = ModelRouter(models, default_model)
    readiness = Readiness(fleet)
    admission = AdmissionQueue(Retries(generator, observer), router.cards, readiness)
    guarded = DeadlineGenerator(LimitedGenerator(admission, limits))
    workers = AudioWorkers()
    service = GenerationService(guarded, router, readiness, config, observer, workers)
    streams = streams or StreamStore(config.stream_memory_bytes, config.stream_kept_s)
    app = FastAPI(
        title="musicgen-serve",
        version=serve_app.__version__,
        description=_DESCRIPTION,
        lifespan=_closing(streams),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # behind TLS, the redirect would lead to http://
    )
    app.include_router(v1.create_router(service))
    app.include_router(streams_routes.create_router(service, streams))
    converted = Conversions(
        workers, limits, config.max_conversion_s, with_prompt=config.provenance.tag_prompt
    )
    app.include_router(conversions.create_router(converted))
    app.include_router(legacy.create_router(service))
    app.include_router(health.create_router(service))
    app.include_router(huggingface.create_router(service))
    app.include_router(page.create_router())
    page.mount_static_files(app)
    complete_document(app)
    add_error_handlers(app)
    keys = KeyRing(config.access, observer.keys_rejected)
    _add_middleware(app, config, keys, limits, max_requests)
    return app


def _closing(streams: Streams) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Build the lifespan of an app: at its end it closes the streams."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await streams.close()

    return lifespan


def _add_middleware(
    app: FastAPI, config: ApiConfig, keys: KeyRing, limits: Limits, max_requests: int | None
) -> None:
    """Add the middleware, the innermost first: whatever answers lies within those that add headers."""
    app.add_middleware(
        BodyLimit, max_bytes=config.max_body_bytes, max_upload_bytes=config.max_upload_bytes
    )
    app.add_middleware(BodyDeadline, timeout_s=config.body_timeout_s)
    app.add_middleware(Head)
    app.add_middleware(Authentication, keys=keys, limits=limits)
    app.add_middleware(Capacity, max_requests=max_requests)
    app.add_middleware(Deadline)
    app.add_middleware(HeaderLimit, max_bytes=config.max_header_bytes)
    app.add_middleware(UnexpectedErrors)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=[origin for origin in config.cors_origins if not origin.endswith(":*")],
        allow_origin_regex=_any_port_regex(config.cors_origins),
        allow_private_network=True,
        allow_methods=["GET", "HEAD", "POST", "PUT", "DELETE"],
        allow_headers=["*"],
        expose_headers=[
            *HEADERS,
            REQUEST_ID_HEADER,
            "retry-after",
            "ratelimit",
            "ratelimit-policy",
            "accept-ranges",
            "content-range",
            "etag",
        ],
    )
    app.add_middleware(SecurityHeaders)
    app.add_middleware(RequestId)
    app.add_middleware(Http10)
    app.add_middleware(FlowControl)


def _any_port_regex(origins: Iterable[str]) -> str | None:
    """Match the origins that end in `:*` at any port; None: there are none."""
    hosts = [re.escape(origin.removesuffix(":*")) for origin in origins if origin.endswith(":*")]
    return rf"(?:{'|'.join(hosts)})(?::\d+)?" if hosts else None
