"""Forms of an error's body: problem details (RFC 9457) with the members that other clients read.

The path of the request chooses the form, so that an error of the middleware has it, too. The edge's
template `haproxy.cfg` chooses by the same paths.
"""

from typing import Any

from starlette.types import Scope

from serve_app.api.paths import GENERATE, HUGGING_FACE, MUSIC, ROOT, SOUND, route_path
from serve_app.error_bodies import ErrorForm, Members, error_body, media_type


def form_of(path: str) -> ErrorForm:
    """Choose the form of the route at a path, which is below the application's `route_prefix`.

    `/`: where Hugging Face's clients without a model send; `/generate`: the older contract.
    """
    if path in (MUSIC, SOUND) or path.startswith(f"{MUSIC}/"):
        return "elevenlabs"
    if path == ROOT or path.startswith(HUGGING_FACE):
        return "huggingface"
    if path == GENERATE:
        return "plain"
    return "openai"


def in_form_of(scope: Scope, problem: Members) -> tuple[str, dict[str, Any]]:
    """Return the media type and the body of a problem in the form of the route that was called."""
    form = form_of(route_path(scope))
    request_id = scope.get("state", {}).get("request_id")
    return media_type(form), error_body(form, problem, request_id)
