"""The facts of an HTTP request that the middleware has put into its state."""

from typing import TypedDict

from fastapi import Request


class RequestContext(TypedDict):
    """Fields of a GenerationRequest that do not come from its body."""

    request_id: str
    caller: str
    deadline: float | None


def request_context(request: Request) -> RequestContext:
    state = request.state
    return {
        "request_id": state.request_id,
        "caller": state.caller,
        "deadline": state.deadline,
    }
