"""Melodies: uploaded, recorded, and of long tracks."""

import numpy as np
import pytest
from playwright.async_api import Page, expect

from tests.audio.files import RATE, pcm_file, tone
from tests.fakes import FakeGenerator
from tests.page.actions import (
    begin_recording,
    choose,
    forget_tracks,
    generate,
    generate_long,
    open_sounds,
    record,
)
from tests.served_api import served_api

pytestmark = pytest.mark.long

MELODY = pcm_file(tone(0.5), RATE)


async def test_a_melody_is_uploaded_where_the_model_takes_one(
    backend: FakeGenerator, page: Page
) -> None:
    """Its tracks are repeated and varied with it; without it the prompt is required again."""
    backend.melody = ("small",)
    with served_api(backend) as url:
        await page.goto(url)
        await open_sounds(page)
        await choose(page, MELODY)
        melody = page.get_by_role("radio", name="the melody")
        await expect(melody).to_be_checked()
        await page.get_by_label("Model").select_option("large")
        await expect(melody).to_be_hidden()
        await page.get_by_label("Model").select_option("auto")
        await expect(melody).to_be_checked()
        await page.get_by_label("Model").select_option("small")
        await generate(page, "", 2)
        tracks = page.locator(".track")
        await expect(tracks).to_have_count(1)
        await tracks.first.get_by_role("button", name="More like this").click()
        await expect(tracks).to_have_count(4)
        await page.get_by_role("button", name="Remove the sound").click()
        await expect(page.get_by_role("note")).to_contain_text("None")
        assert await page.get_by_label("Prompt").evaluate("(prompt) => prompt.required")
        await tracks.last.get_by_role("button", name="Again with this seed").click()
        await expect(tracks).to_have_count(5)
    lengths = [request.melody and request.melody.duration_s for request in backend.requests]
    assert lengths == [0.5] * 5


async def test_a_melody_is_recorded(backend: FakeGenerator, page: Page) -> None:
    backend.melody = ("small",)
    with served_api(backend) as url:
        await page.goto(url)
        await open_sounds(page)
        await record(page)
        await generate(page, "", 2)
        await expect(page.locator(".track")).to_have_count(1)
    melody = backend.requests[-1].melody
    assert melody is not None
    assert melody.duration_s > 0.3
    assert np.abs(melody.samples).max() > 0.01, "the microphone was heard"


async def test_a_recording_ends_with_the_request_for_its_track(
    backend: FakeGenerator, page: Page
) -> None:
    backend.melody = ("small",)
    with served_api(backend) as url:
        await page.goto(url)
        await open_sounds(page)
        await begin_recording(page)
        await generate(page, "brass band", 2)
        await expect(page.locator(".track")).to_have_count(1)
        await expect(page.get_by_role("note")).to_have_text("Your recording")
    assert backend.requests[-1].melody is not None


async def test_a_long_track_follows_its_melody_and_is_varied_while_the_page_has_it(
    kept_url: str, backend: FakeGenerator, page: Page
) -> None:
    backend.melody = ("small",)
    await page.goto(kept_url)
    await open_sounds(page)
    await choose(page, MELODY)
    await generate_long(page, "a long way")
    tracks = page.locator(".track")
    await expect(tracks).to_have_count(1)
    assert backend.requests[-1].melody is not None
    more = tracks.first.get_by_role("button", name="More like this")
    await expect(more).to_be_enabled()
    await forget_tracks(page)
    await page.reload()
    await expect(tracks).to_have_count(1)
    await expect(more).to_be_disabled()
