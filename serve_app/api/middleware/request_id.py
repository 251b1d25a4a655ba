"""Request ids: the caller's own, or a new one."""

import re
from uuid import uuid4

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

REQUEST_ID_HEADER = "x-request-id"
_REQUEST_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)


def is_request_id(text: str) -> bool:
    """Test that an id is well-formed: 1 to 128 letters, digits, and `_`, `.`, `:`, `-`."""
    return _REQUEST_ID.fullmatch(text) is not None


class RequestId:
    """Put the request's id into its state: the header's value if well-formed, else a new UUID.

    Serve's proxy sets this header on every request and returns it in the answer; `ProxyGuard`
    removes one that is not well-formed before.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        scope.setdefault("state", {})["request_id"] = (
            given if is_request_id(given) else str(uuid4())
        )
        await self._app(scope, receive, send)
