"""HEAD requests."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api.paths import STREAMS, route_path, takes_links


class Head:
    """Answer HEAD as GET, without the body, except for files: their routes have a HEAD."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_answered_as_get(scope):
            await self._app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET"}, receive, without_body)


def _is_answered_as_get(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] != "HEAD":
        return False
    path = route_path(scope)
    return not path.startswith(STREAMS) and not takes_links(path)
