"""The web pages, for people: `GET /`, and `GET /stats` where a browser asks for it."""

from collections.abc import Mapping
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.datastructures import Headers
from starlette.types import Scope

STATIC = Path(__file__).parent.parent / "static"
# Nothing from elsewhere: the page works offline, and what somebody slips into it loads nothing.
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
    """Whether a browser asks: what it shows to people is text/html."""
    return "text/html" in Headers(scope=scope).get("accept", "")


def _page(name: str, headers: Mapping[str, str] | None = None) -> FileResponse:
    return FileResponse(STATIC / name, headers=_HEADERS | dict(headers or {}))
