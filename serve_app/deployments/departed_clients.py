"""Clients that leave while the application reads their request."""

from ray.exceptions import RayActorError, TaskCancelledError
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class DepartedClients:
    """Give the application ASGI's `disconnect` for a client that has gone.

    Serve's `receive` is a call of the proxy's actor. It raises TaskCancelledError where the client
    leaves during the call, and RayActorError where the client's proxy itself has ended.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return

        async def receive_or_disconnect() -> Message:
            try:
                return await receive()
            except (TaskCancelledError, RayActorError):
                return {"type": f"{scope['type']}.disconnect"}

        await self._app(scope, receive_or_disconnect, send)
