"""HEAD requests."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api.paths import has_own_head, route_path


class Head:
    """Answer HEAD as GET, without the body, except for files: their routes have a HEAD.

    `Range` is ignored: it is of GET alone (RFC 9110, section 14.2).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        scope["headers"] = [header for header in scope["headers"] if header[0] != b"range"]
        if has_own_head(route_path(scope)):
            await self._app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET"}, receive, without_body)
