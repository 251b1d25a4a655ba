"""One API for all tests of the routes of jobs; each test puts its own stores behind it."""

from functools import cache
from typing import Any, cast

from fastapi import FastAPI

from serve_app.api.app import create_api
from serve_app.config.api import ApiConfig
from serve_app.gateway.observer import LogObserver
from serve_app.gateway.readiness import Readiness
from serve_app.gateway.routing import ModelRouter
from serve_app.gateway.service import GenerationService
from serve_app.jobs.service import JobService
from tests.fakes import LARGE, SMALL, FakeGenerator


class CurrentJobs:
    """Stands for the JobService of the present test."""

    service: JobService
    _first = GenerationService(
        FakeGenerator(),
        ModelRouter([SMALL, LARGE], "small"),
        Readiness(FakeGenerator()),
        ApiConfig(),
        LogObserver(),
    )

    @property
    def generation(self) -> GenerationService:
        """Of the present test; another one while the API is built before any."""
        return self.service.generation if "service" in vars(self) else self._first

    def __getattr__(self, name: str) -> Any:
        return getattr(self.service, name)


CURRENT = CurrentJobs()


@cache
def jobs_api() -> FastAPI:
    """Build the API, once: most of its time is its documentation."""
    fake = FakeGenerator()
    jobs = cast(JobService, CURRENT)
    config = ApiConfig(max_body_bytes=2000, max_upload_bytes=300_000)
    return create_api(fake, fake, [SMALL, LARGE], "small", config, jobs=lambda *_: jobs)
