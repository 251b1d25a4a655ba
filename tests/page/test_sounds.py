"""A sound of the user's is continued or followed, trimmed; a track is extended."""

import base64
from hashlib import sha256

import numpy as np
import pytest
from playwright.async_api import Page, expect

from tests.audio.files import RATE, pcm_file, tone
from tests.fakes import SAMPLE_RATE, FakeGenerator
from tests.page.actions import choose, generate, open_sounds, record

pytestmark = pytest.mark.long

SOUND = pcm_file(tone(4.0), RATE)


async def choose_sound(page: Page, url: str) -> None:
    """Choose a sound of 4 s, once the page knows what the models take."""
    await page.goto(url)
    await open_sounds(page)
    await choose(page, SOUND)


async def test_a_trimmed_sound_is_continued(url: str, backend: FakeGenerator, page: Page) -> None:
    """Without a model that takes melodies, the sound is the beginning."""
    await choose_sound(page, url)
    await expect(page.get_by_role("radio", name="the melody")).to_be_hidden()
    await page.get_by_label("From", exact=True).fill("1")
    await page.get_by_label("To", exact=True).fill("2.5")
    await expect(page.locator("#trim-text")).to_have_text("1.0 to 2.5 s: 1.5 s are used")
    await generate(page, "", 6)
    await expect(page.locator(".track")).to_have_count(1)
    [request] = backend.requests
    assert request.melody is None
    assert request.audio_prompt is not None
    assert request.audio_prompt.duration_s == pytest.approx(1.5, abs=0.01)
    assert np.abs(request.audio_prompt.samples).max() > 0.1


async def sent_sound(page: Page) -> bytes:
    """Ask for a track; return the sound that the page sends."""
    async with page.expect_request("**/v1/audio/generations") as sent:
        await generate(page, "", 6)
    body = (await sent.value).post_data_json
    assert body is not None
    return base64.b64decode(body["audio_prompt"])


async def test_a_sound_that_is_not_trimmed_is_sent_as_it_is(url: str, page: Page) -> None:
    await choose_sound(page, url)
    given = sha256(SOUND).digest()
    assert sha256(await sent_sound(page)).digest() == given
    end = page.get_by_label("To", exact=True)
    await end.fill("2.5")
    assert sha256(await sent_sound(page)).digest() != given
    await end.fill("4")
    assert sha256(await sent_sound(page)).digest() == given, "the whole again"


async def test_a_sound_is_the_melody_or_the_beginning(
    url: str, backend: FakeGenerator, page: Page
) -> None:
    backend.melody = ("small",)
    await choose_sound(page, url)
    await expect(page.get_by_role("radio", name="the melody")).to_be_checked()
    await generate(page, "bells", 6)
    tracks = page.locator(".track")
    await expect(tracks).to_have_count(1)
    await page.get_by_role("radio", name="the beginning").check()
    await generate(page, "bells", 6)
    await expect(tracks).to_have_count(2)
    first, second = backend.requests
    assert (first.melody is None, first.audio_prompt is None) == (False, True)
    assert (second.melody is None, second.audio_prompt is None) == (True, False)


async def test_a_recording_is_trimmed(url: str, backend: FakeGenerator, page: Page) -> None:
    await page.goto(url)
    await open_sounds(page)
    await record(page)
    await page.get_by_label("To", exact=True).fill("0.5")
    await generate(page, "bells", 3)
    await expect(page.locator(".track")).to_have_count(1)
    [request] = backend.requests
    assert request.audio_prompt is not None
    assert request.audio_prompt.duration_s == pytest.approx(0.5, abs=0.01)


async def test_a_song_begins_a_track_with_its_end(
    url: str, backend: FakeGenerator, page: Page
) -> None:
    """The part is half as long as the track, or as what the model has in view, until the user moves it."""
    backend.melody = ("small",)
    await page.goto(url)
    await open_sounds(page)
    await choose(page, pcm_file(tone(40.0), RATE))
    used = page.locator("#trim-text")
    await expect(used).to_have_text("0.0 to 40.0 s: 40.0 s are used")
    await page.get_by_role("radio", name="the beginning").check()
    why = ", since the whole is too long for the track"
    await expect(used).to_have_text(f"35.0 to 40.0 s: 5.0 s are used{why}")
    await page.get_by_label("Seconds", exact=True).fill("30")
    await expect(used).to_have_text(f"25.0 to 40.0 s: 15.0 s are used{why}")
    await page.get_by_label("Seconds", exact=True).fill("6")
    await expect(used).to_have_text(f"37.0 to 40.0 s: 3.0 s are used{why}")
    await generate(page, "bells", 6)
    await expect(page.locator(".track")).to_have_count(1)
    [request] = backend.requests
    assert request.audio_prompt is not None
    assert request.audio_prompt.duration_s == pytest.approx(3.0, abs=0.01)
    await page.get_by_label("From", exact=True).fill("33")
    await expect(used).to_have_text(
        "33.0 to 40.0 s: 7.0 s are used: too long, the track needs less than 6 s"
    )


async def test_the_trimmed_part_is_heard(url: str, page: Page) -> None:
    await choose_sound(page, url)
    await page.get_by_label("To", exact=True).fill("0.3")
    listen = page.locator("#trim-listen")
    await listen.click()
    await expect(listen).to_have_text("Stop listening")
    await expect(listen).to_have_text("Listen")


async def test_a_track_is_extended(url: str, backend: FakeGenerator, page: Page) -> None:
    """The model hears its last 20 s and makes ten more; the page puts the rest before them."""
    await page.goto(url)
    await generate(page, "bells", 28)
    tracks = page.locator(".track")
    await expect(tracks).to_have_count(1)
    await tracks.first.get_by_role("button", name="Extend").click()
    await expect(tracks).to_have_count(2)
    await expect(tracks.first).to_contain_text("38.0 s of audio")
    request = backend.requests[-1]
    assert request.duration_s == 30
    assert request.audio_prompt is not None
    assert request.audio_prompt.duration_s == pytest.approx(20, abs=0.01)
    seconds = await tracks.first.locator("audio").evaluate(
        "async (audio) => { while (!audio.duration) await new Promise(requestAnimationFrame);"
        " return audio.duration; }"
    )
    assert seconds == pytest.approx(38, abs=0.05)
    assert request.audio_prompt.sample_rate == SAMPLE_RATE
    await expect(tracks.first.get_by_role("button", name="Again")).to_be_disabled()


async def test_a_short_track_is_extended_as_a_whole(
    url: str, backend: FakeGenerator, page: Page
) -> None:
    await page.goto(url)
    await generate(page, "bells", 5)
    tracks = page.locator(".track")
    await expect(tracks).to_have_count(1)
    await tracks.first.get_by_role("button", name="Extend").click()
    await expect(tracks.first).to_contain_text("15.0 s of audio")
    assert backend.requests[-1].duration_s == 15
    await expect(tracks.first.get_by_role("button", name="Again")).to_be_enabled()
