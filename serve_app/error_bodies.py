"""Bodies of errors in the forms that clients read, for the API and for the edge.

- `plain`: problem details (RFC 9457), which Replicate's clients read, too;
- `openai`: with OpenAI's object `error` (also vLLM's), of which its clients show `message` alone;
- `huggingface`: with the sentence as `error`;
- `elevenlabs`: ElevenLabs' object `detail`.
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from serve_app.errors import ModelNotFound

ErrorForm = Literal["plain", "openai", "huggingface", "elevenlabs"]
ERROR_FORMS: tuple[ErrorForm, ...] = get_args(ErrorForm)
Members = Mapping[str, Any]
PROBLEM_MEDIA_TYPE = "application/problem+json"

_OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
_ELEVENLABS_TYPES = {
    401: "authentication_error",
    403: "authorization_error",
    404: "not_found",
    429: "rate_limit_error",
    503: "service_unavailable",
}


def media_type(form: ErrorForm) -> str:
    """Return the media type of a body in this form."""
    return "application/json" if form == "elevenlabs" else PROBLEM_MEDIA_TYPE


def error_body(form: ErrorForm, problem: Members, request_id: str | None = None) -> dict[str, Any]:
    """Build the JSON of a problem's members in this form."""
    if form == "elevenlabs":
        return {"detail": elevenlabs_detail(problem, request_id)}
    if form == "huggingface":
        return {**problem, "error": problem["detail"]}
    if form == "openai":
        return {**problem, "error": openai_object(problem)}
    return dict(problem)


def openai_object(problem: Members) -> dict[str, Any]:
    """Build OpenAI's object `error`, which names the first field at fault."""
    status = problem["status"]
    other = "server_error" if status >= 500 else "invalid_request_error"
    return {
        "message": problem["detail"],
        "type": _OPENAI_TYPES.get(status, other),
        "param": _parameter(problem, "model"),
        "code": problem["code"],
    }


def elevenlabs_detail(problem: Members, request_id: str | None) -> dict[str, Any]:
    """Build ElevenLabs' object `detail`; its `status` is an older name of `code`."""
    status = problem["status"]
    other = "internal_error" if status >= 500 else "validation_error"
    return {
        "type": _ELEVENLABS_TYPES.get(status, other),
        "code": problem["code"],
        "message": problem["detail"],
        "status": problem["code"],
        "request_id": request_id,
        "param": _parameter(problem, "model_id"),
    }


def _parameter(problem: Members, model_field: str) -> str | None:
    """Name the first field at fault; None if the problem names none."""
    if problem["code"] == ModelNotFound.code:
        return model_field
    errors = problem.get("errors") or [{}]
    return errors[0].get("field") or None
