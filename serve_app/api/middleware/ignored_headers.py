"""Headers that ask for what only jobs can do."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api import idempotency
from serve_app.api.ignored_fields import IGNORED_HEADER
from serve_app.api.paths import makes_track, route_path
from serve_app.api.preferences import preferences


class IgnoredHeaders:
    """Name `Idempotency-Key` and `Prefer` in `x-musicgen-ignored`.

    Routes that answer with a track make it anew for each request, and while the caller waits: `wait=N` is a
    deadline there, see `Deadline`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        names = _ignored(scope)
        if not names:
            await self._app(scope, receive, send)
            return

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                fields = headers.get(IGNORED_HEADER)
                headers[IGNORED_HEADER] = ", ".join([*names, *([fields] if fields else [])])
            await send(message)

        await self._app(scope, receive, named)


def _ignored(scope: Scope) -> list[str]:
    if scope["type"] != "http" or not makes_track(scope["method"], route_path(scope)):
        return []
    headers = Headers(scope=scope)
    wanted = preferences(headers)
    names = [idempotency.HEADER] if idempotency.HEADER in headers else []
    has_no_effect = wanted.respond_async or (wanted.wait_s is not None and not wanted.deadline_s)
    return names + (["prefer"] if has_no_effect else [])
