"""The page's answers: whole without anything from elsewhere, readable without a key."""

import re

import httpx
import pytest

from serve_app.api.routes.page import STATIC


async def test_the_page_loads_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    response = await client.get("/")
    assert response.headers["content-type"].startswith("text/html")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for file in STATIC.iterdir():
        assert not re.findall(r"(?:src|href|url\(|from)\s*=?\s*[\"']?(?:https?:)?//", file.read_text()), file.name


async def test_every_file_it_names_is_there(client: httpx.AsyncClient) -> None:
    named = re.findall(r'"(static/[\w.]+)"', (await client.get("/")).text)
    scripts = [name for file in STATIC.glob("*.js") for name in re.findall(r'from "\./([\w.]+)"', file.read_text())]
    assert len(named) >= 3
    for path in (*named, *(f"static/{name}" for name in scripts)):
        assert (await client.get(f"/{path}")).status_code == 200, path


@pytest.mark.parametrize("path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/"])
async def test_nothing_else_is_handed_out(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 404
