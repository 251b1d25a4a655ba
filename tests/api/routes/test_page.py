"""The pages and their files: complete without other origins, readable without a key."""

import base64
import hashlib
import re

import httpx
import pytest
from fastapi.openapi.docs import get_swagger_ui_oauth2_redirect_html

from serve_app.api.routes.page import STATIC

BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_a_page_loads_nothing_from_elsewhere(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert response.headers["content-type"].startswith("text/html")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for file in STATIC.iterdir():
        assert not re.findall(
            r"(?:src|href|url\(|from)\s*=?\s*[\"']?(?:https?:)?//", file.read_text()
        ), file.name


async def test_every_file_they_name_is_there(client: httpx.AsyncClient) -> None:
    paths = ("/", "/docs", "/stats")
    pages = [(await client.get(path, headers=BROWSER)).text for path in paths]
    named = [file for page in pages for file in re.findall(r'"(static/[\w./-]+)"', page)]
    scripts = [
        name
        for file in STATIC.glob("*.js")
        for name in re.findall(r'from "\./([\w.]+)"', file.read_text())
    ]
    assert "static/swagger/swagger-ui-bundle.js" in named
    assert len(named) >= 8
    for path in (*named, *(f"static/{name}" for name in scripts)):
        assert (await client.get(f"/{path}")).status_code == 200, path


async def test_stats_are_a_page_for_browsers_alone(client: httpx.AsyncClient) -> None:
    page = await client.get("/stats", headers=BROWSER)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert (await client.get("/stats")).json()["models"].keys() == {"small", "large"}


@pytest.mark.parametrize("path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/"])
async def test_nothing_else_is_handed_out(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 404


async def test_the_end_of_an_oauth2_login_runs_its_own_script_alone(
    client: httpx.AsyncClient,
) -> None:
    response = await client.get("/docs/oauth2-redirect")
    assert response.status_code == 200
    assert response.content == get_swagger_ui_oauth2_redirect_html().body
    [script] = re.findall("<script>(.*?)</script>", response.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = response.headers["content-security-policy"]
    assert f"script-src 'sha256-{digest}';" in policy
    assert "default-src 'none'" in policy
    assert (await client.head("/docs/oauth2-redirect")).status_code == 200


async def test_the_page_may_have_a_worker_of_its_own_alone(client: httpx.AsyncClient) -> None:
    """It is served beside the page: a worker controls no address above its own."""
    worker = await client.get("/service-worker.js")
    assert worker.status_code == (await client.head("/service-worker.js")).status_code == 200
    assert worker.headers["content-type"].startswith("text/javascript")
    assert worker.headers["cache-control"] == "no-cache"
    assert "worker-src 'self'" in (await client.get("/")).headers["content-security-policy"]
