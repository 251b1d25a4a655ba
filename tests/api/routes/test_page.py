"""The page's answers: whole without anything from elsewhere, readable without a key."""

import re

import httpx
import pytest

from serve_app.api.routes.page import STATIC

BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


async def test_the_page_loads_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    response = await client.get("/")
    assert response.headers["content-type"].startswith("text/html")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for file in STATIC.iterdir():
        assert not re.findall(
            r"(?:src|href|url\(|from)\s*=?\s*[\"']?(?:https?:)?//", file.read_text()
        ), file.name


async def test_every_file_they_name_is_there(client: httpx.AsyncClient) -> None:
    pages = (await client.get("/")).text + (await client.get("/stats", headers=BROWSER)).text
    named = re.findall(r'"(static/[\w.]+)"', pages)
    scripts = [
        name
        for file in STATIC.glob("*.js")
        for name in re.findall(r'from "\./([\w.]+)"', file.read_text())
    ]
    assert len(named) >= 3
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
