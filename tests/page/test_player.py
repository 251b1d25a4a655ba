"""The waveform is the player: by mouse and keyboard, with a loop and a spectrogram."""

import re
from typing import Any, Literal

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from tests.page.actions import generate

pytestmark = pytest.mark.long


@pytest_asyncio.fixture(loop_scope="session")
async def track(url: str, page: Page) -> Locator:
    """A track of 30 s, whose live sound has been stopped."""
    await page.goto(url)
    await generate(page, "bells", 30)
    track = page.locator(".track")
    await expect(track).to_have_count(1)
    await page.get_by_role("button", name="Stop the sound").click()
    await expect(track.get_by_role("button", name="Play")).to_be_visible()
    await track.get_by_role("slider", name="Position").press("Home")
    await page.mouse.click(1, 1)
    return track


# Plays until the page sets the position: to which one, and at which one.
_TURNED = """
(audio) => new Promise((resolve) => {
  const { get, set } = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, "currentTime");
  Object.defineProperty(audio, "currentTime", {
    configurable: true,
    get,
    set(to) {
      resolve({ to, at: get.call(this) });
      set.call(this, to);
    },
  });
  audio.play();
})
"""


async def position(track: Locator) -> float:
    return float(await track.locator("audio").evaluate("(audio) => audio.currentTime"))


async def box_of(track: Locator) -> Any:
    """The place of the waveform."""
    slider = track.get_by_role("slider", name="Position")
    await slider.scroll_into_view_if_needed()
    return await slider.bounding_box()


async def test_a_click_seeks_and_the_playhead_follows(track: Locator, page: Page) -> None:
    slider = track.get_by_role("slider", name="Position")
    box = await box_of(track)
    await page.mouse.click(box["x"] + box["width"] / 4, box["y"] + 20)
    sought_s = await position(track)
    assert sought_s == pytest.approx(7.5, abs=0.1)
    await expect(slider).to_have_attribute("aria-valuetext", f"{sought_s:.1f} of 30.0 s")
    await track.get_by_role("button", name="Play").click()
    await expect(slider).not_to_have_attribute("aria-valuetext", f"{sought_s:.1f} of 30.0 s")
    pause = track.get_by_role("button", name="Pause")
    await pause.click()
    await expect(track.get_by_role("button", name="Play")).to_be_visible()
    played = await slider.evaluate("(wave) => parseFloat(wave.style.getPropertyValue('--played'))")
    assert played == pytest.approx(100 / 30 * await position(track), abs=0.5)


async def test_the_keyboard_moves_and_plays(track: Locator, page: Page) -> None:
    slider = track.get_by_role("slider", name="Position")
    await slider.focus()
    for key, expected_s in (
        ("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("PageUp", 4), ("End", 30), ("Home", 0)
    ):  # fmt: skip
        await page.keyboard.press(key)
        await expect(slider).to_have_attribute("aria-valuenow", f"{expected_s:.2f}")
    await page.keyboard.press("Space")
    await expect(track.get_by_role("button", name="Pause")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(track.get_by_role("button", name="Play")).to_be_visible()
    await expect(slider).to_be_focused()


async def test_a_dragged_part_is_repeated(track: Locator, page: Page) -> None:
    box = await box_of(track)
    await page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 20)
    await page.mouse.down()
    await page.mouse.move(box["x"] + 0.23 * box["width"], box["y"] + 20)
    await page.mouse.up()
    loop = track.get_by_role("button", name="Loop")
    await expect(loop).to_have_attribute("aria-pressed", "true")
    turned = await track.locator("audio").evaluate(_TURNED)
    assert turned["to"] == pytest.approx(6.0, abs=0.1)
    assert turned["at"] > 6.9 - 0.1, "not before the end of the part"
    await loop.click()
    await expect(loop).to_have_attribute("aria-pressed", "false")


async def test_a_loop_is_set_by_the_keyboard(track: Locator, page: Page) -> None:
    await track.get_by_role("slider", name="Position").focus()
    for key in ("ArrowRight", "[", "ArrowRight", "]"):
        await page.keyboard.press(key)
    loop = track.get_by_role("button", name="Loop")
    await expect(loop).to_have_attribute("aria-pressed", "true")
    assert await position(track) == pytest.approx(1.0, abs=0.05), "it begins where the loop does"
    await page.keyboard.press("l")
    await expect(loop).to_have_attribute("aria-pressed", "false")


async def test_a_loop_holds_in_a_hidden_tab(track: Locator, page: Page) -> None:
    """It has no frames."""
    await track.get_by_role("slider", name="Position").focus()
    for key in ("ArrowRight", "]"):
        await page.keyboard.press(key)
    await page.evaluate("globalThis.requestAnimationFrame = () => 0")
    turned = await track.locator("audio").evaluate(_TURNED)
    assert turned["to"] == 0
    assert 1 <= turned["at"] < 5, "not at the end of the track"


async def test_two_quick_clicks_cancel_each_other(track: Locator) -> None:
    """Neither leaves an error, which would fail the test, nor what the first began."""
    twice = "(button) => { button.click(); button.click(); }"
    await track.locator("[data-action=play]").evaluate(twice)
    await expect(track.get_by_role("button", name="Play")).to_be_visible()
    spectrum = track.get_by_role("button", name="Spectrogram")
    await spectrum.evaluate(twice)
    picture = track.locator(".spectrogram")
    await expect(picture).to_have_attribute("width", "600")  # it has been drawn
    await expect(spectrum).to_have_attribute("aria-pressed", "false")
    assert await picture.evaluate("(one) => one.hidden")


async def test_controls_name_their_track_and_keys(url: str, page: Page) -> None:
    await page.goto(url)
    for number, prompt in enumerate(("bells", 9 * "drum "), 1):
        await generate(page, prompt, 1)
        await expect(page.locator(".track")).to_have_count(number)
    await page.keyboard.press("Escape")
    for action in ("Position", "Play"):
        role: Literal["slider", "button"] = "slider" if action == "Position" else "button"
        for name in ("bells", "drum drum drum drum drum drum drum drum…"):
            await expect(
                page.get_by_role(role, name=f"{action}: {name}", exact=True)
            ).to_have_count(1)
    loop = page.get_by_role("button", name="Loop: bells", exact=True)
    await expect(loop).to_have_text("Loop")
    slider = page.get_by_role("slider", name="bells")
    await expect(slider).to_have_accessible_description(re.compile(r"\[ and \] .*, L repeats"))
    await slider.press("L")
    await expect(loop).to_have_attribute("aria-pressed", "true")


async def test_a_spectrogram_shows_the_frequency(track: Locator) -> None:
    """The sound is a sine of 32,000 / 20 / 2 pi = 255 Hz."""
    button = track.get_by_role("button", name="Spectrogram")
    await button.click()
    picture = track.locator(".spectrogram")
    await expect(picture).to_be_visible()
    brightest = await picture.evaluate(
        """(canvas) => {
            const { data } = canvas.getContext("2d").getImageData(300, 0, 1, canvas.height);
            const rows = Array.from({ length: canvas.height }, (_, row) => data[4 * row + 1]);
            return rows.indexOf(Math.max(...rows)) / canvas.height;
        }"""
    )
    assert 50 * 320 ** (1 - brightest) == pytest.approx(255, rel=0.1)
    await button.click()
    await expect(picture).to_be_hidden()


async def test_the_live_sound_moves_the_playhead_and_goes_on_as_the_file(
    url: str, page: Page
) -> None:
    await page.goto(url)
    await generate(page, "bells", 30)
    track = page.locator(".track")
    await expect(track).to_have_count(1)
    slider = track.get_by_role("slider", name="Position")
    await expect(slider).to_have_attribute("aria-valuetext", re.compile(r"[1-9]\.\d of 30.0 s"))
    stop = page.get_by_role("button", name="Stop the sound")
    await expect(stop).to_be_visible()
    await track.get_by_role("button", name="Pause").click()
    await expect(stop).to_be_hidden()
    heard_s = await position(track)
    assert heard_s > 0.9
    await track.get_by_role("button", name="Play").click()
    await expect(track.get_by_role("button", name="Pause")).to_be_visible()
    await page.keyboard.press("Escape")
    assert await position(track) >= heard_s
    await generate(page, "drums", 30)
    await expect(track).to_have_count(2)
    box = await box_of(track.first)
    await page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 20)
    await expect(stop).to_be_hidden()
    assert not await track.first.locator("audio").evaluate("(audio) => audio.paused")
    assert await position(track.first) >= 14.9
