"""The web pages: `GET /`, and `GET /stats` for browsers."""

from collections.abc import Mapping
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.datastructures import Headers
from starlette.types import Scope

STATIC = Path(__file__).parent.parent / "static"
# The page loads nothing from other hosts: it works offline, and injected markup cannot load anything.
_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; media-src blob:"
_HEADERS = {
    "content-security-policy": f"{_POLICY}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}


def create_router() -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def page() -> FileResponse:
        return _page("index.html")

    return router


def stats_page() -> FileResponse:
    return _page("stats.html", {"vary": "accept"})


def wants_page(scope: Scope) -> bool:
    """Tell whether the client is a browser, by its `Accept` header."""
    return "text/html" in Headers(scope=scope).get("accept", "")


def _page(name: str, headers: Mapping[str, str] | None = None) -> FileResponse:
    return FileResponse(STATIC / name, headers=_HEADERS | dict(headers or {}))
