"""The browser's store of tracks: bounded by their number and size, and honest about what it refuses."""

import asyncio
import re

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser import PATIENCE_MS
from tests.fakes import FakeGenerator
from tests.page.actions import becomes, generate, generate_long

pytestmark = pytest.mark.long

REMEMBERED = "JSON.parse(localStorage.getItem('musicgen-jobs') ?? '[]').length"
# Fills the store by its own module.
_STORE = """
const store = await import("./static/track_store.js");
const track = (number, fields = {}, bytes = 100) => ({
  id: `${number}`, createdAt: number, isFavourite: number === 0, fields: { prompt: `track ${number}`, ...fields },
  model: "small", seed: number, license: "none", peaks: new Uint8Array(10), durationS: 1,
  generationS: 1, costUsd: null, isRepeatable: true, ending: null, jobId: null,
  file: new Blob([new Uint8Array(bytes)], { type: "audio/wav" }),
});
"""


async def bound(page: Page, bound: str, lower: str) -> None:
    """Lower a bound of the store."""

    async def change(route: Route) -> None:
        text = await (await route.fetch()).text()
        assert bound in text
        await route.fulfill(body=text.replace(bound, lower), content_type="text/javascript")

    await page.route("**/track_store.js", change)


async def test_the_oldest_make_room_but_for_favourites(url: str, page: Page) -> None:
    """Sixty tracks and the favourites are kept."""
    await page.goto(url)
    fill = "for (let number = 0; number <= 60; number++) await store.put(track(number));"
    await page.evaluate(f"async () => {{ {_STORE} {fill} }}")
    await page.reload()
    tracks = page.locator(".track")
    await expect(tracks).to_have_count(61)
    await generate(page, "the newest", 1)
    await expect(tracks.first).to_contain_text("the newest")
    await expect(tracks).to_have_count(61)
    await expect(page.get_by_role("heading", name="track 0", exact=True)).to_be_visible()
    await expect(page.get_by_role("heading", name="track 1", exact=True)).to_have_count(0)
    await page.reload()
    await expect(tracks).to_have_count(61)


@pytest.mark.parametrize(
    "large", ["{}, 6000", '{ melody: "m".repeat(6000) }', '{ audio_prompt: "a".repeat(6000) }']
)
async def test_the_oldest_make_room_by_their_size(url: str, page: Page, large: str) -> None:
    """Files count, and so do the sounds that a track was made from."""
    await bound(page, "MOST_BYTES = 400 * 2 ** 20", "MOST_BYTES = 10_000")
    await page.goto(url)
    removed = await page.evaluate(
        f"""async () => {{
            {_STORE}
            const removed = [];
            for (const number of [1, 2, 3]) removed.push(await store.put(track(number)));
            for (const number of [4, 5]) removed.push(await store.put(track(number, {large})));
            return removed.map((tracks) => tracks.map((one) => one.id));
        }}"""
    )
    assert removed == [[], [], [], [], ["4", "3", "2", "1"]]


async def test_a_favourite_that_is_none_any_more_takes_room(url: str, page: Page) -> None:
    """The list shows at once which track has left the store."""
    await bound(page, "MOST_TRACKS = 60", "MOST_TRACKS = 1")
    await page.goto(url)
    fill = "await store.put(track(1)); await store.put({ ...track(2), isFavourite: true });"
    await page.evaluate(f"async () => {{ {_STORE} {fill} }}")
    await page.reload()
    tracks = page.locator(".track")
    await expect(tracks).to_have_count(2)
    await tracks.first.get_by_role("button", name="Favourite").click()
    await expect(tracks).to_have_text([re.compile("track 2")])


async def test_a_long_track_that_made_room_does_not_return(kept_url: str, page: Page) -> None:
    """The page forgets its job, from which the next visit would make it the newest track."""
    await bound(page, "MOST_TRACKS = 60", "MOST_TRACKS = 1")
    await page.goto(kept_url)
    await generate_long(page, "the first")
    tracks = page.locator(".track")
    await expect(tracks.first).to_have_attribute("data-kept", "")
    assert await page.evaluate(REMEMBERED) == 1
    await generate(page, "the second", 1)
    await expect(tracks).to_contain_text(["the second"], timeout=PATIENCE_MS)
    await becomes(page, REMEMBERED, 0)


async def test_a_track_that_the_store_refuses_is_told_of(url: str, page: Page) -> None:
    """A request that fails aborts the transaction, and its error is the reason."""
    await page.add_init_script(
        "const { add } = IDBObjectStore.prototype;"
        "IDBObjectStore.prototype.put = function (track) {"
        " add.call(this, track); return add.call(this, track); };"
    )
    await page.goto(url)
    await generate(page, "bells", 1)
    await expect(page.locator("#notice")).to_contain_text("for the next visit: Key already exists")


async def test_again_waits_for_the_inputs_of_the_form(
    url: str, backend: FakeGenerator, page: Page
) -> None:
    """A kept track is shown before the page knows the sampling parameters and the models."""
    await page.goto(url)
    await page.get_by_label("Model").select_option("large")
    await page.get_by_label("Seed", exact=True).fill("9")
    await page.get_by_text("Advanced").click()
    await page.get_by_label("Temperature").fill("0.73")
    await generate(page, "bells", 1)
    tracks = page.locator(".track")
    await expect(tracks).to_have_attribute("data-kept", "")
    release = asyncio.Event()

    async def hold(route: Route) -> None:
        await release.wait()
        await route.continue_()

    await page.route(re.compile(r"/(openapi\.json|v1/models)$"), hold)
    await page.reload()
    await tracks.get_by_role("button", name="Again with this seed").click()
    release.set()
    await expect(tracks).to_have_count(2)
    first, second = backend.requests
    assert (second.model, second.sampling) == (first.model, first.sampling)
    assert (second.model, second.sampling.seed) == ("large", 9)


async def test_again_tells_that_its_model_is_not_served(
    url: str, backend: FakeGenerator, page: Page
) -> None:
    await page.goto(url)
    await page.get_by_label("Model").select_option("large")
    await generate(page, "bells", 1)
    tracks = page.locator(".track")
    await expect(tracks).to_have_attribute("data-kept", "")

    async def without_large(route: Route) -> None:
        body = await (await route.fetch()).json()
        body["data"] = [model for model in body["data"] if model["id"] != "large"]
        await route.fulfill(json=body)

    await page.route(re.compile(r"/v1/models$"), without_large)
    await page.reload()
    await tracks.get_by_role("button", name="Again with this seed").click()
    await expect(page.locator("#notice")).to_contain_text("not served here: large")
    assert len(backend.requests) == 1
