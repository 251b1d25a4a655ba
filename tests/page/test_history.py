"""Tracks are kept in the browser across visits: with their sound, deletable, with favourites."""

import re

import pytest
from playwright.async_api import Page, expect

from tests.page.actions import generate

pytestmark = pytest.mark.long

_FOCUSED = "document.activeElement.closest('li')?.querySelector('h3').textContent"


async def make(page: Page, *prompts: str) -> None:
    """Make and store a track of each prompt, the last one at the top."""
    tracks = page.locator(".track")
    before = await tracks.count()
    for number, prompt in enumerate(prompts, before + 1):
        await generate(page, prompt, 1)
        await expect(tracks).to_have_count(number)
        await expect(tracks.first).to_have_attribute("data-kept", "")


async def occupy_store(page: Page) -> None:
    """Let no other transaction of the store begin while `isStoreOccupied`."""
    await page.evaluate(
        """() => new Promise((resolve) => {
            globalThis.isStoreOccupied = true;
            indexedDB.open("musicgen").onsuccess = ({ target }) => {
                const store = target.result.transaction("tracks", "readwrite").objectStore("tracks");
                const again = () => { if (isStoreOccupied) store.count().onsuccess = again; };
                store.count().onsuccess = () => { resolve(); again(); };
            };
        })"""
    )


async def test_tracks_come_back_with_their_sound_and_settings(url: str, page: Page) -> None:
    await page.goto(url)
    await page.get_by_label("Seed", exact=True).fill("7")
    await make(page, "bells", "drums")
    await page.reload()
    tracks = page.locator(".track")
    await expect(tracks).to_have_count(2)
    await expect(tracks.first).to_contain_text("drums")
    await expect(tracks.last).to_contain_text("seed 7")
    await tracks.last.get_by_role("button", name="Play").click()
    await expect(tracks.last.get_by_role("slider")).not_to_have_attribute("aria-valuenow", "0.00")
    async with page.expect_download() as waiting:
        await tracks.last.get_by_role("button", name="Download as WAV").click()
    assert (await waiting.value).suggested_filename == "bells-7.wav"
    await tracks.last.get_by_role("button", name="Again with this seed").click()
    await expect(tracks).to_have_count(3)
    await expect(tracks.first).to_contain_text("bells")


async def test_a_track_is_deleted_and_brought_back(url: str, page: Page) -> None:
    await page.goto(url)
    await make(page, "bells", "drums", "flute")
    tracks = page.locator(".track")
    await tracks.nth(1).get_by_role("button", name="Delete").click()
    await expect(tracks).to_have_count(2)
    await page.get_by_role("button", name="Undo").click()
    await expect(tracks).to_have_count(3)
    await expect(tracks.nth(1)).to_contain_text("drums")
    await tracks.first.get_by_role("button", name="Delete").click()
    await expect(tracks).to_have_count(2)
    await page.reload()
    await expect(tracks).to_have_count(2)
    await expect(tracks.first).to_contain_text("drums")


async def test_the_list_shows_what_the_store_has_done(url: str, page: Page) -> None:
    """A reload ends what the store has not done: a track is shown as deleted, or favourite, once it is."""
    await page.goto(url)
    await make(page, "bells", "drums")
    tracks = page.locator(".track")
    favourite = tracks.last.get_by_role("button", name="Favourite")
    await occupy_store(page)
    await favourite.click()
    await tracks.first.get_by_role("button", name="Delete").click()
    await page.evaluate("new Promise((resolve) => setTimeout(resolve, 100))")
    await expect(tracks).to_have_count(2)
    await expect(favourite).to_have_attribute("aria-pressed", "false")
    await page.evaluate("isStoreOccupied = false")
    await expect(tracks).to_have_count(1)
    await expect(favourite).to_have_attribute("aria-pressed", "true")


async def test_favourites_are_kept_and_shown_alone(url: str, page: Page) -> None:
    await page.goto(url)
    await make(page, "bells", "drums")
    tracks = page.locator(".track")
    await tracks.last.get_by_role("button", name="Favourite").click()
    await page.reload()
    await expect(tracks).to_have_count(2)
    favourite = tracks.last.get_by_role("button", name="Favourite")
    await expect(favourite).to_have_attribute("aria-pressed", "true")
    await page.get_by_role("button", name="Favourites", exact=True).click()
    await expect(tracks.first).to_be_hidden()
    await expect(tracks.last).to_be_visible()


async def test_the_focus_goes_to_the_next_track_that_is_shown(url: str, page: Page) -> None:
    """Not to one that is hidden, and neither to the place of one that was deleted before."""
    await page.goto(url)
    await make(page, "bells", "drums", "flute", "horn")
    tracks = page.locator(".track")
    alone = page.get_by_role("button", name="Favourites", exact=True)
    for number in (0, 3):
        await tracks.nth(number).get_by_role("button", name="Favourite").click()
        await expect(tracks.nth(number)).to_have_class(re.compile("favourite"))
    await alone.click()
    await tracks.first.get_by_role("button", name="Delete").press("Enter")
    await expect(tracks).to_have_count(3)
    assert await page.evaluate(_FOCUSED) == "bells"
    await alone.click()
    for left in (2, 1):
        await tracks.first.get_by_role("button", name="Delete").press("Enter")
        await expect(tracks).to_have_count(left)
    assert await page.evaluate(_FOCUSED) == "bells"
    await expect(page.locator("#history > li")).to_have_count(2)  # the place of the last one, too


async def test_a_list_without_favourites_says_so(url: str, page: Page) -> None:
    await page.goto(url)
    await make(page, "bells")
    said = page.get_by_text("No track is marked as a favourite")
    await expect(said).to_be_hidden()
    await page.get_by_role("button", name="Favourites", exact=True).click()
    await expect(said).to_be_visible()
    await page.get_by_role("button", name="Favourites", exact=True).click()
    await page.locator(".track").get_by_role("button", name="Favourite").click()
    await page.get_by_role("button", name="Favourites", exact=True).click()
    await expect(page.locator(".track")).to_be_visible()
    await expect(said).to_be_hidden()


async def test_a_browser_that_keeps_nothing_is_told_of(url: str, page: Page) -> None:
    await page.add_init_script(
        "IDBFactory.prototype.open = () => { throw new DOMException('denied', 'SecurityError'); };"
    )
    await page.goto(url)
    await generate(page, "bells", 1)
    await expect(page.locator("#notice")).to_contain_text("This browser keeps no tracks")
