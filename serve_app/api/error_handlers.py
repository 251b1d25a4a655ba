"""Errors -> answers, once: RFC 9457 problem details. No traceback and no path ever leaves."""

import logging
import math
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from serve_app.errors import InvalidRequest, ServeAppError

logger = logging.getLogger(__name__)

PROBLEM_MEDIA_TYPE = "application/problem+json"


def problem(
    error: ServeAppError, headers: dict[str, str] | None = None, **members: Any
) -> JSONResponse:
    """The error as problem details, with `Retry-After` where it is known when to come back."""
    headers = (headers or {}) | retry_after(error)
    return _problem(error.status, error.code, error.title, error.message, headers, members)


def problem_body(error: ServeAppError) -> dict[str, Any]:
    return _body(error.status, error.code, error.title, error.message)


def retry_after(error: ServeAppError) -> dict[str, str]:
    """The header that says in whole seconds when to come back, for errors that pass."""
    if not error.retryable:
        return {}
    return {"retry-after": str(max(1, math.ceil(error.retry_after_s or 1.0)))}


def add_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(ServeAppError, _serve_app_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(Exception, _unexpected)


def known(error: Exception) -> ServeAppError:
    """The error itself, or what callers learn of an unexpected one."""
    return error if isinstance(error, ServeAppError) else unexpected(error)


def unexpected(error: Exception) -> ServeAppError:
    """An error of which callers learn nothing but that it happened; the log has the rest."""
    logger.error("Unexpected error", exc_info=error)
    return ServeAppError(
        "The service met an unexpected error. It has been logged under the request's id."
    )


async def _serve_app_error(_: Request, error: Exception) -> JSONResponse:
    return problem(known(error))


async def _validation_error(_: Request, error: Exception) -> JSONResponse:
    failures: Sequence[Any] = error.errors() if isinstance(error, RequestValidationError) else []
    errors = [{"field": _field(e["loc"]), "message": e["msg"]} for e in failures]
    detail = "; ".join(
        f"{e['field']}: {e['message']}" if e["field"] else e["message"] for e in errors
    )
    return problem(InvalidRequest(detail or "The request is not valid"), errors=errors)


async def _http_exception(_: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = str(error.detail) if isinstance(error, HTTPException) else "Error"
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    return _problem(status, f"http_{status}", detail, detail, headers, {})


async def _unexpected(_: Request, error: Exception) -> JSONResponse:
    return problem(unexpected(error))


def _field(location: Sequence[object]) -> str:
    """`body.prompt` -> `prompt`; a position inside broken JSON is no field."""
    return ".".join(str(part) for part in location[1:] if isinstance(part, str))


def _problem(
    status: int,
    code: str,
    title: str,
    detail: str,
    headers: dict[str, str],
    members: dict[str, Any],
) -> JSONResponse:
    body = _body(status, code, title, detail) | members
    return JSONResponse(body, status_code=status, headers=headers, media_type=PROBLEM_MEDIA_TYPE)


def _body(status: int, code: str, title: str, detail: str) -> dict[str, Any]:
    return {"type": "about:blank", "title": title, "status": status, "detail": detail, "code": code}
