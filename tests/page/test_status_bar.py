"""The progress, Cancel and the alert stay in view beside the tracks of a phone."""

import asyncio

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser import PHONE
from tests.fakes import FakeGenerator
from tests.page.actions import generate, make_first
from tests.page.slow_generator import SlowGenerator

pytestmark = pytest.mark.long


async def test_an_extension_is_canceled_from_the_last_card(
    slow_url: str, slow: SlowGenerator, page: Page
) -> None:
    await page.set_viewport_size(PHONE)
    tracks = await make_first(page, slow_url, 1)
    for count in (2, 3):
        await generate(page, "bells", 1)
        await expect(tracks).to_have_count(count)
    slow.allowed_s = 0.5
    await tracks.last.get_by_role("button", name="Extend").click()
    cancel = page.get_by_role("button", name="Cancel")
    await expect(page.get_by_role("status")).to_contain_text("Making the track: 0.5 s")
    await expect(page.get_by_role("status")).to_be_in_viewport(ratio=1)
    await expect(cancel).to_be_in_viewport(ratio=1)
    await expect(tracks.last.get_by_role("button", name="Extend")).to_be_in_viewport()
    await cancel.click()
    await expect(cancel).to_be_hidden()
    await expect(page.locator("#state")).to_have_css("position", "static")


async def test_a_failed_download_is_told_beside_its_card(
    url: str, backend: FakeGenerator, page: Page
) -> None:
    """Until the service has converted the file, the page tells that it does."""
    answered = asyncio.Event()

    async def fail(route: Route) -> None:
        await answered.wait()
        await route.fulfill(status=500, json={"detail": "The disk is full."})

    await page.set_viewport_size(PHONE)
    await page.route("**/v1/audio/conversions", fail)
    tracks = await make_first(page, url, 1)
    for count in (2, 3):
        await generate(page, "bells", 1)
        await expect(tracks).to_have_count(count)
    await tracks.last.locator("[data-format=mp3]").click()
    await expect(page.get_by_role("status")).to_have_text("Converting to MP3")
    await expect(page.get_by_role("status")).to_be_in_viewport(ratio=1)
    answered.set()
    alert = page.get_by_role("alert")
    await expect(alert).to_have_text("The disk is full.")
    await expect(alert).to_be_in_viewport(ratio=1)
    await page.get_by_role("button", name="Close the message").click()
    await expect(alert).to_be_hidden()
    assert len(backend.requests) == 3


async def test_a_conversion_is_canceled(url: str, page: Page) -> None:
    async def hold(route: Route) -> None:
        """Leave the request without an answer."""

    await page.route("**/v1/audio/conversions", hold)
    tracks = await make_first(page, url, 1)
    async with page.expect_event("requestfailed"):
        await tracks.locator("[data-format=mp3]").click()
        await expect(page.get_by_role("status")).to_have_text("Converting to MP3")
        await page.get_by_role("button", name="Cancel").click()
    await expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
    await expect(page.get_by_role("alert")).to_be_hidden()
