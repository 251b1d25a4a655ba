"""Actions of a person at the page."""

import asyncio
import re
from collections.abc import Awaitable, Callable

from playwright.async_api import FilePayload, Locator, Page, expect

from tests.browser import PATIENCE_MS


async def eventually(test: Callable[[], Awaitable[bool]]) -> None:
    """Wait until the test holds. The page's policy forbids Playwright's `wait_for_function`."""
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while not await test():  # noqa: ASYNC110 (the page tells nobody)
            await asyncio.sleep(0.05)


async def becomes(page: Page, expression: str, value: object) -> None:
    """Wait until an expression of JavaScript has the value."""

    async def holds() -> bool:
        return bool(await page.evaluate(expression) == value)

    await eventually(holds)


async def generate(page: Page, prompt: str, seconds: float) -> None:
    """Ask for a track."""
    await page.get_by_label("Prompt", exact=True).fill(prompt)
    await page.get_by_label("Seconds", exact=True).fill(str(seconds))
    await page.get_by_role("button", name="Generate").click()


async def generate_long(page: Page, prompt: str) -> None:
    """Ask for a track of 40 s, once the page knows that the model makes such tracks."""
    await expect(page.get_by_label("Seconds")).to_have_attribute("max", "120")
    await generate(page, prompt, 40)


async def forget_tracks(page: Page) -> None:
    """Empty the page's store of tracks, so that the service alone has them."""
    await page.evaluate(
        """() => new Promise((resolve, reject) => {
            const request = indexedDB.open("musicgen");
            request.onerror = () => reject(request.error);
            request.onsuccess = () => {
                const transaction = request.result.transaction("tracks", "readwrite");
                transaction.objectStore("tracks").clear();
                transaction.oncomplete = () => { request.result.close(); resolve(); };
            };
        })"""
    )


async def open_sounds(page: Page) -> None:
    """Open the part of the form for a sound, once the page knows what the models take."""
    await expect(page.get_by_label("Model")).to_have_value("small")
    await page.get_by_text("Begin with a sound").click()


async def choose(page: Page, content: bytes) -> None:
    """Choose a file as the sound."""
    file: FilePayload = {"name": "hummed.wav", "mimeType": "audio/wav", "buffer": content}
    await page.get_by_label("Audio file").set_input_files(file)
    await expect(page.get_by_role("note")).to_have_text("hummed.wav")


async def begin_recording(page: Page) -> None:
    """Record the microphone for a second or longer. Chromium's own of tests beeps once a second."""
    await page.get_by_role("button", name="Record").click()
    await expect(page.get_by_role("note")).to_have_text(re.compile(r"^Recording … [1-9]\d* s$"))


async def record(page: Page) -> None:
    """Record, and stop."""
    await begin_recording(page)
    await page.get_by_role("button", name="Stop").click()
    await expect(page.get_by_role("note")).to_have_text("Your recording")


async def make_first(page: Page, url: str, seconds: float, seed: str = "") -> Locator:
    """Open the page and make a track; return the tracks."""
    await page.goto(url)
    await page.get_by_label("Seed").fill(seed)
    await generate(page, "bells", seconds)
    tracks = page.locator(".track")
    await expect(tracks).to_have_count(1)
    return tracks


async def keep_notices(page: Page) -> None:
    """Let the page's notices stay, which it shows for 8 s."""
    await page.add_init_script(
        "const timeout = setTimeout;"
        "globalThis.setTimeout = (act, ms, ...rest) => ms === 8_000 ? 0 : timeout(act, ms, ...rest);"
    )


async def make_impatient(page: Page) -> None:
    """Let the page's pauses take a tenth of their time."""
    await page.add_init_script(
        "const later = setTimeout;"
        "globalThis.setTimeout = (act, ms, ...rest) => later(act, ms / 10, ...rest);"
    )
