"""Unexpected errors, answered inside the middleware that adds headers to every answer."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api.error_handlers import problem, unexpected


class UnexpectedErrors:
    """Log an error that no handler knows, and answer 500, unless the answer has begun."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def watched_send(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched_send)
        except Exception as error:
            if has_begun or scope["type"] != "http":
                raise
            await problem(unexpected(error))(scope, receive, send)
