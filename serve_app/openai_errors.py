"""The object `error` that OpenAI's clients read, for the API and for the edge."""

from collections.abc import Mapping
from typing import Any

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def openai_error(problem: Mapping[str, Any], parameter: str | None = None) -> dict[str, Any]:
    """Build the object from a problem's members.

    parameter: the first field at fault; None: none is named.
    """
    status = problem["status"]
    other = "server_error" if status >= 500 else "invalid_request_error"
    return {
        "message": problem["detail"],
        "type": _TYPES.get(status, other),
        "param": parameter,
        "code": problem["code"],
    }
