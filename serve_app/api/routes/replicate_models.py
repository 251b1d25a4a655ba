"""Replicate's API: models, their versions, and uploaded files."""

from fastapi import APIRouter, Request, Response

from serve_app.api import openapi
from serve_app.api.base_url import base_url
from serve_app.api.documented_jobs import JOB_ERRORS, uploaded_file_responses
from serve_app.api.file_response import file_response
from serve_app.api.paths import FILES
from serve_app.api.replicate_files import FileAnswer
from serve_app.api.replicate_predictions import Predictions
from serve_app.api.replicate_upload import FORM, store_upload
from serve_app.api.request_context import request_context
from serve_app.api.schemas.replicate import HostedModel, ModelVersion, VersionPage
from serve_app.errors import InvalidInput, ModelNotFound
from serve_app.jobs.errors import ResultsUnavailable, UploadNotFound
from serve_app.jobs.files import JobFile
from serve_app.jobs.stored_files import StoredFile

_MODEL = "/v1/models/{owner}/{name}"
_MODEL_ERRORS = openapi.errors(*JOB_ERRORS, ModelNotFound)
_FILE_ERRORS = openapi.errors(*JOB_ERRORS, UploadNotFound, ResultsUnavailable)


def create_router(predictions: Predictions) -> APIRouter:
    router = APIRouter(tags=["Replicate clients"])
    _add_models(router, predictions)
    _add_files(router, predictions)
    return router


def _add_models(router: APIRouter, predictions: Predictions) -> None:
    models = predictions.models

    @router.get(_MODEL, responses=_MODEL_ERRORS, summary="Describe a model")
    async def fetch_model(owner: str, name: str, request: Request) -> HostedModel:
        """Describes a served model, or `meta/musicgen`, which means the default model."""
        base = predictions.jobs.links.at(base_url(request))
        return models.hosted(models.named(f"{owner}/{name}"), base)

    @router.get(f"{_MODEL}/versions", responses=_MODEL_ERRORS, summary="List a model's versions")
    async def list_versions(owner: str, name: str) -> VersionPage:
        """Lists the one version of a model."""
        return VersionPage(results=[models.version(models.named(f"{owner}/{name}"))])

    @router.get(
        f"{_MODEL}/versions/{{version_id}}", responses=_MODEL_ERRORS, summary="Describe a version"
    )
    async def fetch_version(owner: str, name: str, version_id: str) -> ModelVersion:
        """Describes a version: the schemas of its input and output."""
        return models.version(models.with_version(f"{owner}/{name}", version_id))


def _add_files(router: APIRouter, predictions: Predictions) -> None:
    jobs = predictions.jobs

    @router.post(
        FILES,
        status_code=201,
        responses=openapi.errors(*JOB_ERRORS, InvalidInput, ResultsUnavailable),
        openapi_extra=openapi.body(FORM),
        summary="Upload a file",
    )
    async def create_file(request: Request) -> FileAnswer:
        """Stores the file `content` of a form for a day. Its address may be an input's audio."""
        file = await store_upload(request, request_context(request)["caller"], predictions.files)
        return _described(predictions, file, request)

    @router.get(f"{FILES}/{{file_id}}", responses=_FILE_ERRORS, summary="Describe a file")
    async def fetch_file(file_id: str, request: Request) -> FileAnswer:
        """Describes an uploaded file."""
        file = await predictions.files.get(request_context(request)["caller"], file_id)
        return _described(predictions, file, request)

    @router.delete(
        f"{FILES}/{{file_id}}",
        status_code=204,
        response_class=Response,
        responses=_FILE_ERRORS,
        summary="Delete a file",
    )
    async def delete_file(file_id: str, request: Request) -> Response:
        """Erases an uploaded file."""
        await predictions.files.delete(request_context(request)["caller"], file_id)
        return Response(status_code=204)

    @router.head(f"{FILES}/{{file_id}}/content", include_in_schema=False)
    @router.get(
        f"{FILES}/{{file_id}}/content",
        response_class=Response,
        responses=uploaded_file_responses(),
        summary="Fetch a file",
    )
    async def fetch_content(file_id: str, request: Request, token: str | None = None) -> Response:
        """Sends an uploaded file, to its owner or by its signed address."""
        if token is None:
            file = await predictions.files.get(request_context(request)["caller"], file_id)
        else:
            file = await predictions.files.linked(file_id, token)
        etag = f'"{file.sha256}"'
        stored = JobFile(file.key, file.media_type, file.size_bytes, etag, f"{file.id}.bin")
        return file_response(request, stored, jobs.results.read)


def _described(predictions: Predictions, file: StoredFile, request: Request) -> FileAnswer:
    base = predictions.jobs.links.at(base_url(request))
    return FileAnswer.of(file, predictions.files, base)
