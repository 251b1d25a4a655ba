"""Web pages for people: `GET /`, `GET /docs`, and `GET /stats` where a browser asks for it.

They work offline: every script and style comes from this service.
"""

from collections.abc import Mapping
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.applications import Starlette

STATIC = Path(__file__).parent.parent / "static"
# An injected element can load nothing from elsewhere either.
_SOURCES = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'"
_EMBEDDING = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_POLICY = f"{_SOURCES}; img-src 'self'; media-src blob:; {_EMBEDDING}"
# The style sheet of Swagger UI has its icons as data URLs; it shows and saves answers as blobs.
_DOCS_POLICY = f"{_SOURCES}; img-src 'self' data: blob:; media-src blob:; {_EMBEDDING}"


def create_router() -> APIRouter:
    """Build the routes of `GET /` and `GET /docs`."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def page() -> FileResponse:
        return _page("index.html", _POLICY)

    @router.api_route("/docs", methods=["GET", "HEAD"])
    async def docs() -> FileResponse:
        return _page("docs.html", _DOCS_POLICY)

    return router


def mount_static_files(app: Starlette) -> None:
    """Serve the files of the pages, and Swagger UI from the package that carries it."""
    app.mount("/static/swagger", StaticFiles(packages=[("fastapi_offline", "static")]))
    app.mount("/static", StaticFiles(directory=STATIC))


def stats_page() -> FileResponse:
    """Answer `GET /stats` of a browser."""
    return _page("stats.html", _POLICY, {"vary": "accept"})


def _page(name: str, policy: str, headers: Mapping[str, str] | None = None) -> FileResponse:
    sent = {"content-security-policy": policy, **(headers or {})}
    return FileResponse(STATIC / name, headers=sent)
