"""What is done to every request before its route: a limit on its body, an id."""

import re
from uuid import uuid4

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api.error_handlers import problem
from serve_app.errors import PayloadTooLarge

REQUEST_ID_HEADER = "x-request-id"
_REQUEST_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)


class BodyLimit:
    """Reads the body before the route runs, and answers 413 as soon as it is too long."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        body = None if announced.isdecimal() and int(announced) > self._max_bytes else await self._read(receive)
        if body is None:
            error = PayloadTooLarge(f"The request's body must be at most {self._max_bytes} bytes")
            await problem(error)(scope, receive, send)
            return
        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return pending.pop() if pending else await receive()

        await self._app(scope, replay, send)

    async def _read(self, receive: Receive) -> bytes | None:
        """The body, or None when it is too long."""
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return bytes(body)
            body += message.get("body", b"")
            if len(body) > self._max_bytes:
                return None
            if not message.get("more_body", False):
                return bytes(body)


class RequestId:
    """Puts a request's id into its state: the one in its header where that is well-formed, or else a new one.

    Serve's proxy gives every request this header, and returns it in the answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        scope.setdefault("state", {})["request_id"] = given if _REQUEST_ID.fullmatch(given) else str(uuid4())
        await self._app(scope, receive, send)
