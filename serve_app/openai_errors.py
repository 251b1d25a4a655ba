"""The form of errors that OpenAI's clients read."""

from collections.abc import Mapping
from typing import Any

_OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def openai_error(problem: Mapping[str, Any], parameter: str | None = None) -> dict[str, Any]:
    """Build the object `error` that OpenAI's clients read, of a problem's members.

    parameter: the first field at fault; None: none is named.
    """
    status = problem["status"]
    other = "server_error" if status >= 500 else "invalid_request_error"
    return {
        "message": problem["detail"],
        "type": _OPENAI_TYPES.get(status, other),
        "param": parameter,
        "code": problem["code"],
    }
