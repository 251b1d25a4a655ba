"""The pages and their files: complete without other origins, readable without a key."""

import re

import httpx
import pytest

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
