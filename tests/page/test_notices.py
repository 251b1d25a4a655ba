"""Notices pass, but not while somebody is at them; what they offered goes with them."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.browser import open_tab
from tests.page.actions import generate

pytestmark = pytest.mark.long

SHOWN_MS = 8_000
_FOCUSED = "document.activeElement.closest('li')?.querySelector('h3').textContent"


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """An empty tab whose time a test can move on."""
    async with open_tab(browser, service_workers="block") as page:
        await page.clock.install()
        yield page


async def delete_the_newest(page: Page, url: str) -> None:
    """Make two tracks, and delete the newer one by the keyboard."""
    await page.goto(url)
    for number, prompt in enumerate(("bells", "drums"), 1):
        await generate(page, prompt, 1)
        await expect(page.locator(".track")).to_have_count(number)
    await page.locator(".track").first.get_by_role("button", name="Delete").press("Enter")
    await expect(page.locator("#notice")).to_contain_text("The track is deleted.")


async def test_it_stays_while_it_is_pointed_at_or_has_the_focus(url: str, page: Page) -> None:
    await delete_the_newest(page, url)
    undo = page.get_by_role("button", name="Undo")
    await page.locator("#notice-text").hover()
    await page.clock.run_for(2 * SHOWN_MS)
    await expect(undo).to_be_visible()
    await undo.focus()
    await page.mouse.move(1, 1)
    await page.clock.run_for(2 * SHOWN_MS)
    await expect(undo).to_be_visible()
    await expect(page.locator("#history > li")).to_have_count(2)
    await page.get_by_label("Prompt", exact=True).focus()
    await page.clock.run_for(SHOWN_MS)
    await expect(undo).to_be_hidden()
    await expect(page.locator("#notice-text")).to_be_empty()
    await expect(page.locator("#history > li")).to_have_count(1)


async def test_the_focus_leaves_it_for_where_it_was(url: str, page: Page) -> None:
    await delete_the_newest(page, url)
    assert await page.evaluate(_FOCUSED) == "bells", "the next track"
    await page.get_by_role("button", name="Undo").press("Enter")
    await expect(page.locator(".track")).to_have_count(2)
    await expect(page.get_by_role("button", name="Undo")).to_be_hidden()
    assert await page.evaluate(_FOCUSED) == "bells"
