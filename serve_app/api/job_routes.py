"""The routes that stand on jobs: this project's own, and Replicate's."""

from fastapi import APIRouter

from serve_app.api.replicate_models import ReplicateModels
from serve_app.api.replicate_predictions import Predictions
from serve_app.api.routes import (
    job_files,
    jobs_disabled,
    replicate,
    replicate_files,
    replicate_models,
    replicate_unserved,
    webhooks,
)
from serve_app.api.routes import jobs as job_routes
from serve_app.gateway.service import GenerationService
from serve_app.jobs.service import JobService


def create_job_routers(
    jobs: JobService | str, service: GenerationService, *, with_replicate: bool
) -> list[APIRouter]:
    """Build the routers. jobs: a text says why there are none, and what the operator can do."""
    dialect = _dialect(jobs, service) if with_replicate else []
    if isinstance(jobs, str):
        return [*dialect, jobs_disabled.create_router(jobs, with_replicate=with_replicate)]
    return [
        *dialect,
        job_routes.create_router(jobs),
        job_files.create_router(jobs),
        webhooks.create_router(jobs),
    ]


def _dialect(jobs: JobService | str, service: GenerationService) -> list[APIRouter]:
    """Build Replicate's routers; without jobs there are models alone."""
    models = ReplicateModels(service.router)
    unserved = replicate_unserved.create_router()
    if isinstance(jobs, str):
        return [replicate_models.create_router(service, models, str), unserved]
    predictions = Predictions(jobs, models)
    return [
        replicate.create_router(predictions),
        replicate_models.create_router(service, models, lambda url: jobs.links.at(url)),
        replicate_files.create_router(predictions),
        unserved,
    ]
