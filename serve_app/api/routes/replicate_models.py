"""Replicate's API: models and their versions."""

from collections.abc import Callable
from time import time

from fastapi import APIRouter, Request

from serve_app.api import openapi
from serve_app.api.base_url import base_url
from serve_app.api.errors import OriginNotAllowed
from serve_app.api.replicate_models import ReplicateModels
from serve_app.api.schemas.models import Model, RepositoryModel
from serve_app.api.schemas.replicate import ModelVersion, VersionPage
from serve_app.errors import ModelNotFound, Unauthorized
from serve_app.gateway.service import GenerationService

_MODEL = "/v1/models/{owner}/{name}"
_ERRORS = openapi.errors(Unauthorized, OriginNotAllowed, ModelNotFound)


def create_router(
    service: GenerationService, models: ReplicateModels, address: Callable[[str], str]
) -> APIRouter:
    """Build the router, which needs no jobs.

    address: returns the address of the service for a request that arrived at its argument.
    """
    router = APIRouter(tags=["Replicate clients"])
    created = int(time())

    @router.get(_MODEL, responses=_ERRORS, summary="Describe a model by its repository")
    async def fetch_model(owner: str, name: str, request: Request) -> RepositoryModel:
        """Describes a served model, or `meta/musicgen`, which means the default model.

        The answer has the fields of OpenAI's clients, and those of Replicate's.
        """
        model = models.named(f"{owner}/{name}")
        loaded = await service.readiness.loaded(model.card)
        facts = Model.of(model.card, loaded, created, service.readiness.remembered(model.card))
        hosted = models.hosted(model, address(base_url(request)))
        return RepositoryModel(**facts.model_dump(), **dict(hosted))

    @router.get(f"{_MODEL}/versions", responses=_ERRORS, summary="List a model's versions")
    async def list_versions(owner: str, name: str) -> VersionPage:
        """Lists the one version of a model."""
        return VersionPage(results=[models.version(models.named(f"{owner}/{name}"))])

    @router.get(
        f"{_MODEL}/versions/{{version_id}}", responses=_ERRORS, summary="Describe a version"
    )
    async def fetch_version(owner: str, name: str, version_id: str) -> ModelVersion:
        """Describes a version: the schemas of its input and output."""
        return models.version(models.with_version(f"{owner}/{name}", version_id))

    return router
