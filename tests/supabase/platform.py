"""A stand-in for Supabase's gateway: Auth, PostgREST and Storage, whose calls it checks."""

import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.supabase.rest import Rest

PUBLISHABLE = "sb_publishable_1"
SECRET = "sb_secret_1"


@dataclass
class Platform:
    """A running stand-in. users: ids by token; files: content and type by path in the bucket."""

    url: str
    dsn: str
    users: dict[str, str] = field(default_factory=dict)
    files: dict[str, tuple[bytes, str]] = field(default_factory=dict)

    def sign_in(self, user_id: str) -> str:
        """Return the token of a new session: it looks like a JWT."""
        token = f"header.{secrets.token_hex(8)}.signature"
        self.users[token] = user_id
        return token

    @property
    def environment(self) -> dict[str, str]:
        """The variables that the platform gives each function."""
        return {
            "SUPABASE_URL": self.url,
            "SUPABASE_PUBLISHABLE_KEYS": f'{{"default": "{PUBLISHABLE}"}}',
            "SUPABASE_SECRET_KEYS": f'{{"default": "{SECRET}"}}',
        }


@contextmanager
def running_platform(dsn: str) -> Iterator[Platform]:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # it takes calls from now on
        platform = Platform(f"http://127.0.0.1:{listener.getsockname()[1]}", dsn)
        server = uvicorn.Server(uvicorn.Config(_app(platform), log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield platform
        finally:
            server.should_exit = True
            thread.join()


def _app(platform: Platform) -> Starlette:
    rest = Rest(platform.dsn, platform.users, {SECRET})

    async def user(request: Request) -> Response:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in platform.users:
            return JSONResponse({"msg": "invalid JWT"}, 403)
        return JSONResponse({"id": platform.users[token], "role": "authenticated"})

    async def table(request: Request) -> Response:
        return await run_in_threadpool(rest.answer, request, await request.body())

    async def upload(request: Request) -> Response:
        path = request.path_params["path"]
        if request.headers.get("apikey") != SECRET:
            return JSONResponse(
                {"statusCode": "403", "error": "Unauthorized", "message": "no"}, 400
            )
        if path in platform.files and request.headers.get("x-upsert") != "true":
            return JSONResponse(
                {"statusCode": "409", "error": "Duplicate", "message": "exists"}, 400
            )
        platform.files[path] = (await request.body(), request.headers["content-type"])
        return JSONResponse({"Key": f"tracks/{path}", "Id": secrets.token_hex(8)})

    async def remove(request: Request) -> Response:
        if request.headers.get("apikey") != SECRET:
            return JSONResponse(
                {"statusCode": "403", "error": "Unauthorized", "message": "no"}, 400
            )
        removed = [path for path in (await request.json())["prefixes"] if path in platform.files]
        for path in removed:
            del platform.files[path]
        return JSONResponse([{"name": path} for path in removed])

    return Starlette(
        routes=[
            Route("/auth/v1/user", user),
            Route("/rest/v1/tracks", table, methods=["GET", "POST", "PATCH"]),
            Route("/storage/v1/object/tracks/{path:path}", upload, methods=["POST"]),
            Route("/storage/v1/object/tracks", remove, methods=["DELETE"]),
        ]
    )
