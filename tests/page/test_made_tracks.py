"""Tracks are made again with all settings, varied with progress, and kept when they end early."""

import re
from collections.abc import Iterator

import pytest
from playwright.async_api import Page, expect

from serve_app.errors import ModelLoading
from serve_app.types import SamplingParams
from tests.fakes import FakeGenerator
from tests.page.actions import generate
from tests.page.slow_generator import SlowGenerator
from tests.served_api import served_api

pytestmark = pytest.mark.long


@pytest.fixture
def real_time() -> SlowGenerator:
    return SlowGenerator(speed=4.0)


@pytest.fixture
def real_time_url(real_time: SlowGenerator, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A service that makes four seconds of music a second."""
    monkeypatch.delenv("MUSICGEN_API_KEYS", raising=False)
    with served_api(real_time) as url:
        yield url


async def test_again_restores_all_settings(url: str, backend: FakeGenerator, page: Page) -> None:
    await page.goto(url)
    await page.get_by_text("Advanced").click()
    for label, value in {"Temperature": "0.73", "Top k": "10", "Guidance": "4.25"}.items():
        await page.get_by_label(label, exact=True).fill(value)
    await page.get_by_label("Model").select_option("small")
    await page.get_by_label("Seed").fill("9")
    await generate(page, "bells", 2.3)
    tracks = page.locator(".track")
    await expect(tracks).to_have_count(1)
    for label, value in {"Temperature": "1", "Top k": "250", "Guidance": "3", "Seed": ""}.items():
        await page.get_by_label(label, exact=True).fill(value)
    await page.get_by_label("Seconds", exact=True).fill("5")
    await page.get_by_label("Model").select_option("large")
    again = tracks.first.get_by_role("button", name="Again with this seed")
    await again.click()
    await expect(tracks).to_have_count(2)
    first, second = backend.requests
    assert second.sampling == SamplingParams(temperature=0.73, top_k=10, cfg_coef=4.25, seed=9)
    assert (second.model, second.duration_s) == (first.model, first.duration_s) == ("small", 2.3)
    await expect(page.get_by_label("Seconds", exact=True)).to_have_value("2.3")
    again = tracks.last.get_by_role("button", name="Again with this seed")
    await expect(again).to_be_focused()


async def test_variations_are_streamed_with_progress(
    real_time_url: str, real_time: SlowGenerator, page: Page
) -> None:
    await page.goto(real_time_url)
    await page.get_by_label("Seed").fill("11")
    await generate(page, "bells", 4)
    tracks = page.locator(".track")
    await expect(tracks).to_have_count(1)
    await tracks.first.get_by_role("button", name="More like this").click()
    await expect(page.get_by_role("status")).to_contain_text(
        re.compile(r"Variation \d of 3. Making the track: [0-3]\.[1-9]")
    )
    value = page.locator("#progress")
    assert 0 < float(await value.get_attribute("value") or 0) < 1
    await expect(tracks).to_have_count(4)
    for number, seed in enumerate((12, 13, 14)):
        await expect(tracks.nth(number)).to_contain_text(f"seed {seed}")
    assert all(request.streamed for request in real_time.requests)


async def test_canceled_variations_leave_no_tracks(
    real_time_url: str, real_time: SlowGenerator, page: Page
) -> None:
    """Nobody has heard them."""
    await page.goto(real_time_url)
    await generate(page, "bells", 4)
    tracks = page.locator(".track")
    await expect(tracks).to_have_count(1)
    await tracks.first.get_by_role("button", name="More like this").click()
    await expect(page.get_by_role("status")).to_contain_text(
        re.compile(r"Variation \d of 3. Making the track: [0-3]\.[1-9]")
    )
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator("#now")).to_be_hidden()
    await expect(tracks).to_have_count(1)
    assert real_time.closed == 4


async def test_the_place_in_the_queue_and_the_time_left_are_told(
    real_time_url: str, real_time: SlowGenerator, page: Page
) -> None:
    real_time.queue_s = 0.75
    await page.goto(real_time_url)
    await generate(page, "bells", 4)
    status = page.get_by_role("status")
    await expect(status).to_have_text("Waiting: number 1 in the queue, about 2 s left")
    await expect(status).to_contain_text(re.compile(r"Making the track: \d\.\d s, about 1 s left"))
    await expect(page.locator(".track")).to_have_count(1)


async def test_a_canceled_track_keeps_what_was_heard(
    real_time_url: str, real_time: SlowGenerator, page: Page
) -> None:
    await page.goto(real_time_url)
    await page.get_by_label("Seed").fill("5")
    await generate(page, "bells", 20)
    await expect(page.get_by_role("status")).to_contain_text(re.compile(r"Making the track: [1-9]"))
    await page.get_by_role("button", name="Cancel").click()
    track = page.locator(".track")
    await expect(track).to_have_count(1)
    await expect(track).to_contain_text(re.compile(r"Canceled after \d\.\d s"))
    await expect(track).to_contain_text("seed 5")
    await expect(page.get_by_role("alert")).to_be_hidden()
    await expect(page.get_by_role("button", name="Generate")).to_be_focused()
    seconds = await track.locator("audio").evaluate(
        "async (audio) => { while (!audio.duration) await new Promise(requestAnimationFrame);"
        " return audio.duration; }"
    )
    assert 1 <= seconds < 15
    assert real_time.closed == 1


async def test_a_broken_track_keeps_what_was_heard(
    url: str, backend: FakeGenerator, page: Page
) -> None:
    backend.late_error = ModelLoading("The replica was lost.")
    await page.goto(url)
    await generate(page, "bells", 2)
    await expect(page.locator(".track")).to_contain_text("Broken off after 0.0 s")
    await expect(page.get_by_role("alert")).to_contain_text("The replica was lost.")
