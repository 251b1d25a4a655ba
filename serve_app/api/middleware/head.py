"""HEAD requests."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api.paths import STREAMS, route_path, takes_links


class Head:
    """Answer HEAD as GET, without the body, except for files: their routes have a HEAD."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_head = scope["type"] == "http" and scope["method"] == "HEAD"
        path = route_path(scope)
        if not is_head or path.startswith(STREAMS) or takes_links(path):
            await self._app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET"}, receive, without_body)
