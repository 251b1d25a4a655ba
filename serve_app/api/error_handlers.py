"""Rendering of errors: problem details (RFC 9457), or the form of a dialect.

No answer shows a traceback or a path.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from serve_app.api.allowed_methods import AllowedMethods
from serve_app.api.error_forms import in_form_of
from serve_app.api.paths import route_path
from serve_app.api.schemas.refusal import REFUSED_FIELD
from serve_app.error_bodies import PROBLEM_MEDIA_TYPE
from serve_app.errors import InvalidRequest, ServeAppError

logger = logging.getLogger(__name__)

_SHOWN_CHARS = 200  # of a path in an error


class _ProblemResponse(JSONResponse):
    """Problem details, sent in the form that the clients of the called route read.

    The JSON may quote half a surrogate pair from the request, which UTF-8 cannot have.
    """

    media_type = PROBLEM_MEDIA_TYPE

    def __init__(self, members: dict[str, Any], status_code: int, headers: dict[str, str]) -> None:
        self._members = members
        super().__init__(members, status_code, headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        media_type, body = in_form_of(scope, self._members)
        self.body = self.render(body)
        self.headers["content-type"] = media_type
        self.headers["content-length"] = str(len(self.body))
        await super().__call__(scope, receive, send)

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")


def problem(
    error: ServeAppError, headers: dict[str, str] | None = None, **members: Any
) -> JSONResponse:
    """Render the error as problem details, with `Retry-After` if it is retryable.

    members: added to the body.
    """
    headers = (headers or {}) | error.headers
    return _ProblemResponse(error.problem_details | members, error.status, headers)


def add_error_handlers(app: FastAPI, methods: AllowedMethods) -> None:
    """Render all errors of the app. methods: of its paths, for `Allow`."""
    app.add_exception_handler(ServeAppError, _serve_app_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, partial(_http_exception, methods))
    app.add_exception_handler(Exception, _unexpected)


def as_serve_app_error(error: Exception) -> ServeAppError:
    """Return the error itself if it is this package's own, else the 500 that hides it."""
    return error if isinstance(error, ServeAppError) else unexpected(error)


def unexpected(error: Exception) -> ServeAppError:
    """Log the error with its traceback; return a 500 without details."""
    logger.error("Unexpected error", exc_info=error)
    return ServeAppError("Unexpected error. Quote the x-request-id; the log has the cause.")


async def _serve_app_error(_: Request, error: Exception) -> JSONResponse:
    return problem(as_serve_app_error(error))


async def _validation_error(_: Request, error: Exception) -> JSONResponse:
    failures: Sequence[Any] = error.errors() if isinstance(error, RequestValidationError) else []
    errors = [{"field": _field(e), "message": e["msg"]} for e in failures]
    detail = "; ".join(
        f"{e['field']}: {e['message']}" if e["field"] else e["message"] for e in errors
    )
    return problem(InvalidRequest(detail or "The request's fields are not valid"), errors=errors)


async def _http_exception(
    methods: AllowedMethods, request: Request, error: Exception
) -> JSONResponse:
    if not isinstance(error, HTTPException):
        return problem(unexpected(error))
    status = error.status_code
    detail = str(error.detail)
    if status == HTTPStatus.NOT_FOUND and detail == HTTPStatus.NOT_FOUND.phrase:
        detail = _unserved(request)
    if status == InvalidRequest.status:
        return problem(InvalidRequest(detail), dict(error.headers or {}))
    headers = dict(error.headers or {})
    if status == HTTPStatus.METHOD_NOT_ALLOWED:  # the framework names those of one route
        headers = {"allow": ", ".join(methods.at(route_path(request.scope)))}
    title = HTTPStatus(status).phrase
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return _ProblemResponse(body | {"code": f"http_{status}"}, status, headers)


def _unserved(request: Request) -> str:
    path = request.url.path[:_SHOWN_CHARS]
    return f"{request.method} {path} is not served here: GET /docs shows what is"


async def _unexpected(_: Request, error: Exception) -> JSONResponse:
    return problem(unexpected(error))


def _field(failure: Mapping[str, Any]) -> str:
    """Name the field at fault: `prompt` for `body.prompt`; empty inside broken JSON.

    A refusal of several fields names the one to change.
    """
    named = failure.get("ctx", {}).get(REFUSED_FIELD)
    location = (*failure["loc"][1:], *([named] if named else []))
    return ".".join(str(part) for part in location if isinstance(part, str))
