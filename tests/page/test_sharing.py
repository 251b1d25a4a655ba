"""A link brings back the settings; programs make the same track by the API."""

from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from serve_app.types import SamplingParams
from tests.fakes import FakeGenerator
from tests.page.actions import generate
from tests.page.programs import run_programs

pytestmark = pytest.mark.long

PROMPT = 'it\'s "bells" & 100 % joy'


async def fill(page: Page) -> None:
    """Set all that a link keeps."""
    await page.get_by_text("Advanced").click()
    for label, value in {"Temperature": "0.73", "Guidance": "4.25", "Seed": "9"}.items():
        await page.get_by_label(label, exact=True).fill(value)
    await page.get_by_label("Prompt", exact=True).fill(PROMPT)
    await page.get_by_label("Seconds", exact=True).fill("2.5")


async def test_a_link_brings_back_prompt_seed_and_settings(
    url: str, backend: FakeGenerator, page: Page
) -> None:
    """It is copied from a track, and makes nothing by itself."""
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.goto(url)
    await fill(page)
    await page.get_by_role("button", name="Generate").click()
    track = page.locator(".track")
    await expect(track).to_have_count(1)
    await track.get_by_role("button", name="Copy link").click()
    await expect(page.locator("#notice")).to_contain_text("The link is copied.")
    address = await page.evaluate("navigator.clipboard.readText()")
    assert address.startswith(f"{url}/#prompt=")
    await page.goto("about:blank")
    await page.goto(address)
    await expect(page.get_by_label("Prompt", exact=True)).to_have_value(PROMPT)
    await expect(page.get_by_label("Temperature", exact=True)).to_have_value("0.73")
    assert len(backend.requests) == 1
    await page.get_by_role("button", name="Generate").click()
    await expect(track).to_have_count(2)
    first, second = backend.requests
    assert (
        second.sampling == first.sampling == SamplingParams(temperature=0.73, cfg_coef=4.25, seed=9)
    )
    assert (second.prompt, second.duration_s, second.model) == (PROMPT, 2.5, "small")


async def test_a_link_tells_that_its_model_is_not_served(url: str, page: Page) -> None:
    notice = page.locator("#notice")
    await page.goto(f"{url}/#prompt=bells&model=melody")
    await expect(notice).to_have_text(
        "The link has set the prompt and the settings. Its model is not served here: melody."
    )
    await expect(page.get_by_label("Model")).to_have_value("small")
    await page.goto(f"{url}/#prompt=bells&model=large")
    await expect(notice).to_have_text("The link has set the prompt and the settings.")
    await expect(page.get_by_label("Model")).to_have_value("large")


async def test_the_programs_make_what_is_set(
    url: str, backend: FakeGenerator, page: Page, tmp_path: Path
) -> None:
    await page.goto(url)
    await page.get_by_text("Use this by API").click()
    await fill(page)
    await run_programs(page, tmp_path, 2.5)
    assert len(backend.requests) == 3
    for request in backend.requests:
        assert request.sampling == SamplingParams(temperature=0.73, cfg_coef=4.25, seed=9)
        assert (request.prompt, request.duration_s, request.model) == (PROMPT, 2.5, "small")


async def test_models_have_cards_with_capabilities_speed_and_licence(
    url: str, backend: FakeGenerator, page: Page
) -> None:
    """A step of 10 ms makes 20 ms of sound."""
    backend.melody = ("small",)
    await page.goto(url)
    await page.get_by_text("Models", exact=True).click()
    small = page.locator(".model[data-model=small]")
    for text in ("facebook/musicgen-small", "follows a melody", "up to 30 s", "mono", "32 kHz"):
        await expect(small).to_contain_text(text)
    await expect(small).to_contain_text("CC-BY-NC-4.0, not for commercial use")
    await expect(small).to_contain_text("Speed: 2.0 s of sound a second")
    large = page.locator(".model[data-model=large]")
    await expect(large).to_contain_text("No replica is running")
    await large.get_by_role("button", name="Use it").click()
    await expect(page.get_by_label("Model")).to_have_value("large")


async def test_presets_combine_a_genre_and_a_mood(url: str, page: Page) -> None:
    await page.goto(url)
    prompt = page.get_by_label("Prompt", exact=True)
    await page.get_by_role("button", name="Techno").click()
    await expect(prompt).to_have_value("techno with synth lead, 130 bpm")
    dark = page.get_by_role("button", name="dark")
    await dark.click()
    await expect(prompt).to_have_value("dark techno with synth lead, 130 bpm")
    await expect(dark).to_have_attribute("aria-pressed", "true")
    await expect(prompt).to_be_focused()
    await page.get_by_role("button", name="Techno").click()
    await expect(prompt).to_have_value("dark")
    await page.keyboard.type(" drone")
    await expect(dark).to_have_attribute("aria-pressed", "false")


async def test_presets_keep_what_was_typed(url: str, page: Page) -> None:
    await page.goto(url)
    prompt = page.get_by_label("Prompt", exact=True)
    dark = page.get_by_role("button", name="dark")
    await prompt.focus()
    await page.keyboard.type("my violin")
    await dark.click()
    await page.get_by_role("button", name="Classical").click()
    await expect(prompt).to_have_value("dark my violin, string quartet, classical")
    await page.get_by_role("button", name="sad").click()
    await page.get_by_role("button", name="Classical").click()
    await expect(prompt).to_have_value("sad my violin")
    for undone in (
        "sad my violin, string quartet, classical",
        "dark my violin, string quartet, classical",
    ):
        await page.keyboard.press("Control+z")
        await expect(prompt).to_have_value(undone)
    await dark.click()
    await expect(dark).to_have_attribute("aria-pressed", "true")
    await expect(prompt).to_have_value("dark my violin, string quartet, classical")
    await dark.click()
    await expect(prompt).to_have_value("my violin, string quartet, classical")


async def test_no_preset_is_pressed_beside_the_prompt_of_a_link(url: str, page: Page) -> None:
    await page.goto(url)
    jazz = page.get_by_role("button", name="Jazz")
    await jazz.click()
    await jazz.click()
    await expect(page.get_by_label("Prompt", exact=True)).to_have_value("")
    await jazz.click()
    await expect(jazz).to_have_attribute("aria-pressed", "true")
    await page.goto(f"{url}/#prompt=bells")
    await expect(page.get_by_label("Prompt", exact=True)).to_have_value("bells")
    await expect(jazz).to_have_attribute("aria-pressed", "false")


async def test_a_preset_is_one_press_from_music(url: str, page: Page) -> None:
    await page.goto(url)
    await page.get_by_role("button", name="Lofi beat").click()
    await page.keyboard.press("Control+Enter")
    await expect(page.locator(".track")).to_contain_text("lofi beat with piano, 80 bpm")
    await generate(page, "bells", 1)
    await expect(page.locator(".track")).to_have_count(2)
