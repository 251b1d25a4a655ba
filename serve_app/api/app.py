"""Assembly of the API."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial

from fastapi import APIRouter, FastAPI

import serve_app
from serve_app.api.allowed_methods import AllowedMethods
from serve_app.api.document import complete_document
from serve_app.api.error_handlers import add_error_handlers
from serve_app.api.job_routes import create_job_routers
from serve_app.api.middleware.stack import add_middleware
from serve_app.api.routes import (
    conversions,
    elevenlabs,
    health,
    huggingface,
    legacy,
    openai,
    page,
    v1,
    vllm,
)
from serve_app.api.routes import provenance as provenance_routes
from serve_app.api.routes import streams as streams_routes
from serve_app.api.uploaded_audio import UploadedAudio
from serve_app.audio.workers import AudioWorkers
from serve_app.config.api import ApiConfig, Dialect
from serve_app.config.provenance import ProvenanceConfig
from serve_app.gateway.admission import AdmissionQueue
from serve_app.gateway.certificate_watch import CertificateWatch
from serve_app.gateway.conversions import Conversions
from serve_app.gateway.deadlines import DeadlineGenerator
from serve_app.gateway.generator import Fleet, Generator
from serve_app.gateway.keys import KeyRing
from serve_app.gateway.limits import LimitedGenerator, Limits
from serve_app.gateway.marking import Marking
from serve_app.gateway.observer import LogObserver, RequestObserver
from serve_app.gateway.permits.permits import Permits
from serve_app.gateway.provenance_checks import ProvenanceChecks
from serve_app.gateway.punctuality import PunctualGenerator
from serve_app.gateway.readiness import Readiness
from serve_app.gateway.retries import Retries
from serve_app.gateway.routing import ModelRouter
from serve_app.gateway.server_facts import AloneServer, ServerFacts, time_to_answer_s
from serve_app.gateway.service import GenerationService
from serve_app.gateway.stream_store import StreamStore
from serve_app.gateway.streams import Streams
from serve_app.jobs.service import JobService
from serve_app.model_status import ModelCard
from serve_app.watermark.detector_process import DetectorProcess

JobMaker = Callable[[GenerationService, Limits], JobService | str]
_DESCRIPTION = """
Text to music with MusicGen, and to other sounds with AudioGen. The weights of `facebook/musicgen-*` and
`facebook/audiogen-*` are licensed CC-BY-NC 4.0: **not for commercial use**. `GET /v1/models` lists the
licence of each served model.
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
    provenance: ProvenanceConfig | None = None,
    jobs: JobMaker | None = None,
    beside: AbstractAsyncContextManager[None] | None = None,
    permits: Permits | None = None,
    server: ServerFacts | None = None,
) -> FastAPI:
    """Build the HTTP API over a generator and a fleet that serve `models`.

    default_model: id or alias; None: the first model.
    observer: None: outcomes of requests are logged; streams: None: those of this process.
    max_requests: number of requests at a time, beyond which `429` is answered; None: no bound.
    provenance: marks of generated audio; None: the defaults.
    jobs: builds the service of jobs, or the text that says why there is none; None: no routes of jobs.
    beside: entered when the app starts, and left when it ends.
    permits: of limits and lines, running as long as `beside`; None: those of this process alone.
    server: below the API; None: one process, which cuts off no answer.
    """
    observer = observer or LogObserver()
    marking = Marking.of(provenance or ProvenanceConfig(), observer)
    streams = streams or StreamStore.of(config)
    permits = permits or Permits()
    server = server or AloneServer()
    limits = Limits(config.access, permits)
    workers = AudioWorkers()
    router = ModelRouter(models, default_model)
    readiness = Readiness(fleet)
    retries = Retries(generator, observer, permits, readiness.forget)
    admission = AdmissionQueue(retries, router.cards, readiness, permits)
    punctual = PunctualGenerator(admission, router.cards, readiness, permits, server)
    guarded = DeadlineGenerator(LimitedGenerator(punctual, limits))
    service = GenerationService(guarded, router, readiness, config, observer, workers, marking)
    app = _empty_app(streams, CertificateWatch(marking, observer), beside)
    converted = Conversions(workers, limits, config.max_conversion_s, marking)
    checks = _checks(workers, limits, config, provenance or ProvenanceConfig())
    with_replicate = "replicate" in config.dialects
    kept = None if jobs is None else jobs(service, limits)
    with_jobs = (
        [] if kept is None else create_job_routers(kept, service, with_replicate=with_replicate)
    )
    uploaded = UploadedAudio(None if isinstance(kept, str) else kept, config.max_upload_bytes)
    limit_s = partial(time_to_answer_s, server)
    played = streams_routes.create_router(service, streams, limit_s)
    _add_routes(app, service, uploaded, played, converted, checks, with_jobs)
    keys = KeyRing(config.access, observer.keys_rejected)
    add_middleware(app, config, keys, limits, max_requests, limit_s, observer.overloaded)
    return app


def _checks(
    workers: AudioWorkers, limits: Limits, config: ApiConfig, provenance: ProvenanceConfig
) -> ProvenanceChecks:
    """Build the checks of marks. Raises ConfigError for a detector or certificates at fault."""
    detector = DetectorProcess.of(provenance.watermark)
    anchors = provenance.trust_anchors_file
    return ProvenanceChecks(workers, limits, config.max_conversion_s, detector, anchors)


def _empty_app(
    streams: Streams, watch: CertificateWatch, beside: AbstractAsyncContextManager[None] | None
) -> FastAPI:
    """Build an app without routes. `watch` runs as long as it does; at its end it closes the streams."""
    return FastAPI(
        title="musicgen-serve",
        version=serve_app.__version__,
        description=_DESCRIPTION,
        lifespan=_lifespan(streams, watch, beside or nullcontext()),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # behind TLS, the redirect would lead to http://
    )


def _add_routes(
    app: FastAPI,
    service: GenerationService,
    uploaded: UploadedAudio,
    played: APIRouter,
    converted: Conversions,
    checks: ProvenanceChecks,
    jobs: Iterable[APIRouter],
) -> None:
    """Add all routes, their OpenAPI document, and the rendering of their errors."""
    routers = (
        v1.create_router(service, uploaded),
        played,
        conversions.create_router(converted),
        provenance_routes.create_router(checks),
        legacy.create_router(service),
        health.create_router(service),
        *_dialects(service),
        page.create_router(),
        *jobs,
    )
    for router in routers:
        app.include_router(router)
    page.mount_static_files(app)
    complete_document(app)
    add_error_handlers(app, AllowedMethods(route for router in routers for route in router.routes))


def _dialects(service: GenerationService) -> list[APIRouter]:
    """Build the routes of the dialects that the configuration names."""
    routers: dict[Dialect, Callable[[GenerationService], APIRouter]] = {
        "openai": openai.create_router,
        "elevenlabs": elevenlabs.create_router,
        "vllm": vllm.create_router,
        "huggingface": huggingface.create_router,
    }
    served = service.config.dialects
    return [create(service) for name, create in routers.items() if name in served]


def _lifespan(
    streams: Streams, watch: CertificateWatch, beside: AbstractAsyncContextManager[None]
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Build the lifespan of an app."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with beside:
            watching = asyncio.create_task(watch.run())
            yield
            watching.cancel()
            await streams.close()

    return lifespan
