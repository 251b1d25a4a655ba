"""The page as an application, and its looks: offline, accessible, at every width."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import axe_playwright_python
import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, expect

from serve_app.api.routes.page import STATIC
from tests.browser import PATIENCE_MS, open_tab
from tests.fakes import FakeGenerator
from tests.page.actions import generate
from tests.page.conftest import watched
from tests.served_api import served_api

pytestmark = pytest.mark.long

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
_READY = "navigator.serviceWorker.ready.then((one) => one.active.state)"
_ORDER = "[...document.querySelectorAll('#form, #made, #panels')].map((one) => one.id)"


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser, complaints: list[str]) -> AsyncIterator[Page]:
    """An empty tab with the page's service worker. Warnings and failed requests count, too."""

    def counts(message: ConsoleMessage) -> bool:
        return message.type in ("error", "warning")

    async with open_tab(browser) as page, watched(page, complaints, counts):
        yield page


async def open_all(page: Page) -> None:
    """Make a track, and open every part of the page."""
    await generate(page, "bells", 3)
    track = page.locator(".track")
    await expect(track).to_have_count(1)
    await track.get_by_role("button", name="Spectrogram").click()
    for part in ("Begin with a sound", "Advanced", "Use this by API"):
        await page.get_by_text(part).click()
    await page.get_by_text("Models", exact=True).click()
    await expect(page.locator(".model")).to_have_count(2)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_rule_of_accessibility_is_broken(url: str, page: Page, scheme: str) -> None:
    await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    await page.goto(url)
    await open_all(page)
    await page.evaluate(AXE + "; 0")
    for width in (390, 1280):
        await page.set_viewport_size({"width": width, "height": 900})
        result = json.loads(await page.evaluate("axe.run().then(JSON.stringify)"))
        broken = {
            one["id"]: [node["html"] for node in one["nodes"]] for one in result["violations"]
        }
        assert broken == {}
        assert len(result["passes"]) > 20


async def test_it_fits_every_width(url: str, page: Page) -> None:
    await page.goto(url)
    await open_all(page)
    for width in (390, 768, 1280, 1920):
        await page.set_viewport_size({"width": width, "height": 900})
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        form, tracks = [await page.locator(part).bounding_box() for part in ("#form", ".made")]
        assert form is not None
        assert tracks is not None
        is_beside = tracks["x"] >= form["x"] + form["width"]
        assert is_beside == (width >= 1280), "two columns where there is room"
        ids = await page.evaluate(_ORDER)
        last = ["panels", "made"] if is_beside else ["made", "panels"]
        assert ids == ["form", *last], "a phone shows the tracks before the panels"


async def test_it_opens_and_plays_without_the_service(
    page: Page, backend: FakeGenerator, complaints: list[str]
) -> None:
    """The second visit is offline: the page comes from its worker, the track from the browser."""
    with served_api(backend) as url:
        await page.goto(url)
        await generate(page, "bells", 3)
        track = page.locator(".track")
        await expect(track).to_have_attribute("data-kept", "")
        assert await page.evaluate(_READY) in ("activating", "activated")
    await page.reload()
    await expect(track).to_have_count(1)
    await expect(page.get_by_role("alert")).to_contain_text("The service cannot be reached")
    await track.get_by_role("button", name="Play").click()
    await expect(track.get_by_role("slider")).not_to_have_attribute("aria-valuenow", "0.00")
    assert all("Failed to" in complaint for complaint in complaints)
    complaints.clear()


async def test_its_worker_keeps_every_file_and_no_answer(url: str, page: Page) -> None:
    await page.goto(url)
    assert await page.evaluate(_READY) in ("activating", "activated")
    kept = await page.evaluate(
        "caches.open('musicgen-shell').then((cache) => cache.keys())"
        ".then((keys) => keys.map((key) => new URL(key.url).pathname))"
    )
    apart = {"docs.html", "docs.js", "index.html", "service_worker.js", "stats.html", "stats.js"}
    files = {f"/static/{file.name}" for file in STATIC.iterdir() if file.name not in apart}
    assert set(kept) == {"/", *files}


async def test_it_is_installable(url: str, page: Page) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{url}/static/app.webmanifest")
    assert answer.headers["content-type"] == "application/manifest+json"
    await page.goto(url)
    session = await page.context.new_cdp_session(page)
    manifest = await session.send("Page.getAppManifest")
    assert manifest["errors"] == []
    assert json.loads(manifest["data"])["display"] == "standalone"
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while await page.evaluate(_READY) != "activated":  # noqa: ASYNC110 (a worker's state has no event here)
            await asyncio.sleep(0.05)
    problems = (await session.send("Page.getInstallabilityErrors"))["installabilityErrors"]
    assert [one["errorId"] for one in problems if one["errorId"] != "in-incognito"] == []


async def test_its_memory_is_flat_over_twenty_tracks(url: str, page: Page) -> None:
    """The samples of finished tracks are not held: 10 s of them are 0.6 MB."""
    await page.goto(url)
    session = await page.context.new_cdp_session(page)
    tracks = page.locator(".track")
    sizes = []
    for number in range(1, 21):
        await generate(page, "bells", 10)
        await expect(tracks).to_have_count(number)
        await page.keyboard.press("Escape")
        if number in (5, 20):
            await session.send("HeapProfiler.collectGarbage")
            usage = await session.send("Runtime.getHeapUsage")
            sizes.append(usage["usedSize"] + usage["backingStorageSize"])
    before, after = sizes
    assert after - before < 3e6
