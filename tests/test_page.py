"""The web page in real Chromium over the real service. Without Ray: tests/page."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.async_api import Page, ViewportSize, expect

from serve_app.launcher import Service
from tests.browser import PATIENCE_MS, PHONE, launched_browser, open_tab, require_chromium
from tests.page.actions import generate

require_chromium()
pytestmark = pytest.mark.long

README = (Path(__file__).parent.parent / "README.md").read_text()
# A short track may be finished before a test looks at its progress.
RECORD_TEXTS = """() => {
  window.texts = [];
  const record = () => window.texts.push(document.querySelector("[role=status]")?.textContent ?? "");
  const all = {attributes: true, childList: true, characterData: true, subtree: true};
  new MutationObserver(record).observe(document.body, all);
}"""
SCREENSHOT = ViewportSize(width=1280, height=860)
SCREENSHOTS = os.environ.get("MUSICGEN_SCREENSHOTS")  # a folder: `make screenshots` sets it


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    """An empty tab. An uncaught error of the page fails the test."""
    async with launched_browser() as browser, open_tab(browser) as page:
        yield page


async def take_screenshots(page: Page, folder: Path) -> None:
    """Show three tracks, the newest partly heard, on a desktop and a phone, in light and dark."""
    prompts = ("calm ambient piano, 70 bpm", "energetic techno with synth lead, 130 bpm")
    for count, prompt in enumerate(prompts, 2):
        await generate(page, prompt, 10)
        await expect(page.locator(".track")).to_have_count(count, timeout=PATIENCE_MS)
        await page.keyboard.press("Escape")
    track = page.locator(".track").first
    await track.get_by_role("button", name="Favourite").click()
    await track.get_by_role("slider").press("End")
    for _ in range(4):
        await track.get_by_role("slider").press("PageDown")
    await track.evaluate("() => document.activeElement.blur()")
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        for name, size in {"desktop": SCREENSHOT, "phone": PHONE}.items():
            await page.set_viewport_size(size)
            await page.evaluate("scrollTo(0, 0)")
            await page.screenshot(path=folder / f"page-{name}-{scheme}.png")


async def test_music_is_made_heard_and_downloaded(
    service: Service, page: Page, tmp_path: Path
) -> None:
    await page.goto(service.url)
    await page.get_by_role("button", name="lofi beat").click()
    await page.get_by_label("Seconds").fill("6")
    await page.get_by_label("Seed").fill("7")
    status = page.get_by_role("status")
    await page.evaluate(RECORD_TEXTS)
    await page.get_by_role("button", name="Generate").click()
    tracks = page.locator(".track")
    await expect(tracks).to_have_count(1, timeout=PATIENCE_MS)
    await expect(status).to_have_text("Done.")
    assert [text for text in await page.evaluate("texts") if "Making the track" in text]
    await expect(tracks.first).to_contain_text("6.0 s of audio")
    await expect(tracks.first).to_contain_text("seed 7")
    for chosen, extension in (("wav", "wav"), ("mp3", "mp3"), ("opus", "ogg")):
        async with page.expect_download() as waiting:
            await tracks.first.locator(f"[data-format={chosen}]").click()
        download = await waiting.value
        assert download.suggested_filename == f"lofi-beat-with-piano-80-bpm-7.{extension}"
        await download.save_as(tmp_path / download.suggested_filename)
        samples, rate = soundfile.read(tmp_path / download.suggested_filename)
        assert len(samples) / rate == pytest.approx(6.0, abs=0.1)
        assert np.sqrt(np.mean(samples**2)) > 1e-3, "it is not silent"
    await page.set_viewport_size(PHONE)
    width = await page.evaluate("document.documentElement.scrollWidth")
    assert width <= PHONE["width"], "the page is as wide as the phone"
    if SCREENSHOTS:
        await take_screenshots(page, Path(SCREENSHOTS))


async def test_again_and_more_like_it(service: Service, page: Page) -> None:
    await page.goto(service.url)
    await page.get_by_label("Seed").fill("11")
    await generate(page, "bells", 1)
    tracks = page.locator(".track")
    await expect(tracks).to_have_count(1, timeout=PATIENCE_MS)
    await tracks.first.get_by_role("button", name="More like this").click()
    await expect(tracks).to_have_count(4, timeout=PATIENCE_MS)
    for number, seed in enumerate((12, 13, 14)):
        await expect(tracks.nth(number)).to_contain_text(f"seed {seed}")
    await tracks.nth(1).get_by_role("button", name="Again with this seed").click()
    await expect(tracks).to_have_count(5, timeout=PATIENCE_MS)
    await expect(tracks.first).to_contain_text("seed 13")


async def test_cancelling_frees_the_slot(service: Service, page: Page) -> None:
    await page.goto(service.url)
    await expect(page.get_by_label("Seconds")).to_have_attribute("max", "120")
    await generate(page, "a long pad", 120)
    await expect(page.get_by_role("status")).to_contain_text(
        "Making the track", timeout=PATIENCE_MS
    )
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.get_by_role("button", name="Generate")).to_be_enabled()
    await expect(page.get_by_role("alert")).to_be_hidden()
    stats = page.request
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while True:
            replicas = (await (await stats.get(f"{service.url}/stats")).json())["models"]["nano"]
            if replicas and not any(replica["slots_used"] for replica in replicas):
                return
            await asyncio.sleep(0.05)


async def test_the_readmes_audio_element_plays(service: Service, page: Page) -> None:
    [example] = re.findall(r"```html\n(.*?)```", README, re.DOTALL)
    await page.goto(f"{service.url}/health")  # a page of the service's origin
    await page.set_content(example.replace("http://127.0.0.1:8000", service.url))
    seconds = await page.evaluate(
        """async () => {
            const audio = document.querySelector("audio");
            audio.muted = true;
            await audio.play();
            await new Promise((heard) => audio.ontimeupdate = () => audio.currentTime > 0.3 && heard());
            return audio.currentTime;
        }"""
    )
    assert seconds > 0.3
