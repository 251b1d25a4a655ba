"""The routes that stand on jobs: this project's own, and Replicate's."""

from fastapi import APIRouter

from serve_app.api.replicate_models import ReplicateModels
from serve_app.api.replicate_predictions import Predictions
from serve_app.api.routes import job_files, jobs_disabled, replicate, replicate_models, webhooks
from serve_app.api.routes import jobs as job_routes
from serve_app.jobs.service import JobService


def create_job_routers(jobs: JobService | str, *, with_replicate: bool) -> list[APIRouter]:
    """Build the routers. jobs: a text says why there are none, and what the operator can do."""
    if isinstance(jobs, str):
        return [jobs_disabled.create_router(jobs)]
    routers = [
        job_routes.create_router(jobs),
        job_files.create_router(jobs),
        webhooks.create_router(jobs),
    ]
    if with_replicate:
        predictions = _predictions(jobs)
        routers += [
            replicate.create_router(predictions),
            replicate_models.create_router(predictions),
        ]
    return routers


def _predictions(jobs: JobService) -> Predictions:
    return Predictions(jobs, ReplicateModels(jobs.generation.router))
