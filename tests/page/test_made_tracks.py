"""Tracks are made again with all settings, varied with progress, and kept when they end early."""

import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import numpy as np
import pytest
from playwright.async_api import Locator, Page, Route, expect

from serve_app.errors import ModelLoading
from serve_app.types import AudioChunk, GenerationRequest, SamplingParams, StreamItem
from tests.fakes import SAMPLE_RATE, FakeGenerator
from tests.page.actions import eventually, generate, make_first
from tests.page.slow_generator import SlowGenerator
from tests.served_api import served_api

pytestmark = pytest.mark.long

_SECOND = np.sin(np.arange(SAMPLE_RATE) / 20, dtype=np.float32)[None]


async def have_ended(slow: SlowGenerator, count: int) -> None:
    """Wait until so many requests have ended: the service learns later that a client left."""

    async def ended() -> bool:
        return slow.closed == count

    await eventually(ended)


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


async def vary_in_part(slow: SlowGenerator, page: Page, tracks: Locator) -> None:
    """Ask for variations, of which half is made."""
    slow.allowed_s = 2.0
    await tracks.first.get_by_role("button", name="More like this").click()
    await expect(page.locator("#progress")).to_have_attribute("value", "0.5")
    await expect(page.get_by_role("status")).to_contain_text(
        re.compile(r"Variation \d of 3. Making the track: 2\.0 s")
    )


async def test_variations_are_streamed_with_progress(
    slow_url: str, slow: SlowGenerator, page: Page
) -> None:
    tracks = await make_first(page, slow_url, 4, seed="11")
    await vary_in_part(slow, page, tracks)
    slow.allowed_s = 4.0
    await expect(tracks).to_have_count(4)
    for number, seed in enumerate((12, 13, 14)):
        await expect(tracks.nth(number)).to_contain_text(f"seed {seed}")
    assert all(request.streamed for request in slow.requests)


async def test_canceled_variations_leave_no_tracks(
    slow_url: str, slow: SlowGenerator, page: Page
) -> None:
    """Nobody has heard them."""
    tracks = await make_first(page, slow_url, 4)
    await vary_in_part(slow, page, tracks)
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator("#now")).to_be_hidden()
    await expect(tracks).to_have_count(1)
    await have_ended(slow, 4)


async def test_the_place_in_the_queue_and_the_time_left_are_told(
    slow_url: str, slow: SlowGenerator, page: Page
) -> None:
    slow.queue_s = 0.75
    slow.allowed_s = 1.0
    await page.goto(slow_url)
    await generate(page, "bells", 4)
    status = page.get_by_role("status")
    await expect(status).to_have_text("Waiting: number 1 in the queue, about 2 s left")
    slow.queue_s = 0.0
    await expect(status).to_have_text("Making the track: 1.0 s, about 1 s left")
    slow.allowed_s = 4.0
    await expect(page.locator(".track")).to_have_count(1)


async def test_screen_readers_are_spared_of_each_progress(
    slow_url: str, slow: SlowGenerator, page: Page
) -> None:
    """They speak a new phase, and the end."""
    slow.queue_s = 0.75
    slow.allowed_s = 1.0
    await page.goto(slow_url)
    await generate(page, "bells", 2)
    status = page.get_by_role("status")
    await expect(status).to_contain_text("Waiting")
    await expect(status).to_have_attribute("aria-live", "polite")
    slow.queue_s = 0.0
    await expect(status).to_contain_text("Making the track: 1.0 s")
    await expect(status).to_have_attribute("aria-live", "off")
    slow.allowed_s = 2.0
    await expect(status).to_have_text("Done.")
    await expect(status).to_have_attribute("aria-live", "polite")


async def test_a_canceled_track_keeps_what_was_heard(
    slow_url: str, slow: SlowGenerator, page: Page
) -> None:
    slow.allowed_s = 2.0
    await page.goto(slow_url)
    await page.get_by_label("Seed").fill("5")
    await generate(page, "bells", 20)
    await expect(page.get_by_role("status")).to_contain_text("Making the track: 2.0 s")
    await page.get_by_role("button", name="Cancel").click()
    track = page.locator(".track")
    await expect(track).to_have_count(1)
    await expect(track).to_contain_text("Canceled after 2.0 s")
    await expect(track).to_contain_text("seed 5")
    await expect(page.get_by_role("alert")).to_be_hidden()
    await expect(page.get_by_role("button", name="Generate")).to_be_focused()
    seconds = await track.locator("audio").evaluate(
        "async (audio) => { while (!audio.duration) await new Promise(requestAnimationFrame);"
        " return audio.duration; }"
    )
    assert seconds == pytest.approx(2.0, abs=0.05)
    await have_ended(slow, 1)


async def extend_in_part(page: Page, slow: SlowGenerator, seconds: float) -> None:
    """Extend the newest track, and cancel once the model has made so much of its answer."""
    slow.allowed_s = seconds
    await page.locator(".track").first.get_by_role("button", name="Extend").click()
    await expect(page.get_by_role("status")).to_contain_text(f"Making the track: {seconds} s")
    await page.get_by_role("button", name="Cancel").click()


async def test_a_canceled_extension_begins_with_its_track(
    slow_url: str, slow: SlowGenerator, page: Page
) -> None:
    """The model hears the last 20 of 28 s, and has made 22 of 30 s: 8 s precede them."""
    tracks = await make_first(page, slow_url, 28)
    await extend_in_part(page, slow, 22.0)
    await expect(tracks).to_have_count(2)
    await expect(tracks.first).to_contain_text("Canceled after 30.0 s")
    extended, whole = await samples_of(page)
    assert extended[: 8 * SAMPLE_RATE] == whole[: 8 * SAMPLE_RATE]
    assert len(extended) == 30 * SAMPLE_RATE
    await have_ended(slow, 2)


async def test_an_extension_that_has_made_nothing_new_is_not_kept(
    slow_url: str, slow: SlowGenerator, page: Page
) -> None:
    """The 19 s that have arrived are among the 20 that the track ends with."""
    tracks = await make_first(page, slow_url, 28)
    await extend_in_part(page, slow, 19.0)
    await expect(page.locator("#now")).to_be_hidden()
    await expect(tracks).to_have_count(1)
    await have_ended(slow, 2)


async def samples_of(page: Page) -> list[list[int]]:
    """The samples that the browser keeps of each track, the newest first."""
    await expect(page.locator(".track:not([data-kept])")).to_have_count(0)
    found: list[list[int]] = await page.evaluate(
        """async () => {
            const { all } = await import("./static/track_store.js");
            const { read } = await import("./static/wav.js");
            const samples = async ({ file }) => [...read(new Uint8Array(await file.arrayBuffer())).samples];
            return Promise.all((await all()).map(samples));
        }"""
    )
    return found


@dataclass
class BrokenGenerator(FakeGenerator):
    """Loses its replica after the first second of a track."""

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[StreamItem, None]:
        async for item in super().generate(request):
            if self.late_error and isinstance(item, AudioChunk):
                yield AudioChunk(_SECOND, SAMPLE_RATE, track_samples=2 * SAMPLE_RATE)
                raise self.late_error
            yield item


async def test_a_broken_track_keeps_what_was_heard(page: Page) -> None:
    """Its samples are those of the whole track, so far."""
    backend = BrokenGenerator()
    with served_api(backend) as url:
        tracks = await make_first(page, url, 2, seed="5")
        backend.late_error = ModelLoading("The replica was lost.")
        await generate(page, "bells", 2)
        await expect(tracks).to_have_count(2)
        await expect(tracks.first).to_contain_text("Broken off after 1.0 s")
        await expect(page.get_by_role("alert")).to_contain_text("The replica was lost.")
        broken, whole = await samples_of(page)
    assert broken == whole[:SAMPLE_RATE]
    assert max(broken) > 10_000, "it is not silent"


async def test_next_to_nothing_is_not_kept(url: str, backend: FakeGenerator, page: Page) -> None:
    """Ten samples have been made."""
    backend.late_error = ModelLoading("The replica was lost.")
    await page.goto(url)
    await generate(page, "bells", 2)
    await expect(page.get_by_role("alert")).to_contain_text("The replica was lost.")
    await expect(page.locator(".track")).to_have_count(0)


async def test_an_extension_is_as_long_as_the_model_of_its_track_makes(
    url: str, backend: FakeGenerator, page: Page
) -> None:
    """Whichever model the form has. `large` makes 12 s at most."""

    async def limit(route: Route) -> None:
        served = await (await route.fetch()).json()
        served["data"][1]["max_duration_s"] = 12
        await route.fulfill(json=served)

    await page.route("**/v1/models", limit)
    await page.goto(url)
    await page.get_by_label("Model").select_option("large")
    await generate(page, "bells", 10)
    tracks = page.locator(".track")
    await expect(tracks).to_have_count(1)
    await page.get_by_label("Model").select_option("small")
    await tracks.first.get_by_role("button", name="Extend").click()
    await expect(tracks).to_have_count(2)
    request = backend.requests[-1]
    assert (request.model, request.duration_s) == ("large", 12)
    assert request.audio_prompt is not None
    assert request.audio_prompt.duration_s == pytest.approx(2, abs=0.01)
