"""Forms of an error's body: problem details (RFC 9457) with the members that other clients read.

The path of the request chooses the form, so that an error of the middleware has it, too:

- `/v1` and all paths but the following: problem details, with OpenAI's object `error` (also
  vLLM's), of which its clients show `message` alone;
- ElevenLabs' routes: its object `detail`;
- Hugging Face's, and `/`, where its clients without a model send: problem details, with the
  sentence as `error`;
- `/generate`, the older contract: problem details.
"""

from collections.abc import Mapping
from typing import Any

from starlette.types import Scope

from serve_app.api.paths import GENERATE, HUGGING_FACE, MUSIC, ROOT, SOUND, route_path
from serve_app.errors import ModelNotFound
from serve_app.openai_errors import openai_error

PROBLEM_MEDIA_TYPE = "application/problem+json"
_JSON = "application/json"
Members = Mapping[str, Any]

_ELEVENLABS_TYPES = {
    401: "authentication_error",
    403: "authorization_error",
    404: "not_found",
    429: "rate_limit_error",
    503: "service_unavailable",
}


def in_form_of(scope: Scope, problem: Members) -> tuple[str, dict[str, Any]]:
    """Return the media type and the body of a problem in the form of the route that was called."""
    path = route_path(scope)
    if path in (MUSIC, SOUND) or path.startswith(f"{MUSIC}/"):
        request_id = scope.get("state", {}).get("request_id")
        return _JSON, {"detail": elevenlabs_detail(problem, request_id)}
    if path == ROOT or path.startswith(HUGGING_FACE):
        return PROBLEM_MEDIA_TYPE, {**problem, "error": problem["detail"]}
    if path == GENERATE:
        return PROBLEM_MEDIA_TYPE, dict(problem)
    return PROBLEM_MEDIA_TYPE, {**problem, "error": openai_object(problem)}


def openai_object(problem: Members) -> dict[str, Any]:
    """Build OpenAI's object `error`, which names the first field at fault."""
    return openai_error(problem, _parameter(problem, "model"))


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
