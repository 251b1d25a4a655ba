"""Replicate's API: uploaded files."""

from fastapi import APIRouter, Request, Response

from serve_app.api import openapi
from serve_app.api.base_url import base_url
from serve_app.api.documented_jobs import JOB_ERRORS, uploaded_file_responses
from serve_app.api.errors import InvalidInput
from serve_app.api.file_response import file_response
from serve_app.api.paths import FILES
from serve_app.api.replicate_files import FileAnswer
from serve_app.api.replicate_predictions import Predictions
from serve_app.api.replicate_upload import FORM, store_upload
from serve_app.api.request_context import request_context
from serve_app.jobs.errors import ResultsUnavailable, UploadNotFound
from serve_app.jobs.files import JobFile
from serve_app.jobs.stored_files import StoredFile

_FILE_ERRORS = openapi.errors(*JOB_ERRORS, UploadNotFound, ResultsUnavailable)
# An upload may be a page with scripts: a browser saves it, and runs nothing at the service's origin.
_INERT = {"content-disposition": "attachment", "content-security-policy": "sandbox"}


def create_router(predictions: Predictions) -> APIRouter:
    router = APIRouter(tags=["Replicate clients"])
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
        response = file_response(request, stored, jobs.results.read)
        response.headers.update(_INERT)
        return response

    return router


def _described(predictions: Predictions, file: StoredFile, request: Request) -> FileAnswer:
    base = predictions.jobs.links.at(base_url(request))
    return FileAnswer.of(file, predictions.files, base)
