"""Web pages for people: `GET /`, `GET /docs`, and `GET /stats` where a browser asks for it.

They work offline: every script and style comes from this service.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_oauth2_redirect_html
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.staticfiles import StaticFiles
from starlette.applications import Starlette

from serve_app.api.paths import SERVICE_WORKER

STATIC = Path(__file__).parent.parent / "static"
# An injected element can load nothing from elsewhere either.
_SOURCES = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'"
_EMBEDDING = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_SHELL = "manifest-src 'self'; worker-src 'self'"  # the page is installed, and opens offline
_POLICY = f"{_SOURCES}; img-src 'self'; media-src blob:; {_SHELL}; {_EMBEDDING}"
# The style sheet of Swagger UI has its icons as data URLs; it shows and saves answers as blobs.
_DOCS_POLICY = f"{_SOURCES}; img-src 'self' data: blob:; media-src blob:; {_EMBEDDING}"


def create_router() -> APIRouter:
    """Build the routes of `GET /`, its service worker, `GET /docs` and `GET /docs/oauth2-redirect`."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def page() -> FileResponse:
        return _page("index.html", _POLICY)

    @router.api_route(SERVICE_WORKER, methods=["GET", "HEAD"])
    async def service_worker() -> FileResponse:
        """Answer from beside the page: a worker controls no address above its own."""
        file = STATIC / "service_worker.js"
        return FileResponse(file, headers={"cache-control": "no-cache"})

    @router.api_route("/docs", methods=["GET", "HEAD"])
    async def docs() -> FileResponse:
        return _page("docs.html", _DOCS_POLICY)

    @router.api_route("/docs/oauth2-redirect", methods=["GET", "HEAD"])
    async def oauth2_redirect() -> HTMLResponse:
        return _oauth2_redirect_page()

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


def _oauth2_redirect_page() -> HTMLResponse:
    """Build Swagger UI's page for the end of an OAuth 2 login. Only its own script may run."""
    page = get_swagger_ui_oauth2_redirect_html()
    scripts = re.findall(rb"<script>(.*?)</script>", bytes(page.body), re.DOTALL)
    hashes = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts)
    policy = f"default-src 'none'; script-src {hashes}; {_EMBEDDING}"
    page.headers["content-security-policy"] = policy
    return page


def _sha256(script: bytes) -> str:
    """Hash a script as `script-src` names it (CSP Level 3)."""
    return base64.b64encode(hashlib.sha256(script).digest()).decode("ascii")
